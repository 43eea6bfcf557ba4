"""Stored arrays: the identity for values and gradients, and an edge that kernels do not cross."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.geometry.fusion import materialised


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.int32, jnp.bool_, jnp.complex64])
def test_values_stay(dtype):
    x = jnp.array([[1.5, 0.0], [-2.0, jnp.nan]]).astype(dtype)
    for made in (materialised(x), jax.jit(materialised)(x), jax.vmap(materialised)(x)):
        assert made.dtype == x.dtype
        np.testing.assert_array_equal(made, x)


def test_pytrees_and_gradients_in_both_modes():
    tree = {"a": jnp.arange(3.0), "b": (jnp.ones((2, 2)), jnp.arange(2))}
    jax.tree.map(np.testing.assert_array_equal, materialised(tree), tree)
    f = lambda x: jnp.sum(materialised(x**2) * x)  # noqa: E731
    x = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(jax.jit(jax.grad(f))(x), 3 * x**2, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(f, (x,), (x,))[1], 3 * jnp.sum(x**3), rtol=1e-6)


def test_no_kernel_of_the_cpu_crosses_it():
    def reads(store):
        def f(x):
            y = store(jnp.sin(x) + 1.0)
            return y[:-1] * y[1:] * y[:1]

        return jax.jit(f, backend="cpu").lower(jnp.arange(64.0)).compile().as_text()

    def crossed(text):
        """Whether a kernel of all elements takes the sine where it reads shifted places."""
        kernels = [part for part in text.split("\n\n") if "fused_computation" in part[:40]]
        return any(" sine(" in part and "f32[63]" in part for part in kernels)

    assert crossed(reads(lambda y: y))
    assert not crossed(reads(materialised))
