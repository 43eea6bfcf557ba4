"""Signed distances of simple bodies and their smooth combinations (Quilez, "smooth minimum").

Negative inside. Ellipsoids are approximate away from their surface, which suffices to find it.
"""

import numpy as np
from numpy.typing import ArrayLike


def ellipsoid(points: np.ndarray, centre: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """Returns the approximate distance (...,) of points (..., 3) to an axis-aligned ellipsoid."""
    offset, radii = points - np.asarray(centre), np.asarray(radii)
    scaled = np.linalg.norm(offset / radii, axis=-1)
    slope = np.linalg.norm(offset / np.square(radii), axis=-1)
    return scaled * (scaled - 1) / np.maximum(slope, 1e-9)


def cone(
    points: np.ndarray, start: ArrayLike, end: ArrayLike, first: float, last: float
) -> np.ndarray:
    """Returns the distance (...,) to a capsule whose radius goes from `first` to `last`."""
    start = np.asarray(start)
    axis = np.asarray(end) - start
    along = np.clip((points - start) @ axis / (axis @ axis), 0.0, 1.0)
    centre = start + along[..., None] * axis
    return np.linalg.norm(points - centre, axis=-1) - (first + along * (last - first))


def smooth_minimum(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Returns the union of two bodies, blended where the distances differ less than `width`."""
    share = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return share * a + (1 - share) * b - width * share * (1 - share)


def smooth_difference(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Returns body `a` without body `b`, blended over `width`."""
    return -smooth_minimum(-a, b, width)


def mirrored(points: np.ndarray) -> np.ndarray:
    """Returns the points (..., 3) with |x|: a body described once stands on both sides."""
    return np.concatenate([np.abs(points[..., :1]), points[..., 1:]], -1)


def smoothstep(t: np.ndarray) -> np.ndarray:
    """Returns the cubic step from 0 at t <= 0 to 1 at t >= 1."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3 - 2 * t)
