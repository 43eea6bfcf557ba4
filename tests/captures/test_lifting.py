"""Lifting to metres: alignment, pose from pixels, agreement with MediaPipe's own transformation."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.captures.lifting import (
    align,
    fit_pose,
    lift,
    metric_vertices,
    project_points,
    screen_points,
)

AXES = np.diag([1.0, -1.0, -1.0])


def face(seed=0):
    """468 points of a curved sheet of a head's size, metres."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.07, 0.07, 468), rng.uniform(-0.09, 0.09, 468)
    return np.stack([x, y, 0.06 - 6 * x**2 - 3 * y**2 + 0.003 * rng.normal(size=468)], 1)


def poses(count, spread=0.2, seed=1):
    rng = np.random.default_rng(seed)
    rotation = Rotation.from_rotvec(spread * rng.normal(size=(count, 3))).as_matrix() @ AXES
    translation = np.array([0, 0, 0.9]) + 0.03 * rng.normal(size=(count, 3))
    return rotation, translation


def test_align_recovers_a_similarity():
    shape, (rotation, translation) = face(), poses(5)
    scale = np.linspace(0.5, 2, 5)
    points = scale[:, None, None] * np.einsum("nij,lj->nli", rotation, shape)
    points = points + translation[:, None]
    weights = np.random.default_rng(0).uniform(size=468)
    found = align(shape, points, weights)
    for value, truth in zip(found, (scale, rotation, translation)):
        np.testing.assert_allclose(value, truth, atol=1e-9)


def test_align_never_mirrors():
    shape = face()
    _, rotation, _ = align(shape, (shape * [1, 1, -1])[None], np.ones(468))
    assert np.isclose(np.linalg.det(rotation[0]), 1.0)


def test_fit_pose_recovers_the_pose_from_pixels():
    shape, (rotation, translation) = face(), poses(6)
    pixels = project_points(shape, 1500.0, rotation, translation)
    turned = Rotation.from_rotvec([0.05, -0.08, 0.1]).as_matrix() @ rotation
    found = fit_pose(shape, pixels, 1500.0, np.ones(468), turned, translation + [0.01, -0.02, 0.1])
    np.testing.assert_allclose(found[0], rotation, atol=1e-6)
    np.testing.assert_allclose(found[1], translation, atol=1e-6)


def test_metric_vertices_reproject_onto_the_landmarks():
    rng = np.random.default_rng(3)
    landmarks = rng.uniform(0.3, 0.7, (4, 478, 3))
    screen = screen_points(landmarks, (480, 640))
    rotation, translation = poses(4)
    vertices = metric_vertices(screen, 1200.0, rotation, translation, translation[:, 2])
    np.testing.assert_allclose(
        [
            project_points(v, 1200.0, r[None], t[None])[0]
            for v, r, t in zip(vertices, rotation, translation)
        ],
        screen[..., :2],
        atol=1e-9,
    )


def test_lifting_inverts_a_projection():
    # A face that really stands before a camera of this focal length, given as MediaPipe would.
    shape, focal = face(), 1000.0
    rotation, translation = poses(3)
    points = np.einsum("nij,lj->nli", rotation, shape) + translation[:, None]
    pixels = focal * points[..., :2] / points[..., 2:]
    depth = points[..., 2].mean(1)[:, None]
    screen = np.concatenate([pixels, ((points[..., 2] - depth) * focal / depth)[..., None]], -1)
    lifted = lift(screen, focal) * (depth / focal)[..., None]
    np.testing.assert_allclose(lifted, points, atol=1e-9)


def test_agrees_with_mediapipes_own_transformation(assets, clips):
    pytest.importorskip("mediapipe")
    from jaxhead.captures.landmarks import Landmarker
    from jaxhead.files.video import decode
    from jaxhead.heads.mediapipe import canonical_face

    frame = next(iter(decode(clips / "may_5s.mp4", max_frames=1)))
    with Landmarker(assets) as landmarker:
        found = landmarker.detect(frame)[0]
    canonical = canonical_face(assets / "face_landmarker.task")
    weights = np.zeros(468)
    weights[canonical.procrustes_index] = canonical.procrustes_weights
    size = frame.shape[:2]
    focal = size[0] / 2 / np.tan(np.radians(63) / 2)
    points = lift(screen_points(found.landmarks[None], size)[:, :468], focal)
    scale, rotation, translation = align(canonical.vertices @ AXES, points, weights)
    np.testing.assert_allclose((AXES @ rotation[0] @ AXES), found.transform[:3, :3], atol=3e-6)
    place = AXES @ translation[0] / scale[0] * 100
    np.testing.assert_allclose(place, found.transform[:3, 3], atol=2e-3)
