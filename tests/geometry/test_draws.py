"""Numbers drawn in a row are those of `jax.random`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.geometry import draws


@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 2), (2, 0)])
def test_the_numbers_are_those_of_jax_random(shape):
    key = jax.random.key(3)
    np.testing.assert_array_equal(draws.uniform(key, shape), jax.random.uniform(key, shape))
    np.testing.assert_array_equal(draws.normal(key, shape), jax.random.normal(key, shape))
    found = draws.weights(key, shape, 0.5)
    np.testing.assert_array_equal(found, jax.random.uniform(key, shape, minval=-0.5, maxval=0.5))
    found = draws.uniform(key, shape, jnp.float32, -2.0, 3.0)
    np.testing.assert_array_equal(found, jax.random.uniform(key, shape, minval=-2.0, maxval=3.0))


def test_examples_draw_side_by_side():
    keys = jax.random.split(jax.random.key(0), 3)
    found = jax.jit(jax.vmap(lambda key: draws.uniform(key, (2, 5))))(keys)
    np.testing.assert_array_equal(found[1], jax.random.uniform(keys[1], (2, 5)))


def test_keys_are_those_of_jax_random():
    keys = (find(jax.random.key(1), 9) for find in (draws.split, jax.random.split))
    np.testing.assert_array_equal(*map(jax.random.key_data, keys))
