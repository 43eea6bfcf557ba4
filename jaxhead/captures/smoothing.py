"""Smoothing in time without lag, its strength read from the measurements.

The smoother penalises second differences (Whittaker 1923). Under the cosine transform with
reflecting ends it is the filter 1 / (1 + s (2 - 2 cos(pi k / N))^2), symmetric in time, so nothing
is delayed; s minimises generalised cross-validation (Garcia 2010, "Robust smoothing of gridded
data").
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct, idct

LONGEST_GAP = 5
_STRENGTHS = np.logspace(-2, 3, 41)


def choose_strength(series: np.ndarray) -> float:
    """Strength s of the smoother by generalised cross-validation.

    Args:
      series: (N,) or (N, C) measurements; the channels share one strength.

    Returns:
      s >= 0; 0 for series shorter than eight frames or without any change.
    """
    series = np.asarray(series, np.float64).reshape(len(series), -1)
    count = len(series)
    if count < 8 or not np.ptp(series, axis=0).any():
        return 0.0
    spectrum = np.asarray(dct(series, axis=0, norm="ortho"))
    energy = (spectrum**2).sum(1)
    scores = []
    for strength in _STRENGTHS:
        kept = _response(count, strength)
        scores.append((((1 - kept) ** 2) * energy).sum() / (1 - kept.mean()) ** 2)
    return float(_STRENGTHS[int(np.argmin(scores))])


def smooth(series: np.ndarray, strength: float) -> np.ndarray:
    """`series` (N, ...) smoothed along its first axis with `strength` from `choose_strength`."""
    if strength <= 0 or len(series) < 3:
        return np.asarray(series)
    response = _response(len(series), strength).reshape(-1, *[1] * (np.ndim(series) - 1))
    response = response.astype(series.dtype)
    spectrum = np.asarray(dct(series, axis=0, norm="ortho"))
    return np.asarray(idct(spectrum * response, axis=0, norm="ortho"))


def frame_status(found: np.ndarray, *, longest: int = LONGEST_GAP) -> np.ndarray:
    """(N,) uint8: 0 measured, 1 in a gap of at most `longest` between measured frames, 2 else."""
    found = np.asarray(found, bool)
    status = np.where(found, 0, 2).astype(np.uint8)
    measured = np.flatnonzero(found)
    for before, after in zip(measured[:-1], measured[1:]):
        if 1 < after - before <= longest + 1:
            status[before + 1 : after] = 1
    return status


def fill_gaps(series: np.ndarray, found: np.ndarray) -> np.ndarray:
    """`series` (N, ...) with rows that were not `found` interpolated linearly, held at ends."""
    series = np.asarray(series)
    if np.all(found):
        return series
    first, last, share = gap_ends(found)
    share = share.reshape(-1, *[1] * (series.ndim - 1)).astype(series.dtype)
    return series[first] * (1 - share) + series[last] * share


def filled_rows(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """`rows` (M, ...) of the M frames that were `found`, as those of all frames, gaps filled."""
    series = np.zeros((len(found), *rows.shape[1:]), rows.dtype)
    series[found] = rows
    return fill_gaps(series, found)


def gap_ends(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between which frames each frame lies: numbers (N,), (N,) of found ones and the share (N,).

    Frame i is (1 - share[i]) of the first and share[i] of the second; a found frame is itself.
    """
    measured = np.flatnonzero(found)
    at = np.arange(len(found))
    right = np.searchsorted(measured, at).clip(0, len(measured) - 1)
    left = (np.searchsorted(measured, at, side="right") - 1).clip(0)
    first, last = measured[left], measured[right]
    return first, last, np.where(last > first, (at - first) / np.maximum(last - first, 1), 0.0)


def _response(count: int, strength: float) -> np.ndarray:
    eigenvalues = 2 - 2 * np.cos(np.pi * np.arange(count) / count)
    return 1 / (1 + strength * eigenvalues**2)
