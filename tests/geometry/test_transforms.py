"""Rotations, rigid motions and similarities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.geometry import transforms as T


@pytest.fixture(scope="module")
def rotations():
    turns = [np.zeros(3), [1e-6, 0, 0], [np.pi - 1e-4, 0, 0], [0, np.pi - 1e-4, 0], [0, 0, 3.1]]
    random = Rotation.random(30, random_state=0).as_rotvec()
    return np.concatenate([np.asarray(turns), random]).astype(np.float32)


def test_axis_angle_against_scipy_and_back(rotations):
    matrices = T.axis_angle_to_matrix(rotations)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(rotations).as_matrix(), atol=1e-6)
    np.testing.assert_allclose(T.matrix_to_axis_angle(matrices), rotations, atol=2e-5)


def test_quaternions_are_w_first(rotations):
    matrices = T.axis_angle_to_matrix(rotations)
    q = T.matrix_to_quaternion(matrices)
    assert (q[:, 0] >= 0).all()
    np.testing.assert_allclose(T.quaternion_to_matrix(3 * q), matrices, atol=1e-6)
    np.testing.assert_allclose(T.matrix_to_quaternion(np.eye(3, dtype=np.float32)), [1, 0, 0, 0])


def test_six_d_round_trip_and_orthonormal(rotations):
    matrices = T.axis_angle_to_matrix(rotations)
    np.testing.assert_allclose(T.six_d_to_matrix(T.matrix_to_six_d(matrices)), matrices, atol=1e-6)
    free = T.six_d_to_matrix(np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32))
    np.testing.assert_allclose(np.linalg.det(free), 1.0, rtol=1e-5)


def test_slerp_halves_the_angle():
    turn = jnp.asarray([0.0, 0.8, 0.0])
    q = T.matrix_to_quaternion(T.axis_angle_to_matrix(turn))
    one = jnp.asarray([1.0, 0, 0, 0])
    for end in (q, -q):
        half = T.quaternion_to_matrix(T.quaternion_slerp(one, end, 0.5))
        np.testing.assert_allclose(half, T.axis_angle_to_matrix(turn / 2), atol=1e-6)
    np.testing.assert_allclose(T.quaternion_slerp(one, one, 0.3), one, atol=1e-6)


def test_rigid_inverse_and_apply(rotations):
    motion = T.rigid(T.axis_angle_to_matrix(rotations), rotations[::-1])
    points = np.random.default_rng(1).standard_normal((len(rotations), 7, 3)).astype(np.float32)
    there = T.apply_transform(motion, points)
    np.testing.assert_allclose(T.apply_transform(T.rigid_inverse(motion), there), points, atol=1e-5)
    np.testing.assert_allclose(
        T.apply_rotation(motion, points), there - motion[:, None, :3, 3], atol=1e-5
    )


def test_yaw_and_pitch_signs():
    face = jnp.asarray([0.0, 0.0, 1.0])
    assert (T.yaw_pitch_matrix(0.3, 0.0) @ face)[0] > 0
    assert (T.yaw_pitch_matrix(0.0, 0.3) @ face)[1] < 0


@pytest.mark.parametrize("dimension", [2, 3])
def test_procrustes_recovers_a_similarity(dimension):
    rng = np.random.default_rng(2)
    source = rng.standard_normal((4, 12, dimension)).astype(np.float32)
    rotation = np.linalg.qr(rng.standard_normal((4, dimension, dimension)))[0]
    rotation[np.linalg.det(rotation) < 0, 0] *= -1
    shift = rng.standard_normal((4, 1, dimension))
    target = (1.7 * source @ rotation.transpose(0, 2, 1) + shift).astype(np.float32)
    weights = rng.random((4, 12)).astype(np.float32)
    target[:, 0] += 5.0
    weights[:, 0] = 0.0
    scale, turn, move = T.procrustes(source, target, weights)
    np.testing.assert_allclose(scale, 1.7, rtol=1e-4)
    np.testing.assert_allclose(turn, rotation, atol=1e-4)
    np.testing.assert_allclose(move, shift[:, 0], atol=1e-4)
    scale, turn, _ = T.procrustes(source, -target, weights, with_scale=False)
    np.testing.assert_allclose(scale, 1.0)
    np.testing.assert_allclose(np.linalg.det(turn), 1.0, rtol=1e-4)


def test_similarity_2d_and_inverse():
    affine = T.similarity_2d(2.0, np.float32(np.pi / 2), jnp.asarray([1.0, 0.0]))
    np.testing.assert_allclose(T.apply_affine_2d(affine, jnp.asarray([[1.0, 0.0]])), [[1, 2]],
                               atol=1e-6)
    back = T.apply_affine_2d(T.invert_affine_2d(affine), jnp.asarray([[1.0, 2.0]]))
    np.testing.assert_allclose(back, [[1, 0]], atol=1e-6)
    assert np.isfinite(np.asarray(T.invert_affine_2d(jnp.zeros((2, 3))))).all()


def test_rotation_angle_is_accurate_at_zero():
    tiny = T.axis_angle_to_matrix(jnp.asarray([1e-4, 0.0, 0.0]))
    assert T.rotation_angle(np.eye(3, dtype=np.float32), tiny) == pytest.approx(1e-4, rel=1e-3)


def test_gradients_are_finite_at_special_rotations():
    def angles(v):
        r = T.axis_angle_to_matrix(v)
        return r, T.matrix_to_axis_angle(r), T.matrix_to_quaternion(r), T.rotation_angle(
            jnp.eye(3), r)

    def total(f):
        return lambda v: sum(jnp.sum(jnp.sin(x + 1)) for x in jax.tree.leaves(f(v)))

    special = jnp.asarray([[0.0, 0, 0], [np.pi, 0, 0], [1e-20, 0, 0], [0, 1e3, 0]])
    slopes = [jax.jit(jax.vmap(jax.grad(total(angles))))(special)]
    slopes += [jax.jit(jax.grad(total(T.six_d_to_matrix)))(jnp.zeros(6))]
    slopes += [jax.jit(jax.grad(total(T.quaternion_to_matrix)))(jnp.zeros(4))]
    assert all(np.isfinite(np.asarray(x)).all() for x in slopes)
