"""Coarse and fine samples and the background as last sample, against published code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import compare, known_goldens

from jaxhead.rendering import hierarchical


def test_fine_samples_are_the_published_ones(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="sample_pdf"):
        given, count = golden.inputs, golden.config["N_samples"]
        even = np.broadcast_to(np.linspace(0, 1, count, dtype=np.float32), given["u"].shape)
        draw = jax.jit(hierarchical.inverse_cdf)
        golden.compare("samples", draw(given["bins"], given["weights"], even))
        golden.compare("samples_u", draw(given["bins"], given["weights"], given["u"]))


def test_volume_rendering_is_the_published_one(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="raw2outputs"):
        raw, z, behind = (golden.inputs[k] for k in ("raw", "z_vals", "bc_rgb"))
        length = np.linalg.norm(golden.inputs["rays_d"], axis=-1)
        found = hierarchical.background_layers(
            jax.nn.sigmoid(raw[..., :3]), jax.nn.relu(raw[..., 3]), jnp.asarray(z), length
        )
        golden.compare("weights", found.weights)
        golden.compare("last_weight", found.last_weight)
        golden.compare("rgb_map_fg", found.foreground)
        golden.compare("rgb_map_plain", found.over(behind))
        # White behind an opacity that is always 1.
        golden.compare("rgb_map", found.over(behind) + 1 - found.weights.sum(-1)[:, None])
        golden.compare("acc_map", found.weights.sum(-1))
        golden.compare("depth_map", hierarchical.mean_depth(found.weights, z))
        golden.compare("disp_map", hierarchical.disparity(found.weights, z))


def test_nerfaces_floor_is_the_last_samples_alone(goldens):
    for golden in known_goldens(goldens, system="nerface", module="volume_render"):
        raw, z = golden.inputs["radiance"], jnp.asarray(golden.inputs["depth"])
        length = np.linalg.norm(golden.inputs["directions"], axis=-1)
        found = hierarchical.background_layers(
            jax.nn.sigmoid(raw[..., :3]), jax.nn.relu(raw[..., 3]), z, length, floor_all=False
        )
        golden.compare("weights", found.weights)
        golden.compare("rgb", found.over(golden.inputs["background"]))
        golden.compare("disparity", hierarchical.disparity(found.weights, z))
        even = np.linspace(0, 1, golden.outputs["samples"].shape[-1], dtype=np.float32)
        given = golden.inputs["bins"], golden.inputs["pdf_weights"]
        even = np.broadcast_to(even, (*given[0].shape[:-1], len(even)))
        golden.compare("samples", hierarchical.inverse_cdf(*map(jnp.asarray, given), even))


def test_depths_stay_in_their_intervals_and_the_last_at_far():
    near, far = jnp.array([0.5, 0.2]), jnp.array([1.1, 3.0])
    even = hierarchical.stratified_depths(None, near, far, 9)
    np.testing.assert_allclose(even, np.linspace(near, far, 9, axis=-1), rtol=1e-6)
    drawn = hierarchical.stratified_depths(jax.random.key(3), near, far, 9)
    middles = 0.5 * (even[:, 1:] + even[:, :-1])
    assert np.all(drawn[:, :-1] <= middles) and np.all(drawn[:, 1:-1] >= middles[:, :-1])
    np.testing.assert_array_equal(drawn[:, -1], far)
    assert np.unique(drawn - even).size > 10


@pytest.mark.parametrize("jitter", [False, True])
def test_fine_depths_gather_where_the_weight_is(jitter):
    depths = jnp.linspace(0.0, 1.0, 17)[None]
    weights = jnp.exp(-(((depths - 0.7) / 0.05) ** 2))
    key = jax.random.key(1) if jitter else None
    fine = hierarchical.fine_depths(key, depths, weights, 64)[0]
    assert fine.shape == (81,) and np.all(np.diff(fine) >= 0)
    assert np.sum(np.abs(fine - 0.7) < 0.12) > 55
    assert set(np.asarray(depths[0]).tolist()) <= set(np.asarray(fine).tolist())
    slope = jax.grad(lambda w: hierarchical.fine_depths(key, depths, w, 64).sum())(weights)
    assert not np.any(slope)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6, 1e30])
def test_weights_sum_to_one_with_finite_gradients(scale):
    sigma = scale * jnp.abs(jax.random.normal(jax.random.key(0), (5, 12)))
    depths = jnp.sort(jax.random.uniform(jax.random.key(1), (5, 12)))
    rgb = jax.random.uniform(jax.random.key(2), (5, 12, 3))

    def colour(sigma, rgb):
        return hierarchical.background_layers(rgb, sigma, depths, jnp.ones(5)).over(jnp.ones(3))

    weights = jax.jit(hierarchical.background_weights)(sigma, depths, jnp.ones(5))
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    slopes = jax.jit(jax.grad(lambda *x: jnp.sum(colour(*x) ** 2), argnums=(0, 1)))(sigma, rgb)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    assert not np.any(slopes[1][:, -1])


def test_rays_are_independent():
    sigma = jnp.abs(jax.random.normal(jax.random.key(0), (4, 6)))
    depths = jnp.broadcast_to(jnp.linspace(0.0, 1.0, 6), (4, 6))
    whole = hierarchical.background_weights(sigma, depths, jnp.ones(4))
    each = jax.vmap(hierarchical.background_weights)(sigma, depths, jnp.ones(4))
    compare("weights", each, whole, tolerance=1e-6)
