"""Total variation and depth smoothness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.losses.smoothness import depth_smoothness, neighbour_smoothness, total_variation


def test_slow_reference():
    image = np.random.default_rng(0).normal(size=(4, 5, 3))
    rows = np.mean([abs(image[i + 1] - image[i]) for i in range(3)])
    columns = np.mean([abs(image[:, j + 1] - image[:, j]) for j in range(4)])
    actual = total_variation(jnp.asarray(image, jnp.float32), axes=(0, 1))
    np.testing.assert_allclose(actual, rows + columns, rtol=1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_constants_and_single_rows_cost_nothing(power):
    assert total_variation(jnp.full((3, 4, 5), 7.0), axes=(0, 1, 2), power=power) == 0
    assert total_variation(jnp.arange(4.0)[None], axes=(0,), power=power) == 0


def test_a_ramp_costs_its_slope():
    ramp = 0.5 * jnp.arange(6.0)[None, :] + jnp.zeros((4, 1))
    np.testing.assert_allclose(total_variation(ramp, axes=(0, 1)), 0.5)
    np.testing.assert_allclose(total_variation(ramp, axes=(0, 1), power=2), 0.25)
    with pytest.raises(ValueError, match="power is 3"):
        total_variation(ramp, axes=(0,), power=3)


def test_depth_may_jump_where_the_image_does():
    depth = jnp.zeros((4, 6)).at[:, 3:].set(1.0)
    edge = jnp.zeros((4, 6, 3)).at[:, 3:].set(1.0)
    flat = jnp.zeros((4, 6, 3))
    np.testing.assert_allclose(depth_smoothness(depth, flat), depth_smoothness(depth), rtol=1e-6)
    np.testing.assert_allclose(
        depth_smoothness(depth, edge), np.exp(-1) * depth_smoothness(depth), rtol=1e-6
    )
    slope = jax.grad(depth_smoothness)(depth, edge)
    assert np.all(np.isfinite(slope))


def test_single_neighbours_add_up_to_the_map():
    random = np.random.default_rng(1)
    depth, image = random.normal(size=(5, 6)), random.random((5, 6, 3))
    right = neighbour_smoothness(depth[:, :-1], depth[:, 1:], image[:, :-1], image[:, 1:])
    below = neighbour_smoothness(depth[:-1], depth[1:], image[:-1], image[1:])
    expected = depth_smoothness(jnp.asarray(depth), jnp.asarray(image))
    np.testing.assert_allclose(right.mean() + below.mean(), expected, rtol=1e-6)
