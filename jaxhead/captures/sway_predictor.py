"""Sway guessed from the head's pose: for poses without a measurement."""

from __future__ import annotations

import numpy as np

from jaxhead.captures.pose_predictor import LAGS, PosePredictor, fit_pose_predictor, predict


def fit_sway_predictor(
    head_to_camera: np.ndarray, shifts: np.ndarray, usable: np.ndarray
) -> PosePredictor:
    """Predictor of sway from the head's pose; its error is rms metres.

    A clip shows too few swings of hair to tell how they trail behind the pose: its past as further
    features made held-out frames worse.

    Args:
      head_to_camera: (N, 4, 4).
      shifts: (N, G, G, 2) metres.
      usable: (N,) bool or int32 ids, training frames with a measurement.
    """
    flat = np.reshape(shifts, (len(shifts), -1))
    return fit_pose_predictor(
        head_to_camera, flat, usable, default=np.zeros(flat.shape[1]), lags=LAGS[:1],
        miss=lambda difference: difference / np.sqrt(flat.shape[1]),
    )


def predict_sway(predictor: PosePredictor, head_to_camera: np.ndarray) -> np.ndarray:
    """(N, G, G, 2) float32 metres at (N, 4, 4) head poses."""
    flat = predict(predictor, head_to_camera)
    nodes = round((flat.shape[1] / 2) ** 0.5)
    return flat.reshape(-1, nodes, nodes, 2).astype(np.float32)


def less_of_pose(
    head_to_camera: np.ndarray, shifts: np.ndarray, usable: np.ndarray, kept: float
) -> np.ndarray:
    """(N, G, G, 2) float32 sway without a part of what `fit_sway_predictor` finds in it.

    Where a mesh stands too far forward or back, its parallax looks like sway that follows the pose.

    Args:
      head_to_camera, shifts, usable: as there.
      kept: share of the predictable part that stays, in [0, 1].
    """
    if kept == 1.0:
        return shifts
    guess = predict_sway(fit_sway_predictor(head_to_camera, shifts, usable), head_to_camera)
    return (shifts - (1.0 - kept) * guess).astype(np.float32)
