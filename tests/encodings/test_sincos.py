"""Sine and cosine against float64, at every size of angle, and their slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.encodings.sincos import sincos


@pytest.mark.parametrize("largest", [1e-3, 1.0, 100.0, 8192.0, 1e6])
def test_both_are_exact_to_the_last_digits(largest):
    x = np.float32(np.random.default_rng(0).uniform(-largest, largest, 20000))
    x[:5] = 0, -0.0, np.pi / 4, -np.pi / 2, largest
    for found, wanted in zip(jax.jit(sincos)(x), (np.sin, np.cos)):
        np.testing.assert_allclose(found, wanted(x.astype(np.float64)), rtol=0, atol=2e-7)


def test_quarters_change_signs_in_order():
    x = jnp.float32(np.pi / 2) * jnp.arange(-9, 10)
    sine, cosine = sincos(x)
    n = np.arange(-9, 10)
    np.testing.assert_allclose(sine, np.array([0, 1, 0, -1])[n % 4], atol=1e-6)
    np.testing.assert_allclose(cosine, np.array([1, 0, -1, 0])[n % 4], atol=1e-6)


def test_what_is_not_a_number_stays_so_and_spoils_nothing_else():
    sine, cosine = sincos(jnp.array([jnp.nan, jnp.inf, 1.0], jnp.float32))
    assert np.isnan(sine[:2]).all() and np.isnan(cosine[:2]).all()
    np.testing.assert_allclose([sine[2], cosine[2]], [np.sin(1), np.cos(1)], atol=2e-7)


def test_slopes_types_and_batches():
    x = jnp.linspace(-3, 300, 7, dtype=jnp.float32)
    slope = jax.vmap(jax.grad(lambda x: sincos(x)[0] + 2 * sincos(x)[1]))(x)
    np.testing.assert_allclose(slope, np.cos(x) - 2 * np.sin(x), atol=1e-6)
    second = jax.vmap(jax.grad(jax.grad(lambda x: sincos(x)[0])))(x)
    np.testing.assert_allclose(second, -np.sin(x), atol=1e-6)
    assert sincos(x.astype(jnp.bfloat16))[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(jax.vmap(sincos)(x)[1], np.cos(x), atol=1e-6)
