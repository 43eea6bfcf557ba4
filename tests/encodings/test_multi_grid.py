"""Grids at several resolutions: reference, laws at the border, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.encodings.multi_grid import MultiGridConfig, grid_rows, init_grids

SIZES = {"base_resolution": 4, "finest_resolution": 17, "features": 2}


def made(kind, **changes):
    config = MultiGridConfig(kind=kind, **SIZES | changes)
    grids = init_grids(jax.random.key(0), config)
    return config, [1e4 * grid for grid in grids]


def slow_linear(grid, place):
    """Linear interpolation of grid (*S, F) at one place in grid points, corner by corner."""
    total = 0.0
    low = np.minimum(np.floor(place).astype(int), np.array(grid.shape[:-1]) - 2)
    for corner in np.ndindex((2,) * len(place)):
        weight = np.prod([1 - abs(p - (a + b)) for p, a, b in zip(place, low, corner)])
        total = total + weight * grid[tuple(low + corner)]
    return total


@pytest.mark.parametrize("kind", ["dense", "triplane"])
def test_features_are_those_of_a_slow_reference(kind):
    config, grids = made(kind)
    x = np.random.default_rng(1).uniform(size=(7, 3)).astype(np.float32)
    x[:2] = [[0, 0, 0], [1, 1, 1]]  # corners are inside
    rows = np.asarray(jax.jit(grid_rows, static_argnums=2)(grids, jnp.asarray(x), config))
    assert config.resolutions == (4, 8, 16) and rows.shape == (config.dimensions, 7)
    for point, column in zip(x, rows.T):
        expected = []
        for grid in map(np.asarray, grids):
            places = point * (grid.shape[1] - 1)
            if kind == "dense":
                expected.append(slow_linear(grid, places))
            else:  # width, then height; rows are heights
                axes = ((1, 0), (2, 0), (2, 1))
                expected += [slow_linear(p, places[list(a)]) for p, a in zip(grid, axes)]
        np.testing.assert_allclose(column, np.concatenate(expected), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "kind", [pytest.param("dense", marks=pytest.mark.long), "triplane"]
)
def test_gradients_agree_with_differences_also_under_vmap(kind):
    config, grids = made(kind)
    x = jnp.asarray(np.random.default_rng(2).uniform(0.1, 0.9, (2, 5, 3)), jnp.float32)

    def total(grids, x):
        return jnp.sum(jnp.sin(jax.vmap(lambda p: grid_rows(grids, p, config))(x)))

    slopes, along = jax.grad(total, (0, 1))(grids, x)
    assert all(float(jnp.abs(s).sum()) > 0 for s in slopes)
    step = 1e-3 * jnp.sign(along)
    numeric = (total(grids, x + step / 2) - total(grids, x - step / 2)) / jnp.sum(step * along)
    np.testing.assert_allclose(numeric, 1, rtol=5e-2)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="dense, triplane"):
        MultiGridConfig(kind="octree", **SIZES)
    with pytest.raises(ValueError, match="finest_resolution = 3"):
        MultiGridConfig(kind="dense", **SIZES | {"finest_resolution": 3})
