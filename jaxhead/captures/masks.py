"""Soft masks: the person, sharpened along the picture's edges, and its parts as stored.

The person comes from the selfie segmenter, whose 256 x 256 confidence a guided filter on the frame
sharpens (He, Sun and Tang 2013). `split.py` divides the person into head and torso.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.ndimage import uniform_filter

from jaxhead.captures.crop import resize

_WORK_LIMIT = 512
_THREADS = 2


def person_mask(frame: np.ndarray, confidence: np.ndarray, *, epsilon: float = 1e-3) -> np.ndarray:
    """(S, S) float32 soft person mask in [0, 1].

    Args:
      frame: (S, S, 3) uint8.
      confidence: (C, C) float32 in [0, 1] from the segmenter.
      epsilon: colour variance below which the filter only smooths.
    """
    size = frame.shape[0]
    coarse = resize_float(confidence, size)
    radius = max(2, round(size / 64))
    refined = guided_filter(frame.astype(np.float32) / 255, coarse, radius, epsilon)
    # The segmenter is sure of the inside and of the outside; only its border follows the picture.
    refined = np.where(coarse > 0.98, np.maximum(refined, coarse), refined)
    refined = np.where(coarse < 0.02, np.minimum(refined, coarse), refined)
    return np.clip((refined - 0.1) / 0.8, 0.0, 1.0).astype(np.float32)


def guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """(H, W) `values` as the locally affine function of the colours of `guide` that fits them best.

    Args:
      guide: (H, W, 3) float32 in [0, 1]; values: (H, W) float32.
      radius: of the window in pixels; epsilon: ridge on the colour covariance.
    """

    # Colour by colour: filters and products of whole planes are what memory is read fastest by.
    def mean(factors: tuple[np.ndarray, ...]) -> np.ndarray:
        product = factors[0] * factors[1] if factors[1:] else factors[0]
        return uniform_filter(product, 2 * radius + 1, mode="nearest")

    planes = [np.ascontiguousarray(guide[..., i]) for i in range(3)]
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    # SciPy's filters leave Python's lock free.
    with ThreadPoolExecutor(_THREADS) as threads:
        *centres, average = threads.map(mean, [(plane,) for plane in (*planes, values)])
        squares = threads.map(mean, [(planes[i], planes[j]) for i, j in pairs])
        cross = threads.map(mean, [(plane, values) for plane in planes])
        covariance = {
            (i, j): square - centres[i] * centres[j] + epsilon * (i == j)
            for (i, j), square in zip(pairs, squares)
        }
        slopes = solve3(
            covariance, [one - centre * average for one, centre in zip(cross, centres)]
        )
        shown = average - sum(slope * centre for slope, centre in zip(slopes, centres))
        found, *slopes = threads.map(mean, [(plane,) for plane in (shown, *slopes)])
    for slope, plane in zip(slopes, planes):
        found += slope * plane
    return found


def solve3(matrix: Mapping[tuple[int, int], np.ndarray], right: Sequence[np.ndarray]) -> list:
    """The three unknowns of symmetric positive 3 x 3 systems, as planes, by cofactors.

    Args:
      matrix: {(row, column): plane} of the upper triangle.
      right: three planes.
    """
    a, b, c = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    d, e, f = matrix[1, 1], matrix[1, 2], matrix[2, 2]
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    scale = 1 / (a * aa + b * ab + c * ac)
    x, y, z = (plane * scale for plane in right)
    return [aa * x + ab * y + ac * z, ab * x + bb * y + bc * z, ac * x + bc * y + cc * z]


def split_masks(person: np.ndarray, head: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 person, head and torso; head and torso sum to the person."""
    masks = np.stack([person, person * head, person * (1 - head)], -1)
    return np.round(np.clip(masks, 0, 1) * 255).astype(np.uint8)


def resize_float(values: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32 of square `values` in [0, 1], smooth when enlarged."""
    from PIL import Image

    if values.shape[0] == size:
        return values
    image = Image.fromarray(values.astype(np.float32), mode="F")
    kind = Image.Resampling.BICUBIC if size > values.shape[0] else Image.Resampling.BOX
    return np.clip(np.asarray(image.resize((size, size), kind)), 0, 1)


def segment(segmenter, frame: np.ndarray) -> np.ndarray:
    """(256, 256) float32 confidence for a square uint8 frame from a `PersonSegmenter`."""
    return segmenter.confidence(resize(frame, segmenter.SIDE))
