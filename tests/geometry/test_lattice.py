"""Lattices in the plane against SciPy's interpolator, their gradient and their borders."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import RegularGridInterpolator

from jaxhead.geometry.lattice import lookup_lattice

BOX = np.array([[-0.3, 0.1], [0.5, 1.3]], np.float32)


def lattices(count=3, nodes=5, channels=2):
    return np.random.default_rng(0).normal(size=(count, nodes, nodes, channels)).astype(np.float32)


def test_values_are_bilinear_and_borders_hold():
    values, random = lattices(), np.random.default_rng(1)
    points = random.uniform(BOX[0] - 0.3, BOX[1] + 0.3, (200, 2)).astype(np.float32)
    frame = random.integers(0, 3, 200)
    found = jax.jit(lookup_lattice)(values, points, BOX, frame)
    held = np.clip(points, BOX[0], BOX[1])
    x, y = (np.linspace(BOX[0, k], BOX[1, k], 5) for k in range(2))
    for n in range(3):
        expected = RegularGridInterpolator((y, x), values[n], bounds_error=False, fill_value=None)
        here = frame == n
        np.testing.assert_allclose(found[here], expected(held[here][:, ::-1]), atol=2e-5)


def test_nodes_and_shapes():
    values = lattices(2)
    y, x = np.meshgrid(np.linspace(0.1, 1.3, 5), np.linspace(-0.3, 0.5, 5), indexing="ij")
    found = lookup_lattice(values, np.stack([x, y], -1), BOX, np.ones((5, 5), np.int32))
    np.testing.assert_allclose(found, values[1], atol=1e-5)


def test_gradients_and_vmap():
    values, frame = lattices(), jnp.zeros(1, jnp.int32)
    point = jnp.array([[0.13, 0.77]])

    def total(values, point):
        return jnp.sum(lookup_lattice(values, point, BOX, frame) ** 2)

    by_values, by_point = jax.grad(total, (0, 1))(jnp.asarray(values), point)
    step = 1e-2
    for k in range(2):
        aside = jnp.zeros(2).at[k].set(step)
        slope = (total(values, point + aside) - total(values, point - aside)) / (2 * step)
        np.testing.assert_allclose(by_point[0, k], slope, rtol=2e-2, atol=1e-3)
    assert int((np.asarray(by_values) != 0).sum()) == 4 * 2
    one = jax.vmap(lambda p: lookup_lattice(values, p[None], BOX, frame)[0])
    many = one(jnp.tile(point, (3, 1)))
    np.testing.assert_allclose(many, np.tile(lookup_lattice(values, point, BOX, frame), (3, 1)))
