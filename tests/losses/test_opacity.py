"""Opacity losses: where they are least, and their gradients at the ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxhead.losses.opacity import mask_cross_entropy, opacity_entropy


@pytest.mark.parametrize("mask", [0.0, 0.3, 1.0])
def test_cross_entropy_is_least_at_the_mask(mask):
    alpha = jnp.linspace(0, 1, 1001)
    losses = mask_cross_entropy(alpha, jnp.full(1001, mask))
    assert abs(float(alpha[jnp.argmin(losses)]) - mask) < 2e-3


def test_cross_entropy_against_the_formula():
    alpha, mask = np.array([0.2, 0.9]), np.array([1.0, 0.25])
    expected = -mask * np.log(alpha) - (1 - mask) * np.log(1 - alpha)
    actual = mask_cross_entropy(jnp.asarray(alpha), jnp.asarray(mask), margin=1e-6)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_entropy_is_zero_at_the_ends_and_log_2_in_the_middle():
    values = opacity_entropy(jnp.asarray([0.0, 1.0, 0.5]), margin=1e-5)
    np.testing.assert_allclose(values, [0, 0, np.log(2)], atol=1e-3)
    np.testing.assert_allclose(
        opacity_entropy(jnp.float32(0.2)), opacity_entropy(jnp.float32(0.8)), rtol=1e-5
    )


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_gradients_at_the_ends_pull_back_and_are_bounded(alpha):
    slope = jax.grad(lambda a: mask_cross_entropy(a, jnp.float32(1 - alpha)))(jnp.float32(alpha))
    assert 1 < abs(slope) <= 1e3
    assert np.isfinite(jax.grad(opacity_entropy)(jnp.float32(alpha)))


def test_gradients():
    alpha = jnp.asarray([0.2, 0.7])
    check_grads(lambda a: mask_cross_entropy(a, jnp.asarray([1.0, 0.0])), (alpha,), 1, atol=1e-2)
    check_grads(opacity_entropy, (alpha,), 1, atol=1e-2, rtol=1e-2)
