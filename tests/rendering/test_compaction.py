"""Compaction: kept rows, overflow, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.compaction import compact, put_rows, take_rows


@pytest.mark.parametrize("budget", [1, 7, 20, 40])
def test_against_numpy(budget):
    wanted = np.random.default_rng(0).uniform(size=40) < 0.4
    kept = jax.jit(compact, static_argnums=1)(wanted, budget)
    expected = np.flatnonzero(wanted)
    assert int(kept.overflow) == max(len(expected) - budget, 0)
    assert int(kept.used.sum()) == min(len(expected), budget)
    np.testing.assert_array_equal(kept.rows[kept.used], expected[:budget])


@pytest.mark.parametrize("fill", [False, True])
def test_all_or_nothing(fill):
    kept = compact(jnp.full(5, fill), 5)
    assert bool(kept.used.all()) is fill and int(kept.overflow) == 0
    back = put_rows(kept, take_rows(kept, jnp.arange(1.0, 6.0)), 5)
    np.testing.assert_array_equal(back, np.arange(1, 6) * fill)


def test_there_and_back_with_gradients():
    wanted = jnp.asarray([True, False, True, True])
    kept = compact(wanted, 3)
    tree = {"a": jnp.arange(8.0).reshape(4, 2), "b": jnp.arange(4)}
    back = put_rows(kept, take_rows(kept, tree), 4)
    np.testing.assert_array_equal(back["a"], tree["a"] * wanted[:, None])
    np.testing.assert_array_equal(back["b"], tree["b"] * wanted)
    slope = jax.grad(lambda a: put_rows(kept, take_rows(kept, a), 4).sum())(tree["a"])
    np.testing.assert_array_equal(slope, np.asarray(wanted)[:, None] * np.ones((4, 2)))


def test_unused_places_change_nothing_on_the_way_back():
    kept = compact(jnp.asarray([False, True, False]), 3)
    back = put_rows(kept, jnp.asarray([5.0, 7.0, 9.0]), 3)
    np.testing.assert_array_equal(back, [0, 5, 0])
