"""What a clip shares: focal length, displacement basis, trust in vertices."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.captures.identity import choose_focal, fit_basis, fit_head

AXES = np.diag([1.0, -1.0, -1.0])


def face(seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.07, 0.07, 468), rng.uniform(-0.09, 0.09, 468)
    return np.stack([x, y, 0.06 - 6 * x**2 - 3 * y**2 + 0.003 * rng.normal(size=468)], 1)


def screens(shapes, focal, distance, spread, seed=1):
    """What `screen_points` gives for a camera of this focal length (weak-perspective z)."""
    rng = np.random.default_rng(seed)
    count = len(shapes)
    rotation = Rotation.from_rotvec(spread * rng.normal(size=(count, 3))).as_matrix() @ AXES
    place = np.array([0, 0, distance]) + [0.03, 0.03, 0.08] * rng.normal(size=(count, 3)) * distance
    points = np.einsum("nij,nlj->nli", rotation, shapes) + place[:, None]
    depth = points[..., 2].mean(1)[:, None]
    z = (points[..., 2] - depth) * focal / depth
    return np.concatenate([focal * points[..., :2] / points[..., 2:], z[..., None]], -1)


@pytest.mark.parametrize(("fov", "distance"), [(60.0, 0.35), (20.0, 1.0)])
def test_focal_length_of_a_turning_face(fov, distance):
    focal = 256 / np.tan(np.radians(fov) / 2)
    shape = face()
    screen = screens(np.tile(shape, (60, 1, 1)), focal, distance, 0.3)
    found, plausible = choose_focal(screen, shape, np.ones(468), (512, 512))
    angle = np.degrees(2 * np.arctan(256 / found))
    assert abs(angle - fov) < 0.2 * fov
    assert plausible[0] <= fov * 1.1 and plausible[1] >= fov * 0.9


def test_a_still_face_takes_the_usual_distance():
    shape = face()
    screen = np.tile(screens(shape[None], 700.0, 0.5, 0.0), (20, 1, 1))
    found, _ = choose_focal(screen, shape, np.ones(468), (512, 512))
    assert abs(found / 700.0 * 0.5 - 0.9) < 0.1


def test_basis_recovers_a_linear_face():
    rng = np.random.default_rng(2)
    neutral, basis = face(), 0.005 * rng.normal(size=(6, 468, 3))
    scores = rng.uniform(0, 1, (200, 6))
    vertices = neutral + np.einsum("ne,elk->nlk", scores, basis)
    found_neutral, found_basis = fit_basis(vertices, scores)
    error = found_neutral + np.einsum("ne,elk->nlk", scores, found_basis) - vertices
    assert np.abs(error).mean() < 5e-4
    assert np.abs(found_basis - basis).max() < 0.2 * np.abs(basis).max()


def test_a_score_that_never_moves_gets_no_displacement():
    rng = np.random.default_rng(3)
    scores = np.concatenate([rng.uniform(0, 1, (50, 2)), np.full((50, 1), 0.3)], 1)
    vertices = face() + 0.01 * rng.normal(size=(50, 468, 3))
    assert np.abs(fit_basis(vertices, scores)[1][2]).max() < 1e-12


def test_head_fit_separates_pose_from_expression():
    rng = np.random.default_rng(4)
    shape = face()
    lower = np.clip((-shape[:, 1] - 0.02) / 0.05, 0, 1)
    basis = np.zeros((3, 468, 3))
    basis[0, :, 1] = -0.02 * lower
    scores = np.concatenate([rng.uniform(0, 1, (60, 1)), np.zeros((60, 2))], 1)
    shapes = shape + np.einsum("ne,elk->nlk", scores, basis)
    screen = screens(shapes, 1500.0, 0.9, 0.1)
    fit = fit_head(screen, scores, 1500.0, shape, np.where(lower > 0, 0.0, 1.0))
    assert fit.error < 0.15 and fit.explained > 0.95
    # Relative depths of a turned, moving face differ a little from those of the model.
    assert np.abs(fit.neutral - shape).max() < 2e-3
    assert np.abs(fit.basis[0] - basis[0]).max() < 4e-3
    assert np.isclose(fit.weights.sum(), 1) and (fit.weights > 0).all()
