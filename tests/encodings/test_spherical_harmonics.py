"""Spherical harmonics against goldens, quadrature and a rotation law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens

from jaxhead.encodings.spherical_harmonics import sh


def test_goldens(goldens):
    for golden in known_goldens(goldens, module="spherical harmonics"):
        golden.compare("sh", sh(golden.inputs["directions"], degree=golden.config["degree"]))


def _directions(n=64):
    d = np.random.default_rng(0).normal(size=(n, 3))
    return jnp.asarray(d / np.linalg.norm(d, axis=-1, keepdims=True), jnp.float32)


def test_orthonormal_over_the_sphere():
    # Gauss-Legendre in z times equal angles integrates these polynomials exactly.
    z, weights = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * 2 * np.pi / 16
    radius = np.sqrt(1 - z**2)[:, None]
    d = np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), np.broadcast_to(z[:, None], (8, 16))], -1
    )
    values = np.asarray(sh(jnp.asarray(d, jnp.float32)), np.float64)
    gram = np.einsum("zai,zaj,z->ij", values, values, weights) * 2 * np.pi / 16
    np.testing.assert_allclose(gram, np.eye(16), atol=2e-6)


def test_energy_of_each_order_is_the_same_in_every_direction():
    values = np.asarray(sh(_directions())) ** 2
    for order in range(4):
        energy = values[:, order**2 : (order + 1) ** 2].sum(-1)
        np.testing.assert_allclose(energy, (2 * order + 1) / (4 * np.pi), rtol=1e-5)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_lower_degrees_are_prefixes(degree):
    np.testing.assert_array_equal(
        sh(_directions(), degree=degree), sh(_directions())[..., : degree**2]
    )


def test_jit_vmap_and_gradient():
    d = _directions(8)
    np.testing.assert_allclose(jax.jit(sh)(d), jax.vmap(sh)(d), atol=1e-6)
    assert np.all(np.isfinite(jax.grad(lambda v: sh(v).sum())(jnp.zeros(3))))


def test_unknown_degree_is_refused():
    with pytest.raises(ValueError, match="degree is 5"):
        sh(jnp.zeros(3), degree=5)
