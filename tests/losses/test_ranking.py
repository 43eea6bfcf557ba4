"""Relative depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.losses.ranking import depth_order, depth_ranking, sample_pairs

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


@pytest.mark.parametrize("count", [2, 3, 50])
def test_pairs_are_of_two_and_all_come_up(count):
    draw = jax.jit(lambda key: sample_pairs(key, count, 20 * count**2))
    pairs = np.asarray(draw(jax.random.key(0)))
    assert pairs.min() == 0 and pairs.max() == count - 1
    assert np.all(pairs[:, 0] != pairs[:, 1])
    assert len(np.unique(pairs, axis=0)) > 0.99 * count * (count - 1)


def test_one_pixel_has_no_pair():
    with pytest.raises(ValueError, match="count is 1"):
        sample_pairs(jax.random.key(0), 1, 4)


def test_order_says_which_is_deeper_and_ties_within_a_margin():
    reference = jnp.array([1.0, 2.0, 2.05])
    pairs = jnp.array([[1, 0], [0, 2], [1, 2]])
    found = depth_order(reference, pairs, tie=0.1)
    np.testing.assert_array_equal(found, [1, -1, 0])
    np.testing.assert_array_equal(depth_order(reference, pairs, tie=0.0), [1, -1, -1])
    # A rendered depth in that order costs less than the reverse, by its own loss.
    right = depth_ranking(reference, pairs[:2], found[:2]).sum()
    assert right < depth_ranking(-reference, pairs[:2], found[:2]).sum()
