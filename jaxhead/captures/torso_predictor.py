"""The torso's motion guessed from the head's: for poses and clips without a torso measurement."""

from __future__ import annotations

import flax.struct
import jax
import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures.smoothing import fill_gaps, frame_status

LAGS = (0, 2, 5, 10)
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_BLOCKS = 5


@flax.struct.dataclass
class TorsoPredictor:
    """Ridge regression of torso motion on head pose now and in the recent past.

    Attributes:
      origin: (4, 4) mean head pose that features are relative to.
      mean, spread: (C,) of the features over training frames.
      weights: (C, 6) from normalised features to the affine's departure from `centre`.
      centre: (6,) mean affine motion, rows first, in stored pixels.
      error: () rms error in pixels at the torso's centre, cross-validated on training frames.
    """

    origin: jax.Array
    mean: jax.Array
    spread: jax.Array
    weights: jax.Array
    centre: jax.Array
    error: jax.Array


def fit_torso_predictor(
    head_to_camera: np.ndarray,
    torso_motion: np.ndarray,
    usable: np.ndarray,
    *,
    size: int,
) -> TorsoPredictor:
    """Predictor fitted on the frames marked `usable` (training frames with a measured torso).

    The ridge is chosen by leaving out blocks of consecutive frames, since neighbours are alike.

    Args:
      head_to_camera: (N, 4, 4) of the whole clip, whose past the features read.
      torso_motion: (N, 2, 3) affine in stored pixels.
      usable: (N,) bool or int32 ids.
      size: stored side in pixels.
    """
    ids = np.arange(len(head_to_camera))[usable]
    poses = np.asarray(head_to_camera, np.float64)
    origin = _mean_pose(poses[ids]) if len(ids) else poses[0]
    features = pose_features(poses, origin)[ids]
    targets = np.asarray(torso_motion, np.float64).reshape(-1, 6)[ids]
    count = features.shape[1]
    if len(ids) < 4:
        centre = targets.mean(0) if len(ids) else np.array([1.0, 0, 0, 0, 1, 0])
        return _predictor(origin, np.zeros(count), np.ones(count), np.zeros((count, 6)), centre, 0)
    mean, spread = features.mean(0), features.std(0) + 1e-6
    normal, centre = (features - mean) / spread, targets.mean(0)
    point = np.array([0.5 * size, 0.75 * size, 1.0])
    blocks = np.array_split(np.arange(len(ids)), min(_BLOCKS, len(ids)))

    def error(ridge: float) -> float:
        total = 0.0
        for block in blocks:
            rest = np.setdiff1d(np.arange(len(ids)), block)
            weights = _ridge(normal[rest], targets[rest] - centre, ridge)
            missed = (normal[block] @ weights + centre - targets[block]).reshape(-1, 2, 3)
            total += ((missed @ point) ** 2).sum()
        return float(np.sqrt(total / len(ids)))

    best = min(_RIDGES, key=error)
    weights = _ridge(normal, targets - centre, best)
    return _predictor(origin, mean, spread, weights, centre, error(best))


def predict_torso(predictor: TorsoPredictor, head_to_camera: np.ndarray) -> np.ndarray:
    """(N, 2, 3) float32 torso motion in stored pixels for a sequence of (N, 4, 4) head poses.

    Before its first frame the sequence is taken to have stood still. Values stay within three
    standard deviations of the training poses, beyond which a linear guess means nothing.
    """
    features = pose_features(
        np.asarray(head_to_camera, np.float64), np.asarray(predictor.origin, np.float64)
    )
    normal = (features - np.asarray(predictor.mean)) / np.asarray(predictor.spread)
    normal = np.clip(normal, -3.0, 3.0)
    motion = normal @ np.asarray(predictor.weights) + np.asarray(predictor.centre)
    return motion.reshape(-1, 2, 3).astype(np.float32)


def pose_features(poses: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """(N, 24) turn (radians) and shift (shares of the distance) now and how they changed."""
    turn = Rotation.from_matrix(poses[:, :3, :3] @ origin[:3, :3].T).as_rotvec()
    shift = (poses[:, :3, 3] - origin[:3, 3]) / origin[2, 3]
    now = np.concatenate([turn, shift], 1)
    past = [now[np.maximum(np.arange(len(now)) - lag, 0)] for lag in LAGS]
    return np.concatenate([past[0], *(past[0] - earlier for earlier in past[1:])], 1)


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


def _ridge(features: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    gram = features.T @ features + ridge * len(features) * 0.1 * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ targets)


def _mean_pose(poses: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_matrix(poses[:, :3, :3]).mean().as_matrix()
    pose[:3, 3] = poses[:, :3, 3].mean(0)
    return pose


def _predictor(origin, mean, spread, weights, centre, error) -> TorsoPredictor:
    return TorsoPredictor(
        *(np.asarray(x, np.float32) for x in (origin, mean, spread, weights, centre, error))
    )
