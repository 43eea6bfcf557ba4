"""Tracking of a made-up face: gaps, dropped frames, NaN, training frames only."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.captures.following import FaceTrack
from jaxhead.captures.tracking import (
    dropped_reasons,
    pose_coordinates,
    pose_from_coordinates,
    smooth_channels,
    track,
)
from jaxhead.files.errors import InputError

COUNT, SIZE = 60, (360, 480)


def face():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-0.07, 0.07, 468), rng.uniform(-0.09, 0.09, 468)
    return np.stack([x, y, 0.06 - 6 * x**2 - 3 * y**2], 1)


def clip(found=None, seed=1, noise=0.0):
    """A face that nods and speaks, its true poses, and the track a landmarker would give."""
    rng = np.random.default_rng(seed)
    time = np.arange(COUNT) / 25.0
    turn = 0.15 * np.stack([np.sin(3 * time), np.cos(2 * time), np.sin(time)], 1)
    rotation = Rotation.from_rotvec(turn).as_matrix() @ np.diag([1.0, -1, -1])
    place = np.stack([0.02 * np.sin(2 * time), 0 * time, 0.9 + 0.03 * np.cos(time)], 1)
    scores = np.zeros((COUNT, 52), np.float32)
    scores[:, 25] = 0.5 + 0.5 * np.sin(9 * time)
    shape = face()
    shapes = np.tile(shape, (COUNT, 1, 1))
    shapes[..., 1] -= 0.01 * scores[:, 25:26] * np.clip(-shape[:, 1] * 15, 0, 1)
    points = np.einsum("nij,nlj->nli", rotation, shapes) + place[:, None]
    focal, height, width = 900.0, *SIZE
    depth = points[..., 2].mean(1)[:, None]
    marks = np.zeros((COUNT, 478, 3), np.float32)
    pixels = focal * points[..., :2] / points[..., 2:] + noise * rng.normal(size=(COUNT, 468, 2))
    marks[:, :468, 0] = pixels[..., 0] / width + 0.5
    marks[:, :468, 1] = pixels[..., 1] / height + 0.5
    marks[:, :468, 2] = (points[..., 2] - depth) * focal / depth / width
    marks[:, 468:] = marks[:, :1]
    found = np.ones(COUNT, bool) if found is None else found
    return FaceTrack(
        landmarks=np.where(found[:, None, None], marks, 0),
        scores=np.where(found[:, None], scores, 0),
        found=found,
        faces=found.astype(np.int32),
        names=tuple(f"score{i}" for i in range(52)),
        size=SIZE,
    ), rotation


def rigid():
    return (face()[:, 1] > 0).astype(float)


def test_tracks_rotation():
    followed, rotation = clip(noise=0.3)
    result = track(followed, face(), rigid())
    angle = Rotation.from_matrix(result.rotation @ rotation.transpose(0, 2, 1)).magnitude()
    assert np.degrees(angle).mean() < 0.5
    assert result.figures["rigid_error_pixels"] < 0.6
    assert (result.status == 0).all()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_missing_frames_are_interpolated_or_dropped(share):
    found = np.random.default_rng(5).uniform(size=COUNT) >= share
    found[30:40] = False
    followed, rotation = clip(found)
    result = track(followed, face(), rigid())
    assert (result.status[30:40] == 2).all()
    assert ((result.status == 0) == found).all()
    for name in ("rotation", "translation", "scores", "vertices", "pixels", "neutral", "basis"):
        assert np.isfinite(getattr(result, name)).all(), name
    gaps = result.status == 1
    turned = result.rotation @ rotation.transpose(0, 2, 1)
    assert np.degrees(Rotation.from_matrix(turned[gaps]).magnitude()).max() < 3
    assert set(dropped_reasons(result.status, found)) == set(np.flatnonzero(~found).tolist())


def test_no_face_where_it_trains_is_an_error():
    found = np.zeros(COUNT, bool)
    found[-5:] = True
    with pytest.raises(InputError, match="80 %"):
        track(clip(found)[0], face(), rigid())


def test_held_out_frames_change_nothing_that_is_shared():
    followed, _ = clip()
    other = FaceTrack(**{**vars(followed), "landmarks": followed.landmarks.copy()})
    other.landmarks[48:, :, :2] = 0.3 + 0.5 * other.landmarks[48:, :, :2]
    first, second = (track(value, face(), rigid()) for value in (followed, other))
    assert first.focal == second.focal
    for name in ("neutral", "basis", "weights"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_pose_coordinates_are_inverted():
    _, rotation = clip()
    translation = np.random.default_rng(0).normal(size=(COUNT, 3)) * 0.05 + [0, 0, 1]
    coordinates, mean = pose_coordinates(rotation, translation)
    again = pose_from_coordinates(coordinates, mean)
    np.testing.assert_allclose(again[0], rotation, atol=1e-9)
    np.testing.assert_allclose(again[1], translation, atol=1e-9)


def test_every_channel_has_its_own_strength():
    time = np.arange(200) / 25
    noise = np.random.default_rng(0).normal(size=200)
    series = np.stack([np.sin(time) + 0.2 * noise, np.sin(20 * time)], 1)
    smoothed, _ = smooth_channels(series, np.ones(200, bool))
    assert np.abs(smoothed[:, 0] - np.sin(time)).mean() < 0.08
    np.testing.assert_allclose(smoothed[:, 1], series[:, 1], atol=0.05)
