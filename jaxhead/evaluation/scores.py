"""PSNR, SSIM and L1 over the whole image, the person and the face, frame by frame.

Every score of a clip is the mean of its frames' scores. In particular a PSNR is the mean of the
frames' PSNRs, not the PSNR of the mean squared error (which would be lower, and ruled by the worst
frame). A frame where a region is empty does not count for that region. A perfect frame counts as
`BEST_PSNR`, so that one copied frame does not make the mean infinite.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

REGIONS = ("image", "person", "face")
SCORES = ("psnr", "ssim", "l1")
BEST_PSNR = 100.0
FACE_LANDMARKS = 468


def face_mask(
    landmarks: np.ndarray, size: tuple[int, int], *, dilation: float = 0.02
) -> np.ndarray:
    """Returns the face region: the convex hull of the landmarks, a little widened, filled.

    Args:
        landmarks: (L,2) pixels; of MediaPipe's 478 the irises are ignored (L > 468).
        size: (H, W) in pixels.
        dilation: by how much the hull's edges move outwards, as a share of its box's diagonal.

    Returns:
        (H,W) bool; all False where fewer than three landmarks are finite or all lie on a line.
    """
    from scipy.spatial import ConvexHull, QhullError

    points = np.asarray(landmarks, np.float64)[:FACE_LANDMARKS, :2]
    points = points[np.isfinite(points).all(axis=1)]
    height, width = size
    if len(points) < 3:
        return np.zeros(size, bool)
    try:
        edges = ConvexHull(points).equations
    except QhullError:
        return np.zeros(size, bool)
    reach = dilation * float(np.linalg.norm(np.ptp(points, axis=0)))
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    inside = np.ones(size, bool)
    # The hull is where every edge's unit normal (outwards) . point + offset <= 0.
    for x, y, offset in edges:
        inside &= y * rows[:, None] + x * columns[None] + offset <= reach
    return inside


def frame_scores(
    render: np.ndarray, truth: np.ndarray, person: np.ndarray, face: np.ndarray
) -> dict[str, dict[str, float]]:
    """Returns {"image" | "person" | "face": {"psnr", "ssim", "l1"}} of one frame.

    Args:
        render: (H,W,3) float32 in [0, 1].
        truth: (H,W,3) uint8, or float32 in [0, 1].
        person: (H,W) bool or weights.
        face: (H,W) bool or weights.

    Returns:
        The scores; NaN throughout a region that is empty.
    """
    if truth.dtype == np.uint8:
        truth = truth.astype(np.float32) / 255.0
    masks = np.stack([np.ones(person.shape), person, face]).astype(np.float32)
    values = np.asarray(_scorer()(np.asarray(render, np.float32), truth, masks))
    result = {}
    for region, mask, row in zip(REGIONS, masks, values):
        empty = not mask.any()
        numbers = [math.nan if empty else float(value) for value in row]
        numbers[0] = min(numbers[0], BEST_PSNR) if not empty else math.nan
        result[region] = dict(zip(SCORES, numbers))
    return result


def mean_scores(
    frames: Sequence[dict[str, dict[str, float]]],
) -> dict[str, dict[str, float | None]]:
    """Returns the mean over frames of `frame_scores`, None where no frame has the region."""
    return {
        region: {score: mean_of([frame[region][score] for frame in frames]) for score in SCORES}
        for region in REGIONS
    }


def mean_of(values: Sequence[float]) -> float | None:
    """Returns the mean of the values that are not NaN, None where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None


@functools.cache
def _scorer() -> Callable[..., np.ndarray]:
    import jax
    import jax.numpy as jnp

    from jaxhead.metrics.images import l1, psnr, ssim

    def score(render, truth, masks):
        return jnp.stack(
            [
                jnp.stack([metric(render, truth, mask=mask) for metric in (psnr, ssim, l1)])
                for mask in masks
            ]
        )

    return jax.jit(score)
