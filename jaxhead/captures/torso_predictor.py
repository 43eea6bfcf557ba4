"""The torso's motion guessed from the head's: for poses and clips without a torso measurement."""

from __future__ import annotations

import numpy as np

from jaxhead.captures.pose_predictor import PosePredictor, fit_pose_predictor, predict
from jaxhead.captures.smoothing import fill_gaps, frame_status


def fit_torso_predictor(
    head_to_camera: np.ndarray,
    torso_motion: np.ndarray,
    usable: np.ndarray,
    *,
    size: int,
) -> PosePredictor:
    """Predictor of the affine's six numbers, rows first, in stored pixels.

    Its error is that at the torso's centre, in pixels.

    Args:
      head_to_camera: (N, 4, 4) of the whole clip.
      torso_motion: (N, 2, 3) affine in stored pixels.
      usable: (N,) bool or int32 ids, training frames with a measured torso.
      size: stored side in pixels.
    """
    point = np.array([0.5 * size, 0.75 * size, 1.0])
    return fit_pose_predictor(
        head_to_camera,
        np.reshape(torso_motion, (-1, 6)),
        usable,
        default=np.eye(2, 3).reshape(6),
        miss=lambda difference: difference.reshape(-1, 2, 3) @ point,
    )


def predict_torso(predictor: PosePredictor, head_to_camera: np.ndarray) -> np.ndarray:
    """(N, 2, 3) float32 torso motion in stored pixels for a sequence of (N, 4, 4) head poses."""
    return predict(predictor, head_to_camera).reshape(-1, 2, 3).astype(np.float32)


def fill_torso(
    motion: np.ndarray, measured: np.ndarray, predicted: np.ndarray | None = None
) -> np.ndarray:
    """(N, 2, 3) motion with frames filled in that were not measured.

    Gaps of at most 5 frames are interpolated; longer ones take the prediction.

    Args:
      motion: (N, 2, 3); measured: (N,) bool.
      predicted: (N, 2, 3), or None to interpolate and hold throughout (the identity if nothing
        was measured).
    """
    if not np.any(measured):
        return np.tile(np.eye(2, 3), (len(motion), 1, 1)) if predicted is None else predicted
    filled = fill_gaps(motion, measured)
    if predicted is None:
        return filled
    return np.where((frame_status(measured) == 2)[:, None, None], predicted, filled)


def torso_parameters(motion: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., 6) numbers of an affine motion: the centre's shift in pictures, the linear part - I.

    Args:
      motion: (..., 2, 3) affine in pixels, frame = A [reference, 1].
      size: (H, W).
    """
    height, width = size
    centre = np.array([width / 2, height / 2], np.float32)
    moved = motion[..., :2] @ centre + motion[..., 2]
    shift = (moved - centre) / np.float32(max(size))
    linear = (motion[..., :2] - np.eye(2, dtype=np.float32)).reshape(*motion.shape[:-2], 4)
    return np.concatenate([shift, linear], -1).astype(np.float32)
