"""Baselines against slow references, and their memory."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.evaluation import baselines


def _clip(count, size=(40, 52), seed=0):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 255, (5, *size, 3))
    mix = rng.dirichlet(np.ones(5), count)
    noise = rng.normal(0, 3, (count, *size, 3))
    return np.clip(np.einsum("nk,k...->n...", mix, base) + noise, 0, 255).astype(np.uint8)


def test_mean_frame_is_the_mean():
    clip = _clip(9)
    mean = baselines.mean_frame(lambda i: clip[i], [1, 4, 6])
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, clip[[1, 4, 6]].mean(0) / 255.0, atol=1e-6)
    with pytest.raises(ValueError, match="no training frame"):
        baselines.mean_frame(lambda i: clip[i], [])


@pytest.mark.parametrize("size", [(40, 52), (17, 9), (64, 64)])
def test_nearest_pixels_equals_brute_force(size):
    clip = _clip(40, size)
    train, test = np.arange(30), np.arange(30, 40)
    found = baselines.nearest_pixels(lambda i: clip[i], train, test, candidates=30)
    floats = clip.astype(np.float64)
    distances = np.square(floats[test][:, None] - floats[train][None]).sum((2, 3, 4))
    np.testing.assert_array_equal(found, distances.argmin(1))


def test_nearest_pixels_returns_ids_and_finds_a_copy():
    clip = _clip(12)
    clip[11] = clip[7]
    found = baselines.nearest_pixels(lambda i: clip[i], [9, 7, 3], [11])
    assert found.tolist() == [7]


def test_thumbnail_distance_never_exceeds_the_pictures_distance():
    a, b = _clip(2, (50, 37)).astype(np.float64)
    bound = np.square(baselines._thumbnail(a) - baselines._thumbnail(b)).sum()
    assert bound <= np.square(a - b).sum() * (1 + 1e-6)


def _pose(rotvecs):
    pose = np.tile(np.eye(4), (len(rotvecs), 1, 1))
    pose[:, :3, :3] = Rotation.from_rotvec(rotvecs).as_matrix()
    return pose.astype(np.float32)


def test_nearest_expression_finds_the_same_face_and_ignores_scale():
    rng = np.random.default_rng(1)
    scores = rng.uniform(0, 1, (30, 6)) * np.array([1, 1, 1e-2, 1, 0, 1])
    # About half a turn, as head_to_camera is: rotation vectors are cut there.
    pose = _pose(np.array([np.pi, 0, 0]) + rng.normal(0, 0.1, (30, 3)))
    order = rng.permutation(30)[:10]
    near = baselines.nearest_expression(scores, pose, scores[order] + 1e-5, pose[order])
    np.testing.assert_array_equal(near, order)
    scaled = scores * np.array([1, 1, 50, 1, 1, 1])
    again = baselines.nearest_expression(scaled, pose, scaled[order], pose[order])
    np.testing.assert_array_equal(again, order)


def test_nearest_expression_weighs_the_pose():
    scores = np.random.default_rng(2).uniform(0, 0.01, (20, 52))
    yaw = np.linspace(-0.5, 0.5, 20)
    pose = _pose(np.stack([0 * yaw, yaw, 0 * yaw], 1))
    near = baselines.nearest_expression(scores, pose, scores[:1], pose[19:])
    assert near[0] > 10


def test_a_long_capture_is_streamed():
    reads = []

    def read(index):
        reads.append(index)
        return np.full((64, 64, 3), index % 251, np.uint8)

    mean = baselines.mean_frame(read, range(400))
    assert mean.shape == (64, 64, 3) and len(reads) == 400
