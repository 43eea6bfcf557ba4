"""Dense grids against SciPy, with borders and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.test_util import check_grads

from jaxhead.encodings import dense_grid
from jaxhead.encodings.dense_grid import init_dense

dense_encode = jax.jit(dense_grid.dense_encode)
interpolate = jax.jit(dense_grid.interpolate, static_argnames="padding")

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("padding,mode", [("edge", "nearest"), ("zeros", "grid-constant")])
@pytest.mark.parametrize("sizes", [(5,), (4, 6), (3, 4, 5)])
def test_against_scipy(padding, mode, sizes):
    grid = RNG.normal(size=(*sizes, 2)).astype(np.float32)
    places = RNG.uniform(-2, 7, (100, len(sizes))).astype(np.float32)
    expected = np.stack(
        [scipy.ndimage.map_coordinates(grid[..., f], places.T, order=1, mode=mode) for f in (0, 1)],
        -1,
    )
    actual = interpolate(grid, places, padding=padding)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_grid_points_are_met_exactly_and_faces_are_the_ends():
    grid = jnp.asarray(RNG.normal(size=(3, 3, 3, 4)), jnp.float32)
    points = jnp.asarray([[0, 0, 0], [1, 1, 1], [0.5, 0, 1]], jnp.float32)
    expected = jnp.stack([grid[0, 0, 0], grid[2, 2, 2], grid[1, 0, 2]])
    np.testing.assert_allclose(dense_encode([grid], points), expected, atol=1e-6)
    np.testing.assert_allclose(dense_encode([grid], 3 * points[1:2]), expected[1:2], atol=1e-6)


def test_several_grids_stand_side_by_side():
    keys = jax.random.split(jax.random.key(0), 2)
    grids = [init_dense(keys[0], (2, 3, 4), 2), init_dense(keys[1], (5, 5, 5), 3)]
    x = jnp.asarray(RNG.uniform(size=(2, 7, 3)), jnp.float32)
    out = dense_encode(grids, x)
    assert out.shape == (2, 7, 5)
    np.testing.assert_allclose(out[..., 2:], dense_encode(grids[1:], x), rtol=1e-6)
    assert float(jnp.abs(grids[0]).max()) <= 1e-4


def test_gradients():
    grid = jnp.asarray(RNG.normal(size=(3, 4, 2)), jnp.float32)
    places = jnp.asarray([[0.3, 1.6], [1.4, 2.7]])
    check_grads(interpolate, (grid, places), 1, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("padding", ["edge", "zeros"])
def test_far_away_is_finite(padding):
    grid = jnp.ones((3, 3, 1))
    places = jnp.asarray([[jnp.inf, 0.0], [-1e30, 1e30]])
    value, slope = jax.value_and_grad(lambda g: interpolate(g, places, padding=padding).sum())(grid)
    assert np.isfinite(value) and np.all(np.isfinite(slope))
    with pytest.raises(ValueError, match="padding is 'wrap'"):
        interpolate(grid, places, padding="wrap")
