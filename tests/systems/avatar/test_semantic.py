"""The semantic term: right gradients, paid for when due, the same on any number of devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from quick_compile import compiled
from systems.avatar.tiny_clip import one_level, tiny_prior

from jaxhead.systems.avatar.data import _looked_at
from jaxhead.systems.avatar.semantic import (
    draw_shot,
    pose_numbers,
    semantic_distance,
    where_due,
)
from jaxhead.systems.avatar.surface import frame_geometry
from jaxhead.systems.avatar.views import turned
from jaxhead.training.system import Shard


@pytest.fixture(scope="module")
def batch(small):
    """What the feed gives of one frame."""
    inputs, frame = small.inputs, int(small.inputs["train"][0])
    picture = jnp.asarray(small.capture.frame(frame))
    geometry = frame_geometry(jnp.asarray(inputs["vertices"][frame]), small.frozen,
                              config=small.config)
    return {
        "noise": jax.random.key_data(jax.random.key(3))[None], "picture": picture,
        "head_to_camera": jnp.asarray(inputs["head_to_camera"][frame])[None],
        "geometry": geometry[None], "condition": jnp.full((1, small.spec.components), 0.3),
        "sway": jnp.asarray(inputs["sway"][frame])[None], "box": jnp.array([[16.0, 8, 48, 44]]),
        "torso_motion": jnp.asarray(inputs["torso_motion"][frame])[None],
        "torso_condition": jnp.zeros((1, 6)), "first": jnp.ones(1),
    }  # fmt: skip


def configured(config, **prior):
    return dataclasses.replace(config, prior=dataclasses.replace(config.prior, **prior))


def test_a_shot_is_the_frames_own_or_turned(small, batch):
    size = small.spec.size
    own = draw_shot(batch, size=size, config=configured(small.config, unseen=0.0))
    np.testing.assert_array_equal(own.head_to_camera, own.own)
    other = draw_shot(batch, size=size, config=configured(small.config, unseen=1.0))
    assert np.abs(other.head_to_camera - own.own).max() > 0.01
    np.testing.assert_allclose(other.head_to_camera[:3, 3], own.own[:3, 3], atol=1e-6)


def test_poses_that_are_alike_have_numbers_that_are():
    facing = jnp.diag(jnp.array([1.0, -1.0, -1.0, 1.0])).at[:3, 3].set(jnp.array([0.1, 0, 0.6]))
    np.testing.assert_allclose(pose_numbers(facing), [0, 0, 0, 0.1, 0, 0.6], atol=1e-6)
    for yaw in (-0.1, 0.1):
        numbers = pose_numbers(turned(facing, jnp.float32(yaw), jnp.float32(0)))
        np.testing.assert_allclose(jnp.linalg.norm(numbers[:3]), 0.1, atol=1e-5)
        np.testing.assert_allclose(numbers[3:], [0.1, 0, 0.6], atol=1e-6)


@pytest.mark.long
def test_gradients_are_right_and_following_them_brings_the_codes_together(
    small, variables, batch
):
    prior, (config, params) = tiny_prior(), one_level(small.config, small.spec.components)
    config = configured(config, unseen=1.0, size=16, pose=True)
    frozen = small.frozen | {"clip": prior.variables}
    shot = draw_shot(batch, size=small.spec.size, config=config)

    def value_and_gradient(params):
        return jax.value_and_grad(
            lambda params: semantic_distance(
                params, variables.state, frozen, shot, batch["picture"], size=small.spec.size,
                config=config, clip_config=prior.config,
            )
        )(params)  # fmt: skip

    value_and_gradient = compiled(value_and_gradient, params)
    first, gradient = value_and_gradient(params)
    assert 0 < first < 2
    for part, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.any(leaf), jax.tree_util.keystr(part)
    # Along the gradient itself, which ReLUs and cells cross least.
    length = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))

    def moved(step):
        return jax.tree.map(lambda p, g: p + step * g / length, params, gradient)

    step = 2e-2
    numeric = (value_and_gradient(moved(step))[0] - value_and_gradient(moved(-step))[0])
    np.testing.assert_allclose(numeric / (2 * step), length, rtol=0.05)
    adam = optax.adam(0.03)
    moments = adam.init(params)
    for _ in range(30):
        value, gradient = value_and_gradient(params)
        change, moments = adam.update(gradient, moments)
        params = optax.apply_updates(params, change)
    assert value < 0.6 * first


def test_a_term_that_is_not_due_is_nothing():
    def cube(params, rest):
        return jnp.sum(rest["scale"] * params["x"] ** 3)

    params, rest = {"x": jnp.array([1.0, 2.0])}, {"scale": jnp.float32(2), "id": jnp.int32(4)}

    def term(params, due):
        return where_due(cube, params, rest, due)

    value = jax.jit(jax.value_and_grad(term))
    for due, wanted, slope in ((True, 18.0, [6.0, 24.0]), (False, 0.0, [0.0, 0.0])):
        found, gradient = value(params, jnp.bool_(due))
        np.testing.assert_allclose(found, wanted)
        np.testing.assert_allclose(gradient["x"], slope)
        np.testing.assert_allclose(term(params, jnp.bool_(due)), wanted)
    both = jax.vmap(jax.grad(term), (None, 0))(params, jnp.array([True, False]))
    np.testing.assert_allclose(both["x"], [[6.0, 24.0], [0.0, 0.0]])


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_one_picture_counts_once_on_any_number_of_devices(devices):
    arrays = {"frames": jnp.zeros((2, 4, 4, 3), jnp.uint8), "boxes": jnp.zeros((2, 4))}
    each = 8 // devices
    shares = [
        _looked_at(arrays, jnp.int32(1), Shard(jnp.int32(index * each), each, 8))["first"]
        for index in range(devices)
    ]
    # The mean over devices of what the first example of each weighs.
    np.testing.assert_allclose(np.mean([share[0] for share in shares]), 1)
    assert sum(float(share.sum()) > 0 for share in shares) == 1
