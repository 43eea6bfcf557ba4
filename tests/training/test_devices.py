"""Arrays on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.training.devices import first, first_to_host, replicate


@pytest.mark.parametrize("count", [1, 4])
def test_the_first_copy_is_an_array_like_any_other(count):
    devices = jax.local_devices()[:count]
    made = jax.pmap(lambda tree: {"a": 2 * tree["a"]}, axis_name="batch", devices=devices)(
        replicate({"a": np.arange(6.0, dtype=np.float32).reshape(2, 3)}, devices)
    )
    found = first(made)["a"]
    np.testing.assert_array_equal(found, 2 * np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(first_to_host(made)["a"], found)
    # Else every program that takes it would be compiled twice.
    fresh = jnp.zeros((2, 3))
    assert found.aval == fresh.aval and found.sharding == fresh.sharding
