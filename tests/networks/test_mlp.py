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


@pytest.mark.parametrize("shares", [False, True])
def test_blocks_of_inputs_are_as_good_as_one(shares):
    net = BiasFreeMLP(3, 16, 5)
    features, given = (jax.random.normal(jax.random.key(k), (4 + k, 40)) for k in range(2))
    shared = jax.random.normal(jax.random.key(4), (3, 10)) if shares else None
    rows = 9 + 3 * shares
    params = net.init(jax.random.key(1), jnp.zeros((1, rows)))["params"]
    weight = jax.random.normal(jax.random.key(2), (5, 40))

    def stacked(params, features, given):
        x = jnp.concatenate([features, given])
        return jnp.sum(weight * net.columns(params, x, shared))

    def in_blocks(params, features, given):
        return jnp.sum(weight * net.columns(params, (features, given), shared))

    for wanted in [(0,), (0, 1), (0, 2), (0, 1, 2)]:
        args = (params, features, given)
        expected = jax.jit(jax.value_and_grad(stacked, argnums=wanted))(*args)
        found = jax.jit(jax.value_and_grad(in_blocks, argnums=wanted))(*args)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
            np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.max(jnp.abs(b))))


def test_a_gradient_that_nobody_asks_for_is_not_computed():
    net = BiasFreeMLP(2, 16, 5)
    x, given = jnp.ones((4, 40)), jnp.ones((64, 40))
    params = net.init(jax.random.key(1), jnp.zeros((1, 68)))["params"]

    def loss(params, x, given):
        return jnp.sum(net.columns(params, (x, given)))

    def products(argnums):
        text = str(jax.make_jaxpr(jax.grad(loss, argnums=argnums))(params, x, given))
        return text.count("dot_general")

    assert products((0, 1)) == products((0, 1, 2)) - 1


def test_columns_under_vmap():
    net = BiasFreeMLP(2, 8, 3)
    x, given = jnp.ones((2, 4, 6)), jnp.arange(12.0).reshape(2, 1, 6)
    params = net.init(jax.random.key(0), jnp.zeros((1, 5)))["params"]

    def loss(x, given):
        return jnp.sum(net.columns(params, (x, given)) ** 2)

    found = jax.vmap(jax.grad(loss))(x, given)
    expected = jnp.stack([jax.grad(loss)(a, b) for a, b in zip(x, given)])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_no_input_gives_no_output():
    net = BiasFreeMLP(2, 8, 3)
    params = net.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    assert not np.any(net.columns(params, jnp.zeros((4, 6))))
    assert all(layer.keys() == {"kernel"} for layer in params.values())
