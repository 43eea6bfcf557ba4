"""The stored window: where it lies, and that pixels, points and cameras agree about it."""

import numpy as np
import pytest

from jaxhead.captures.crop import Crop, choose_crop, resize


def test_a_square_video_is_not_cropped():
    pixels = np.random.default_rng(0).uniform(100, 400, (5, 468, 2))
    assert choose_crop(pixels, (512, 512), 128) == Crop(left=0, top=0, side=512, size=128)


@pytest.mark.parametrize("frame", [(720, 1280), (1280, 720), (101, 77)])
def test_the_window_holds_the_face_and_stays_inside(frame):
    rng = np.random.default_rng(1)
    for centre in ([0.1, 0.1], [0.5, 0.5], [0.95, 0.9]):
        pixels = np.array(centre) * frame[::-1] + rng.normal(size=(4, 468, 2))
        crop = choose_crop(pixels, frame, 64)
        assert crop.side == min(frame)
        assert 0 <= crop.left <= frame[1] - crop.side and 0 <= crop.top <= frame[0] - crop.side
        middle = crop.points(np.array(centre) * frame[::-1])
        assert (middle >= 0).all() and (middle <= 64).all()


@pytest.mark.parametrize(("side", "size"), [(96, 32), (100, 64), (72, 96), (64, 64)])
def test_points_land_where_pixels_do(side, size):
    y, x = np.mgrid[:side, : side + 20] + 0.5
    bump = np.exp(-((x - 57.3) ** 2 + (y - 21.9) ** 2) / (2 * 5.0**2))
    frame = np.repeat((bump * 255).astype(np.uint8)[..., None], 3, -1)
    crop = Crop(left=15, top=0, side=side, size=size)
    window = crop.resample(frame).astype(float)[..., 0]
    window[window < 40] = 0
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    centre = (window[..., None] * grid).sum((0, 1)) / window.sum()
    np.testing.assert_allclose(centre, crop.points(np.array([57.3, 21.9])), atol=0.15)


def test_intrinsics_project_as_the_full_camera_does():
    crop = Crop(left=300, top=20, side=600, size=150)
    K = crop.intrinsics(1500.0, (720, 1280))
    point = np.array([0.1, -0.05, 1.2])
    full = 1500.0 * point[:2] / point[2] + [640, 360]
    stored = (K @ point)[:2] / point[2]
    np.testing.assert_allclose(stored, crop.points(full))


def test_shrinking_does_not_alias():
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    for size in (48, 40, 31):
        small = resize(stripes, size).astype(float)
        assert small.std() < 12 and abs(small.mean() - 127.5) < 4


def test_whole_number_shrinking_averages():
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    expected = picture.reshape(4, 3, 4, 3, 3).mean((1, 3))
    assert np.abs(resize(picture, 4) - expected).max() <= 0.5 + 1e-6
