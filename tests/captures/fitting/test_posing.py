"""Posing: the library's skinning, seen from the skull."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captures.fitting.small_heads import small_body, small_head

from jaxhead.captures.fitting.posing import baked, body_of, part_of, posed
from jaxhead.geometry.transforms import axis_angle_to_matrix
from jaxhead.heads.model import head_vertices


def numbers(seed=0):
    rng = np.random.default_rng(seed)
    return [
        np.float32(a)
        for a in (rng.normal(size=4), rng.normal(size=5), [0.3, 0.8],
                  0.3 * rng.normal(size=(3, 3)), 0.4 * rng.normal(size=3))
    ]  # fmt: skip


def test_it_is_the_models_own_skinning_seen_from_the_skull():
    head, body = small_head(), body_of(small_head(), skull=1)
    identity, expression, _, turns, neck = numbers()
    vectors = jnp.zeros((5, 3)).at[1].set(neck).at[jnp.array([2, 3, 4])].set(turns)
    rotations = axis_angle_to_matrix(vectors)
    world = head_vertices(head, identity, expression, rotations)
    rest = np.einsum(
        "v,vk->k", head.skeleton.joint_regressor[1],
        np.asarray(head_vertices(head, identity, expression)),
    )  # fmt: skip
    expected = (np.asarray(world) - rest) @ np.asarray(rotations[1]) + rest
    found = posed(body, identity, expression, jnp.zeros(0), turns, neck)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_neck_leaves_what_hangs_on_the_skull_alone():
    body = small_body().replace(pose_basis=np.zeros_like(small_body().pose_basis))
    identity, expression, lids, turns, neck = numbers()
    with_neck, without = (
        posed(body, identity, expression, lids, turns, n) for n in (neck, 0 * neck)
    )
    moved = np.linalg.norm(with_neck - without, axis=1)
    shoulders = body.weights[:, 0]
    assert moved[shoulders < 1e-4].max() < 1e-5
    assert moved[shoulders > 0.5].min() > 1e-3


def test_parts_and_baked_bodies_pose_alike():
    body = small_body()
    given = numbers(1)
    whole = posed(body, *given)
    chosen = np.array([3, 77, 200])
    np.testing.assert_allclose(posed(part_of(body, chosen), *given), whole[chosen], atol=1e-6)
    subject = baked(body, given[0])
    np.testing.assert_allclose(
        posed(subject, jnp.zeros(0), *given[1:]), whole, atol=1e-6
    )
    many = jax.jit(jax.vmap(lambda *a: posed(body, *a)))(*(np.stack([a, a]) for a in given))
    np.testing.assert_allclose(many[1], whole, atol=1e-6)


def test_a_head_without_joints_is_linear():
    head, body = small_head(joints=False), small_body(joints=False)
    identity, expression, lids, _, neck = numbers(2)
    found = posed(body, identity, expression, lids, jnp.zeros((0, 3)), neck)
    expected = head_vertices(head, identity, expression) + np.einsum("k,kvi->vi", lids, body.lids)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match="skull=3"):
        body_of(head, skull=3)


@pytest.mark.long
def test_the_gradient_at_rest_is_finite():
    body = small_body()
    zeros = [jnp.zeros_like(a) for a in numbers()]
    gradient = jax.grad(lambda a: (posed(body, *a) ** 2).sum())(zeros)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradient)
