"""Numbers per frame guessed from the head's pose now and in the recent past."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import flax.struct
import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.heads.model import Array

LAGS = (0, 2, 5, 10)
POSE = 6
"""Numbers of a rigid pose: three of the turn, three of the place."""
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_BLOCKS = 5
_LEAST_FRAMES = 4


@flax.struct.dataclass
class PosePredictor:
    """Ridge regression on head pose now and in the recent past.

    Attributes:
      origin: (4, 4) mean head pose that features are relative to.
      mean, spread: (C,) of the features over training frames.
      weights: (C, K) from normalised features to the numbers' departure from `centre`.
      centre: (K,) mean numbers.
      error: () rms of `miss`, cross-validated on training frames.
    """

    origin: Array
    mean: Array
    spread: Array
    weights: Array
    centre: Array
    error: Array


def fit_pose_predictor(
    head_to_camera: np.ndarray,
    targets: np.ndarray,
    usable: np.ndarray,
    *,
    default: np.ndarray,
    miss: Callable[[np.ndarray], np.ndarray],
    lags: tuple[int, ...] = LAGS,
) -> PosePredictor:
    """Predictor fitted on the frames marked `usable` (training frames with a measurement).

    The ridge is chosen by leaving out blocks of consecutive frames, since neighbours are alike.

    Args:
      head_to_camera: (N, 4, 4) of the whole clip, whose past the features read.
      targets: (N, K) numbers.
      usable: (N,) bool or int32 ids.
      default: (K,) what is predicted where nothing was measured.
      miss: from differences (n, K) to what counts of them (n, ...).
      lags: frames back at which the pose is looked at, a prefix of `LAGS`.
    """
    ids = np.arange(len(head_to_camera))[usable]
    poses = np.asarray(head_to_camera, np.float64)
    origin = mean_pose(poses[ids]) if len(ids) else poses[0]
    features = pose_features(poses, origin, lags)[ids]
    targets = np.asarray(targets, np.float64)[ids]
    count = features.shape[1]
    if len(ids) < _LEAST_FRAMES:
        centre = targets.mean(0) if len(ids) else np.asarray(default)
        still = np.zeros((count, len(centre)))
        return _predictor(origin, np.zeros(count), np.ones(count), still, centre, 0)
    mean, spread = features.mean(0), features.std(0) + 1e-6
    normal, centre = (features - mean) / spread, targets.mean(0)
    blocks = np.array_split(np.arange(len(ids)), min(_BLOCKS, len(ids)))

    def error(ridge: float) -> float:
        total = 0.0
        for block in blocks:
            rest = np.setdiff1d(np.arange(len(ids)), block)
            weights = _ridge(normal[rest], targets[rest] - centre, ridge)
            total += (miss(normal[block] @ weights + centre - targets[block]) ** 2).sum()
        return float(np.sqrt(total / len(ids)))

    best = min(_RIDGES, key=error)
    weights = _ridge(normal, targets - centre, best)
    return _predictor(origin, mean, spread, weights, centre, error(best))


def predict(predictor: PosePredictor, head_to_camera: np.ndarray) -> np.ndarray:
    """(N, K) float64 numbers for a sequence of (N, 4, 4) head poses.

    Before its first frame the sequence is taken to have stood still. Features stay within three
    standard deviations of the training poses, beyond which a linear guess means nothing.
    """
    lags = LAGS[: len(predictor.mean) // POSE]
    features = pose_features(
        np.asarray(head_to_camera, np.float64), np.asarray(predictor.origin, np.float64), lags
    )
    normal = (features - np.asarray(predictor.mean)) / np.asarray(predictor.spread)
    normal = np.clip(normal, -3.0, 3.0)
    return normal @ np.asarray(predictor.weights) + np.asarray(predictor.centre)


def pose_features(
    poses: np.ndarray, origin: np.ndarray, lags: tuple[int, ...] = LAGS
) -> np.ndarray:
    """(N, 6 len(lags)) turn (radians) and shift (shares of the distance) and how they changed."""
    turn = Rotation.from_matrix(poses[:, :3, :3] @ origin[:3, :3].T).as_rotvec()
    shift = (poses[:, :3, 3] - origin[:3, 3]) / origin[2, 3]
    now = np.concatenate([turn, shift], 1)
    past = [now[np.maximum(np.arange(len(now)) - lag, 0)] for lag in lags]
    return np.concatenate([past[0], *(past[0] - earlier for earlier in past[1:])], 1)


def predictor_to_arrays(predictor: PosePredictor, prefix: str) -> dict[str, np.ndarray]:
    """{"<prefix>/<field>": array} for a file."""
    return {
        f"{prefix}/{field.name}": np.asarray(getattr(predictor, field.name))
        for field in dataclasses.fields(predictor)
    }


def predictor_from_arrays(arrays: Mapping[str, np.ndarray], prefix: str) -> PosePredictor:
    """The inverse of `predictor_to_arrays`."""
    names = (field.name for field in dataclasses.fields(PosePredictor))
    return PosePredictor(**{name: arrays[f"{prefix}/{name}"] for name in names})


def _ridge(features: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    gram = features.T @ features + ridge * len(features) * 0.1 * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ targets)


def mean_pose(poses: np.ndarray) -> np.ndarray:
    """(4, 4) the mean of rigid poses (n, 4, 4)."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_matrix(poses[:, :3, :3]).mean().as_matrix()
    pose[:3, 3] = poses[:, :3, 3].mean(0)
    return pose


def _predictor(origin, mean, spread, weights, centre, error) -> PosePredictor:
    return PosePredictor(
        *(np.asarray(x, np.float32) for x in (origin, mean, spread, weights, centre, error))
    )
