"""The Huber loss: two branches, continuity, scalings, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxhead.losses.huber import huber


@pytest.mark.parametrize("delta", [0.1, 2.0])
def test_slow_reference(delta):
    errors = np.linspace(-3, 3, 61)
    expected = [
        0.5 * e * e if abs(e) <= delta else delta * (abs(e) - delta / 2) for e in map(float, errors)
    ]
    actual = huber(jnp.asarray(errors, jnp.float32), jnp.zeros(61), delta=delta)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_scalings():
    a, b = jnp.asarray([0.01, 0.5]), jnp.asarray([0.0, 0.1])
    plain = huber(a, b, delta=0.2)
    np.testing.assert_allclose(huber(a, b, delta=0.2, scaling="torch-port"), plain / 0.2, rtol=1e-6)
    np.testing.assert_allclose(huber(a, b, delta=0.2, scaling="instant-ngp"), plain, rtol=1e-6)
    with pytest.raises(ValueError, match="scaling is 'other'"):
        huber(a, b, scaling="other")


def test_gradient_is_the_clipped_error():
    errors = jnp.asarray([-1e30, -1.0, -0.05, 0.0, 0.05, 1.0, 1e30])
    slope = jax.vmap(jax.grad(lambda e: huber(e, jnp.float32(0))))(errors)
    np.testing.assert_allclose(slope, jnp.clip(errors, -0.1, 0.1), atol=1e-7)
    check_grads(lambda e: huber(e, jnp.zeros(3)), (jnp.asarray([0.03, 0.4, -2.0]),), 1, ["rev"])
