"""How alike two pictures are: PSNR, SSIM and L1, over all pixels or inside a mask.

All take images [..., H, W, C] in [0, 1] and a mask [..., H, W] (bool, or weights >= 0), and return
one number per image, [...]. Where a mask holds nothing, there is nothing to compare: NaN.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

_FILTER_SIZE = 11
_FILTER_SIGMA = 1.5


def _mean(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Returns the mean over pixels and channels [..., H, W, C] -> [...]."""
    values = jnp.mean(values, axis=-1)
    if mask is None:
        return jnp.mean(values, axis=(-2, -1))
    mask = jnp.broadcast_to(mask, values.shape).astype(values.dtype)
    return jnp.sum(values * mask, axis=(-2, -1)) / jnp.sum(mask, axis=(-2, -1))


def l1(a: jax.Array, b: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Returns the mean absolute difference; see the module."""
    chex.assert_equal_shape([a, b])
    return _mean(jnp.abs(a - b), mask)


def psnr(
    a: jax.Array, b: jax.Array, mask: jax.Array | None = None, *, peak: float = 1.0
) -> jax.Array:
    """Returns the peak signal-to-noise ratio in dB, 10 log10(peak^2 / mean squared error).

    Equal images give infinity. See the module for shapes.

    Args:
        a: images.
        b: images of the same shape.
        mask: where to compare.
        peak: largest possible value.
    """
    chex.assert_equal_shape([a, b])
    return -10 * jnp.log10(_mean(jnp.square(a - b), mask) / peak**2)


def ssim(
    a: jax.Array, b: jax.Array, mask: jax.Array | None = None, *, peak: float = 1.0
) -> jax.Array:
    """Returns the structural similarity, in [-1, 1] (Wang et al. 2004).

    With the usual constants: Gaussian window of 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03.
    Only windows inside the image count; a mask selects windows by their centre pixel.

    Args:
        a: images, at least 11 pixels high and wide.
        b: images of the same shape.
        mask: where to compare.
        peak: largest possible value.
    """
    values = ssim_map(a, b, peak=peak)
    border = _FILTER_SIZE // 2
    if mask is not None:
        mask = mask[..., border:-border, border:-border]
    return _mean(values, mask)


def ssim_map(a: jax.Array, b: jax.Array, *, peak: float = 1.0) -> jax.Array:
    """Returns the similarity of every window, [..., H - 10, W - 10, C]; see `ssim`."""
    chex.assert_equal_shape([a, b])
    if min(a.shape[-3:-1]) < _FILTER_SIZE:
        raise ValueError(f"an image of {a.shape[-3:-1]} is smaller than SSIM's window of 11 pixels")
    # Around grey, where less precision is lost to the difference of large second moments.
    grey = 0.5 * peak
    a, b = a - grey, b - grey
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a = jnp.maximum(_blur(a * a) - mean_a**2, 0)
    variance_b = jnp.maximum(_blur(b * b) - mean_b**2, 0)
    covariance = _blur(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + grey, mean_b + grey
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)


def _blur(image: jax.Array) -> jax.Array:
    """Returns the windows' Gaussian means, separably, without padding."""
    offsets = np.arange(_FILTER_SIZE) - _FILTER_SIZE // 2
    window = np.exp(-0.5 * (offsets / _FILTER_SIGMA) ** 2)
    window = [float(w) for w in window / window.sum()]
    for axis in (image.ndim - 3, image.ndim - 2):
        length = image.shape[axis] - _FILTER_SIZE + 1
        blurred: Any = sum(
            w * jax.lax.slice_in_dim(image, k, k + length, axis=axis) for k, w in enumerate(window)
        )
        image = blurred
    return image
