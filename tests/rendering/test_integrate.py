"""The volume rendering sum: goldens, a slow loop, laws, extremes, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens
from jax.test_util import check_grads

from jaxhead.rendering.integrate import (
    Rendered,
    alive,
    closed,
    composite,
    over,
    transmittance,
    volume_weights,
)


def test_goldens(goldens):
    for golden in known_goldens(goldens, module="volume rendering sum"):
        inputs = golden.inputs
        weights = volume_weights(inputs["sigma"], inputs["step"])
        rgb, alpha, depth = composite(weights, inputs["color"], inputs["t"])
        golden.compare("render_weights", weights)
        golden.compare("render_color", rgb)
        golden.compare("render_opacity", alpha)
        golden.compare("render_depth", depth)


def _ray(samples=9, seed=0):
    rng = np.random.default_rng(seed)
    sigma = rng.exponential(3, (4, samples)).astype(np.float32)
    return sigma, np.full_like(sigma, 0.1), rng.uniform(size=(4, samples, 5)).astype(np.float32)


def test_slow_reference_with_five_features_and_a_background():
    sigma, delta, rgb = _ray()
    t = np.cumsum(delta, -1)
    behind = np.full((4, 5), 0.7, np.float32)
    out = composite(volume_weights(sigma, delta), rgb, t, behind)
    for ray in range(4):
        left, color, depth = 1.0, np.zeros(5), 0.0
        for s in range(9):
            alpha = 1 - np.exp(-float(sigma[ray, s]) * 0.1)
            color, depth = color + left * alpha * rgb[ray, s], depth + left * alpha * t[ray, s]
            left *= 1 - alpha
        np.testing.assert_allclose(out.rgb[ray], color + left * 0.7, rtol=1e-5)
        np.testing.assert_allclose(out.alpha[ray], 1 - left, rtol=1e-5)
        np.testing.assert_allclose(out.depth[ray], depth, rtol=1e-5)


def test_weights_and_what_passes_sum_to_one():
    sigma, delta, _ = _ray()
    passing = transmittance(sigma, delta)
    assert passing.shape == (4, 10) and np.all(np.diff(passing) <= 0)
    total = volume_weights(sigma, delta).sum(-1) + passing[:, -1]
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_cutting_samples_in_two_changes_nothing():
    sigma, delta, rgb = _ray()
    t = np.cumsum(delta, -1)
    twice = [np.repeat(v, 2, 1) for v in (sigma, delta / 2, rgb, t)]
    whole = composite(volume_weights(sigma, delta), rgb, t)
    halves = composite(volume_weights(twice[0], twice[1]), twice[2], twice[3])
    for a, b in zip(whole, halves):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_thin_media_keep_their_precision():
    weights = volume_weights(jnp.full((1, 4), 1e-9), jnp.ones((1, 4)))
    np.testing.assert_allclose(weights, 1e-9, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e-38, 1e-6, 1e6, 1e30, 3e38, np.inf])
@pytest.mark.parametrize("length", [0.0, 1e-3, 1e10])
def test_extremes_are_finite_with_finite_gradients(value, length):
    sigma = jnp.asarray([value, 0.0, value, 1.0])
    delta = jnp.full(4, length)

    def total(sigma, delta):
        weights = volume_weights(sigma, delta)
        out = composite(weights, jnp.ones((4, 3)), jnp.arange(4.0), jnp.zeros(3))
        return out.rgb.sum() + out.alpha + out.depth

    value, slopes = jax.value_and_grad(total, argnums=(0, 1))(sigma, delta)
    assert np.isfinite(value)
    assert np.all(np.isfinite(slopes[0]))
    weights = volume_weights(sigma, delta)
    assert np.all(weights >= 0) and weights.sum() <= 1 + 1e-6


def test_gradients():
    sigma, delta, rgb = _ray(samples=4)

    def color(sigma, rgb):
        weights = volume_weights(sigma, delta)
        return composite(weights, rgb, np.cumsum(delta, -1), np.ones((4, 5), np.float32))

    check_grads(color, (sigma, rgb), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_early_termination_drops_only_what_is_hidden():
    sigma = jnp.asarray([0.0, 50.0, 200.0, 5.0, 5.0])
    delta = jnp.full(5, 0.1)
    mask = alive(sigma, delta, stop=1e-4)
    np.testing.assert_array_equal(mask, [True, True, True, False, False])
    stopped = volume_weights(sigma, delta, stop=1e-4)
    np.testing.assert_array_equal(stopped[3:], 0)
    np.testing.assert_allclose(stopped, volume_weights(sigma, delta), atol=1e-4)


def test_an_opaque_layer_hides_the_background():
    behind = jnp.ones(3)
    np.testing.assert_array_equal(over(jnp.zeros(3), jnp.float32(1), behind), 0)
    np.testing.assert_array_equal(over(jnp.zeros(3), jnp.float32(0), behind), 1)
    np.testing.assert_array_equal(over(jnp.zeros(3), jnp.float32(1.0000001), behind), 0)


def test_what_ends_in_something_solid_is_opaque_and_keeps_its_colour_and_depth():
    alpha = jnp.array([0.4, 0.4, 0.01, 1.0, 0.0])
    seen = Rendered(alpha[:, None] * jnp.array([0.2, 0.5, 1.0]), alpha, 1.5 * alpha)
    found = closed(seen, jnp.array([True, False, True, True, True]))
    np.testing.assert_allclose(found.alpha, [1, 0.4, 0.01, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(found.rgb[0], [0.2, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found.depth, [1.5, 0.6, 0.015, 1.5, 0], rtol=1e-6)
    for before, after in zip(seen, found, strict=True):
        np.testing.assert_array_equal(before[1:3], after[1:3])


def test_jit_and_vmap():
    sigma, delta, _ = _ray()
    np.testing.assert_allclose(
        jax.jit(jax.vmap(volume_weights))(sigma, delta), volume_weights(sigma, delta), rtol=1e-5
    )
