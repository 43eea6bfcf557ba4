"""The bias-free perceptron: a sample per row and a sample per column."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.networks.mlp import BiasFreeMLP


@pytest.mark.parametrize("layers, dtype", [(1, jnp.float32), (3, jnp.float32), (3, jnp.bfloat16)])
def test_columns_are_the_same_function_with_the_same_gradients(layers, dtype):
    net = BiasFreeMLP(layers, 16, 5, dtype)
    x = jax.random.normal(jax.random.key(0), (40, 7))
    params = net.init(jax.random.key(1), x)["params"]
    weight = jax.random.normal(jax.random.key(2), (40, 5))

    def by_rows(params, x):
        return jnp.sum(weight * net.apply({"params": params}, x).astype(jnp.float32))

    def by_columns(params, x):
        return jnp.sum(weight.T * net.columns(params, x.T).astype(jnp.float32))

    tolerance = 1e-5 if dtype == jnp.float32 else 4e-2
    wanted = jax.jit(jax.value_and_grad(by_rows, argnums=(0, 1)))(params, x)
    found = jax.jit(jax.value_and_grad(by_columns, argnums=(0, 1)))(params, x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
        scale = float(jnp.max(jnp.abs(b)))
        np.testing.assert_allclose(a, b, atol=tolerance * scale)


@pytest.mark.parametrize("layers, dtype", [(1, jnp.float32), (3, jnp.float32), (3, jnp.bfloat16)])
def test_inputs_that_a_ray_s_samples_share_are_as_good_as_repeated(layers, dtype):
    net = BiasFreeMLP(layers, 16, 5, dtype)
    x, shared = (jax.random.normal(jax.random.key(k), s) for k, s in enumerate([(4, 40), (3, 10)]))
    params = net.init(jax.random.key(1), jnp.zeros((1, 7)))["params"]
    weight = jax.random.normal(jax.random.key(2), (5, 40))

    def repeated(params, x, shared):
        inputs = jnp.concatenate([jnp.repeat(shared, 4, axis=1), x])
        return jnp.sum(weight * net.columns(params, inputs).astype(jnp.float32))

    def grouped(params, x, shared):
        return jnp.sum(weight * net.columns(params, x, shared).astype(jnp.float32))

    tolerance = 1e-5 if dtype == jnp.float32 else 4e-2
    wanted = jax.jit(jax.value_and_grad(repeated, argnums=(0, 1, 2)))(params, x, shared)
    found = jax.jit(jax.value_and_grad(grouped, argnums=(0, 1, 2)))(params, x, shared)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
        np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.max(jnp.abs(b))))


def test_no_input_gives_no_output():
    net = BiasFreeMLP(2, 8, 3)
    params = net.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    assert not np.any(net.columns(params, jnp.zeros((4, 6))))
    assert all(layer.keys() == {"kernel"} for layer in params.values())
