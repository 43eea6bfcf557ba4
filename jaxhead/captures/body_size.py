"""How wide the body below a head is: an adult's, moved and scaled to the torso's silhouette, and
exactly so wide in each row that shows both its ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

BELOW = (0.12, 0.14, 0.16, 0.18, 0.21, 0.26, 0.35)
HALF_WIDTH = (0.060, 0.075, 0.115, 0.155, 0.190, 0.210, 0.220)
HALF_DEPTH = (0.060, 0.070, 0.080, 0.090, 0.100, 0.110, 0.120)
"""Metres below the head's origin and half axes there: neck, shoulders and chest of an adult."""
BEHIND = 0.08
"""Metres from the head's origin back to the body's axis."""
ROWS = tuple(round(0.12 + 0.01 * k, 2) for k in range(25))
"""Metres below the head's origin of `fit_body`'s widths."""
COMMON = tuple(np.interp(ROWS, BELOW, HALF_WIDTH).tolist())
"""`fit_body` of the adult of the table."""
_LIFTS = np.linspace(-0.06, 0.06, 49)
_SCALES = np.linspace(0.7, 1.4, 71)
_LIFT_SPREAD, _SCALE_SPREAD, _WIDTH_SPREAD = 0.03, 0.15, 0.01
_MOST = 40
_NEAR = 0.03
"""Metres above and below a row that is seen within which others follow it."""


def fit_body(
    mask: Callable[[int], np.ndarray], frames: np.ndarray, K: np.ndarray,
    head_to_camera: np.ndarray,
) -> np.ndarray:
    """(len(ROWS),) float32 half widths in metres.

    How much higher the shoulders stand than the table's, and how much larger all is, follow from
    the rows whose ends most frames show; where few rows do, the result stays near `COMMON`.

    Args:
      mask: frame -> (H, W) bool, its torso.
      frames: (n,) ids of frames to look at, of which some are taken.
      K: (3, 3) pixels; head_to_camera: (N, 4, 4) metres.
    """
    some = frames[np.unique(np.linspace(0, len(frames) - 1, _MOST).astype(int))]
    widths: dict[float, list[float]] = {}
    for frame in some:
        below, width = _half_widths(mask(int(frame)), K, head_to_camera[frame][:3, 3])
        for row in np.unique(np.round(below, 2)):
            widths.setdefault(float(row), []).append(width[np.round(below, 2) == row].mean())
    # In a row that few frames show to both ends, these few are the narrow ones.
    seen = {row: float(np.median(v)) for row, v in widths.items() if len(v) > 0.5 * len(some)}
    lift, scale = np.meshgrid(_LIFTS, _SCALES, indexing="ij")
    cost = (lift / _LIFT_SPREAD) ** 2 + ((scale - 1) / _SCALE_SPREAD) ** 2
    for row, width in seen.items():
        cost += ((_table(row, lift, scale) - width) / _WIDTH_SPREAD) ** 2
    at = np.unravel_index(cost.argmin(), cost.shape)
    rows = np.array(ROWS)
    common = _table(rows, lift[at], scale[at])
    if not seen:
        return common.astype(np.float32)
    known = np.array(sorted(seen))
    more = np.array([seen[row] for row in known]) - _table(known, lift[at], scale[at])
    away = np.abs(rows[:, None] - known).min(1)
    follows = np.clip(1 - away / _NEAR, 0.0, 1.0)
    return (common + follows * np.interp(rows, known, more)).astype(np.float32)


def _table(below, lift, scale) -> np.ndarray:
    """Half widths of the table's body at heights below the head, moved and scaled."""
    return scale * np.interp(below + lift, BELOW, HALF_WIDTH)


def _half_widths(
    torso: np.ndarray, K: np.ndarray, head: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Heights below the head's origin and half widths there, in metres, of rows with both ends."""
    labels, count = ndimage.label(torso)  # pyright: ignore[reportGeneralTypeIssues]
    if count == 0:
        return np.zeros(0), np.zeros(0)
    torso = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    distance = head[2] + BEHIND
    height, width = torso.shape
    rows = np.arange(height)
    below = (rows + 0.5 - K[1, 2]) / K[1, 1] * distance - head[1]
    first, last = torso.argmax(1), width - torso[:, ::-1].argmax(1)
    used = torso.any(1) & (below > BELOW[0]) & (first > 0) & (last < width)
    # Around the chin the torso's rows are what the head leaves over: both sides must be there.
    centre = np.clip(K[0, 0] * head[0] / head[2] + K[0, 2], 0, width - 1)
    used &= (first < centre) & (last > centre)
    return below[used], 0.5 * (last - first)[used] / K[0, 0] * distance
