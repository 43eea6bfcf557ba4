"""Image metrics against SciPy (and dm-pix where it is installed), with masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxhead.metrics import images
from jaxhead.metrics.images import l1, psnr, ssim_map

# Compiled: SSIM is a hundred small operations.
ssim = jax.jit(images.ssim, static_argnames="peak")


def _pair(shape=(24, 30, 3)):
    rng = np.random.default_rng(0)
    a = scipy.ndimage.gaussian_filter(rng.uniform(size=shape), 2, axes=(-3, -2))
    b = np.clip(a + 0.1 * rng.normal(size=shape), 0, 1)
    return a.astype(np.float32), b.astype(np.float32)


def _slow_ssim_map(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def blur(image):
        # truncate 3.5 makes a radius of 5 pixels, 11 in all.
        full = scipy.ndimage.gaussian_filter(image, (1.5, 1.5, 0), truncate=3.5)
        return full[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4)
    return top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))


def test_ssim_against_scipy():
    a, b = _pair()
    expected = _slow_ssim_map(a, b)
    np.testing.assert_allclose(ssim_map(a, b), expected, atol=2e-5)
    np.testing.assert_allclose(ssim(a, b), expected.mean(), atol=1e-5)


def test_against_dm_pix():
    dm_pix = pytest.importorskip("dm_pix")
    a, b = _pair()
    np.testing.assert_allclose(ssim(a, b), dm_pix.ssim(a, b), atol=1e-5)
    np.testing.assert_allclose(psnr(a, b), dm_pix.psnr(a, b), rtol=1e-5)
    np.testing.assert_allclose(l1(a, b), dm_pix.mae(a, b), rtol=1e-5)


def test_psnr_and_l1_against_numpy():
    a, b = _pair()
    error = np.asarray(a, np.float64) - b
    np.testing.assert_allclose(psnr(a, b), -10 * np.log10((error**2).mean()), rtol=1e-5)
    np.testing.assert_allclose(psnr(255 * a, 255 * b, peak=255.0), psnr(a, b), rtol=1e-5)
    np.testing.assert_allclose(l1(a, b), abs(error).mean(), rtol=1e-5)


def test_equal_images():
    a, _ = _pair()
    assert psnr(a, a) == np.inf
    assert l1(a, a) == 0
    np.testing.assert_allclose(ssim(a, a), 1, atol=1e-6)


def test_a_mask_compares_only_what_it_covers():
    a, b = _pair()
    mask = np.zeros((24, 30), bool)
    mask[6:14, 8:20] = True
    error = (np.asarray(a, np.float64) - b)[mask]
    np.testing.assert_allclose(psnr(a, b, mask), -10 * np.log10((error**2).mean()), rtol=1e-5)
    np.testing.assert_allclose(l1(a, b, mask), abs(error).mean(), rtol=1e-5)
    expected = _slow_ssim_map(a, b)[mask[5:-5, 5:-5]].mean()
    np.testing.assert_allclose(ssim(a, b, mask), expected, atol=1e-5)
    outside = np.where(mask[..., None], b, 0.5).astype(np.float32)
    np.testing.assert_allclose(psnr(a, outside, mask), psnr(a, b, mask), rtol=1e-6)
    for metric in (psnr, ssim, l1):
        np.testing.assert_allclose(metric(a, b, np.ones((24, 30))), metric(a, b), rtol=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim, l1])
def test_an_empty_mask_is_nan_not_a_number(metric):
    a, b = _pair()
    assert np.isnan(metric(a, b, np.zeros((24, 30), bool)))


@pytest.mark.parametrize("metric", [psnr, ssim, l1])
def test_batches_jit_and_symmetry(metric):
    a, b = _pair((2, 12, 13, 3))
    both = jax.jit(metric)(a, b)
    assert both.shape == (2,)
    np.testing.assert_allclose(both, [metric(x, y) for x, y in zip(a, b)], rtol=1e-5)
    np.testing.assert_allclose(metric(b, a), both, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(metric)(a, b), both, rtol=1e-5)


def test_ssim_can_be_a_loss():
    a, b = _pair((12, 12, 1))
    slope = jax.jit(jax.grad(ssim))
    assert np.all(np.isfinite(slope(a, b)))
    flat = np.full((12, 12, 1), 0.5, np.float32)
    assert np.all(np.isfinite(slope(flat, flat)))


def test_a_small_image_is_refused():
    with pytest.raises(ValueError, match="smaller than SSIM's window"):
        images.ssim(jnp.zeros((10, 20, 3)), jnp.zeros((10, 20, 3)))
