"""Resizing of pictures and feature maps as PyTorch and OpenCV define it, by fixed matrices."""

import jax
import jax.numpy as jnp
import numpy as np


def linear_weights(count: int, wanted: int) -> np.ndarray:
    """Returns (wanted, count) float32: linear interpolation whose end samples stay the ends
    (`align_corners=True`)."""
    place = np.linspace(0, count - 1, wanted)
    below = np.minimum(place.astype(int), max(count - 2, 0))
    share = place - below
    weights = np.zeros((wanted, count))
    rows = np.arange(wanted)
    np.add.at(weights, (rows, below), 1 - share)
    np.add.at(weights, (rows, np.minimum(below + 1, count - 1)), share)
    return weights.astype(np.float32)


def cubic_weights(count: int, wanted: int, factor: float | None = None) -> np.ndarray:
    """Returns (wanted, count) float32: Keys' cubic with a = -3/4 and no blur, as PyTorch's and
    OpenCV's.

    Args:
        count, wanted: samples before and after.
        factor: how many new samples stand for an old one, `wanted / count` if None. Ends repeat.
    """
    factor = wanted / count if factor is None else factor
    place = (np.arange(wanted) + 0.5) / factor - 0.5
    first = np.floor(place).astype(int) - 1
    weights = np.zeros((wanted, count))
    for offset in range(4):
        distance = np.abs(place - (first + offset))
        near = (1.25 * distance - 2.25) * distance**2 + 1
        far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
        at = np.clip(first + offset, 0, count - 1)
        np.add.at(weights, (np.arange(wanted), at), np.where(distance <= 1, near, far))
    return weights.astype(np.float32)


def resample(
    images: jax.Array, rows: np.ndarray, columns: np.ndarray, *, precision: str | None = "highest"
) -> jax.Array:
    """Returns images (..., h, w, C) for images (..., H, W, C), weights (h, H) and (w, W)."""
    images = jnp.einsum("hH,...HWc->...hWc", rows, images, precision=precision)
    return jnp.einsum("wW,...hWc->...hwc", columns, images, precision=precision)
