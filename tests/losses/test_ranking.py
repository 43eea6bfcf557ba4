"""Relative depth."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.losses.ranking import depth_ranking

PAIRS = np.asarray([[0, 1], [0, 1], [0, 1]])
ORDER = np.asarray([1, -1, 0])


def test_right_order_is_cheap_and_wrong_order_dear():
    right, wrong, equal = depth_ranking(jnp.asarray([3.0, 1.0]), PAIRS, ORDER)
    np.testing.assert_allclose([right, wrong], [np.log1p(np.exp(-2)), np.log1p(np.exp(2))], 1e-5)
    assert equal == 4


def test_swapping_a_pair_and_its_order_changes_nothing():
    depth = jnp.asarray([0.3, 0.9])
    swapped = depth_ranking(depth, PAIRS[:, ::-1], -ORDER)
    np.testing.assert_allclose(depth_ranking(depth, PAIRS, ORDER), swapped, rtol=1e-6)


def test_extreme_depths_stay_finite():
    depth = jnp.asarray([1e4, -1e4])
    values, slopes = jax.vmap(
        lambda order: jax.value_and_grad(
            lambda d: depth_ranking(d, PAIRS[:1], order[None])[0]
        )(depth)
    )(ORDER)
    assert np.all(np.isfinite(values)) and np.all(np.isfinite(slopes))
