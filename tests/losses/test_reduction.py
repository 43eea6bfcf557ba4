"""Weighted means and sums of terms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.losses.reduction import total_loss, weighted_mean


def test_weighted_mean():
    values = jnp.asarray([[1.0, 2.0], [3.0, 8.0]])
    assert weighted_mean(values) == 3.5
    np.testing.assert_allclose(weighted_mean(values, jnp.asarray([[1.0], [3.0]])), 36 / 8)
    mask = jnp.asarray([[True, False], [False, True]])
    np.testing.assert_allclose(weighted_mean(values, mask), 4.5)


def test_no_weight_at_all_gives_zero_with_a_finite_gradient():
    value, slope = jax.value_and_grad(weighted_mean)(jnp.ones(3), jnp.zeros(3))
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


def test_total_loss_sums_what_has_a_weight():
    terms = {"a": jnp.float32(2), "b": jnp.float32(3), "logged": jnp.float32(100)}
    assert total_loss(terms, {"a": 1.0, "b": 0.5}) == 3.5
    with pytest.raises(ValueError, match="no loss term named c"):
        total_loss(terms, {"c": 1.0})
