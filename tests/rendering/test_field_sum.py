"""Sums over rays with their gradient found along the way, against plain differentiation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.field_sum import differentiated, field_sum
from jaxhead.rendering.hierarchical import background_layers

RAYS, SAMPLES = 13, 6


def field(weights, rays, samples):
    return jnp.tanh(samples @ weights["kernel"] + rays) @ weights["out"]


FIELD = differentiated(field)
BOTH = FIELD._replace(dense=differentiated(lambda weights, rays, samples: (
    weights["out"].T @ jnp.tanh(weights["kernel"].T @ samples.T + rays.T)
).T))  # fmt: skip


def integrate(raw, given):
    layers = background_layers(
        jax.nn.sigmoid(raw[..., :3]), jax.nn.relu(raw[..., 3]), given["depths"], jnp.ones(len(raw))
    )
    error = (layers.over(given["behind"]) - given["target"]) ** 2
    return jnp.sum(given["counts"][:, None] * error), layers.weights


def made(density):
    keys = jax.random.split(jax.random.key(0), 6)
    weights = {
        "kernel": jax.random.normal(keys[0], (2, 8)),
        "out": jax.random.normal(keys[1], (8, 4)) * jnp.array([1.0, 1.0, 1.0, density]),
    }
    rays = jax.random.normal(keys[2], (RAYS, 8))
    samples = jax.random.normal(keys[3], (RAYS, SAMPLES, 2))
    depths = jnp.broadcast_to(jnp.linspace(0, 1, SAMPLES), (RAYS, SAMPLES))
    behind, target = jax.random.uniform(keys[4], (2, RAYS, 3))
    return weights, rays, samples, {"depths": depths, "behind": behind, "target": target}


def plain(weights, rays, samples, constants):
    each = jax.vmap(lambda r, s: field(weights, r, s))(rays, samples)
    return integrate(each, constants | {"counts": jnp.ones(RAYS)})


@pytest.mark.parametrize("chosen", [FIELD, BOTH])
@pytest.mark.parametrize("density", [0.3, 3000.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_sum_values_and_gradient_are_those_of_the_whole(chosen, density, sparse):
    weights, rays, samples, constants = made(density)

    def chunked(weights, rays):
        found = field_sum(chosen, integrate, weights, rays, samples, constants, 4, sparse)
        return 3.0 * found[0], found[1]

    def whole(weights, rays):
        found = plain(weights, rays, samples, constants)
        return 3.0 * found[0], found[1]

    both = [
        jax.jit(jax.value_and_grad(f, argnums=(0, 1), has_aux=True))(weights, rays)
        for f in (chunked, whole)
    ]
    for a, b in zip(*map(jax.tree.leaves, both)):
        np.testing.assert_allclose(a, b, atol=3e-6 * max(1.0, float(jnp.abs(b).max())))


def test_the_dense_form_serves_as_long_as_all_samples_count():
    weights, rays, samples, _ = made(0.3)
    wrong = FIELD._replace(dense=differentiated(lambda *given: 2 * field(*given)))

    def squares(raw, given):
        each = jnp.sum(raw**2, (1, 2)) * given["counts"]
        return jnp.sum(given["scale"] * each), each

    @functools.partial(jax.jit, static_argnums=0)
    def doubled(chosen, scale):
        def total(weights):
            return field_sum(chosen, squares, weights, rays, samples, {"scale": scale}, 4)

        return jax.value_and_grad(total, has_aux=True)(weights)[0][1]

    def wrong_rays(scale):
        return np.asarray(doubled(wrong, scale) / doubled(FIELD, scale)) > 2

    scale = jnp.ones(RAYS)
    assert wrong_rays(scale).all()
    # After a chunk of which nothing counts, the second one here, the other form takes over.
    expected = [*[True] * 8, *[False] * 4, True]
    np.testing.assert_array_equal(wrong_rays(scale.at[4:8].set(0)), expected)


def test_hidden_samples_are_left_out_and_nothing_changes_in_batches():
    weights, rays, samples, constants = made(3000.0)

    def total(weights, rays, samples, constants):
        return field_sum(FIELD, integrate, weights, rays, samples, constants, 4, True)[0]

    many = jax.vmap(total, in_axes=(None, 0, 0, 0))
    doubled = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), (rays, samples, constants))
    slopes = jax.jit(jax.grad(lambda w: many(w, *doubled).sum()))(weights)
    once = jax.jit(jax.grad(lambda w: plain(w, rays, samples, constants)[0]))(weights)
    for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(once)):
        np.testing.assert_allclose(a, 2 * b, atol=1e-5 * float(jnp.abs(b).max()) + 1e-6)


def test_without_differentiation_the_sum_is_the_same():
    given = made(3.0)
    found, values = jax.jit(field_sum, static_argnums=(0, 1, 6))(FIELD, integrate, *given, 5)
    expected, layers = plain(*given)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(values, layers, atol=1e-6)
