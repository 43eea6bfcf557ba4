"""A followed face becomes a metric head per frame: focal length, identity, pose, expression, shape.

What frames share (focal length, neutral shape, displacement basis, weights, smoothing strengths) is
fitted on training frames only (`identity.py`). Every frame keeps what was measured in it: its
vertices are the metric landmarks, of which the basis explains a part.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures.following import FaceTrack
from jaxhead.captures.identity import HeadFit, choose_focal, fit_head, start_poses
from jaxhead.captures.lifting import screen_points
from jaxhead.captures.smoothing import choose_strength, fill_gaps, frame_status, smooth
from jaxhead.captures.validate import DROPPED, MEASURED
from jaxhead.files.errors import InputError

FACE = 468
# Frames that shared quantities are fitted on, and frames measured at a time: bounds on memory.
_MOST_FITTED = 600
_BLOCK = 256
_MODES = 48


@dataclasses.dataclass(frozen=True, eq=False)
class Tracking:
    """A tracked clip of N frames, float64 on the host.

    Attributes:
      focal: pixels of the full frame, whose centre is the principal point.
      size: (height, width) of the full frame.
      rotation: (N, 3, 3) and translation: (N, 3) head to camera.
      scores: (N, 52) smoothed, in [0, 1].
      vertices: (N, 468, 3) metres in head space, smoothed.
      pixels: (N, 478, 2) measured landmarks in full-frame pixels (filled where not found).
      neutral: (468, 3) the subject's shape at scores of zero.
      basis: (52, 468, 3) displacement in metres per unit of score.
      weights: (468,) how far each vertex follows the rigid head, sums to one.
      status: (N,) uint8: 0 measured, 1 interpolated, 2 dropped.
      train: (N,) bool, frames that shared quantities were fitted on.
      names: the 52 score names.
      figures: numbers for the report (all JSON values).
    """

    focal: float
    size: tuple[int, int]
    rotation: np.ndarray
    translation: np.ndarray
    scores: np.ndarray
    vertices: np.ndarray
    pixels: np.ndarray
    neutral: np.ndarray
    basis: np.ndarray
    weights: np.ndarray
    status: np.ndarray
    train: np.ndarray
    names: tuple[str, ...]
    figures: dict


def track(face: FaceTrack, canonical: np.ndarray, rigid: np.ndarray) -> Tracking:
    """Tracked head of a clip.

    Args:
      face: landmarks and scores per frame.
      canonical: (468, 3) MediaPipe's canonical face, metres, head space; fixes axes and scale.
      rigid: (468,) Procrustes weights, the first guess of what follows the head.

    Raises:
      InputError: no face in the training part of the clip.
    """
    status = frame_status(face.found)
    train = np.zeros(len(status), bool)
    train[: max(1, int(0.8 * len(status) + 1e-6))] = True
    measured = status == MEASURED
    if not (train & measured).any():
        raise InputError("no face was found in the first 80 % of the frames, which train")
    landmarks = face.landmarks[measured]
    scores = np.asarray(face.scores, np.float64)[measured]
    fitted = train[measured]
    some = np.flatnonzero(fitted)
    some = some[np.linspace(0, len(some) - 1, min(len(some), _MOST_FITTED)).astype(int)]
    screen = screen_points(landmarks[some], face.size)[:, :FACE]
    focal, plausible = choose_focal(screen, canonical, rigid, face.size)
    fit = fit_head(screen, scores[some], focal, canonical, rigid)
    found = _measure(fit, landmarks, scores, face.size)
    filled = _fill_and_smooth(face, fit, found, measured, train)
    figures = {
        "focal": focal,
        "vertical_fov_degrees": float(np.degrees(2 * np.arctan(face.size[0] / 2 / focal))),
        "plausible_fov_degrees": list(plausible),
        "distance_metres": float(np.median(filled["translation"][:, 2])),
        "rigid_error_pixels": fit.error,
        "expression_share": fit.explained,
        "smoothing": filled.pop("strengths"),
        "several_faces": int((face.faces > 1).sum()),
    }
    return Tracking(
        focal=focal,
        size=face.size,
        neutral=fit.neutral,
        basis=fit.basis,
        weights=fit.weights,
        status=status,
        train=train,
        names=face.names,
        figures=figures,
        **filled,
    )


def _measure(
    fit: HeadFit, landmarks: np.ndarray, scores: np.ndarray, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Pose and metric landmarks of all measured frames, in blocks so that memory stays bounded."""
    parts = []
    for start in range(0, len(scores), _BLOCK):
        points = screen_points(landmarks[start : start + _BLOCK], size)[:, :FACE]
        shape = fit.shape(scores[start : start + _BLOCK])
        rotation, translation, vertices = fit.measure(points, shape, *start_poses(fit, points))
        parts.append((rotation, translation, vertices.astype(np.float32)))
    rotation, translation, vertices = (np.concatenate(part) for part in zip(*parts))
    return {"rotation": rotation, "translation": translation, "vertices": vertices}


def _fill_and_smooth(
    face: FaceTrack,
    fit: HeadFit,
    found: dict[str, np.ndarray],
    measured: np.ndarray,
    train: np.ndarray,
) -> dict:
    """Pose, scores and vertices of all frames: gaps filled, then smoothed in time."""
    pose, mean = pose_coordinates(found["rotation"], found["translation"])
    fitted = train[measured]
    displacement = (found["vertices"] - fit.neutral.astype(np.float32)).reshape(len(pose), -1)
    sample = displacement[fitted][:: max(1, int(fitted.sum()) // _MOST_FITTED)]
    centre = sample.mean(0)
    modes = np.linalg.svd(sample - centre, full_matrices=False)[2][:_MODES]
    loads = (displacement - centre) @ modes.T
    rest = displacement - centre - loads @ modes
    del displacement, found
    strengths: dict[str, float] = {}

    def run(name: str, values: np.ndarray, *, each: bool) -> np.ndarray:
        full = np.zeros((len(measured), values.shape[1]), values.dtype)
        full[measured] = values
        full, strengths[name] = smooth_channels(fill_gaps(full, measured), train, each=each)
        return full

    pose = run("pose", pose, each=True)
    scores = run("scores", np.asarray(face.scores, np.float64)[measured], each=True)
    loads = run("shape", loads, each=True)
    rest = run("residual", rest, each=False)
    rotation, translation = pose_from_coordinates(pose, mean)
    rest += loads @ modes + centre
    vertices = rest.reshape(len(measured), -1, 3) + fit.neutral.astype(np.float32)
    pixels = face.landmarks[..., :2] * np.array(face.size[::-1], np.float32)
    return {
        "rotation": rotation,
        "translation": translation,
        "scores": np.clip(scores, 0.0, 1.0),
        "vertices": vertices,
        "pixels": fill_gaps(pixels, measured),
        "strengths": strengths,
    }


def pose_coordinates(rotation: np.ndarray, translation: np.ndarray) -> tuple[np.ndarray, Rotation]:
    """Poses as numbers with independent noise: turn from the mean, place in the view, log depth.

    Args:
      rotation: (N, 3, 3); translation: (N, 3) metres.

    Returns:
      coordinates (N, 6), the mean rotation.
    """
    mean = Rotation.from_matrix(rotation).mean()
    turn = (Rotation.from_matrix(rotation) * mean.inv()).as_rotvec()
    depth = translation[:, 2:]
    return np.concatenate([turn, translation[:, :2] / depth, np.log(depth)], 1), mean


def pose_from_coordinates(coordinates: np.ndarray, mean: Rotation) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `pose_coordinates`: rotation (N, 3, 3), translation (N, 3)."""
    depth = np.exp(coordinates[:, 5:])
    rotation = (Rotation.from_rotvec(coordinates[:, :3]) * mean).as_matrix()
    return rotation, np.concatenate([coordinates[:, 3:5] * depth, depth], 1)


def smooth_channels(
    series: np.ndarray, train: np.ndarray, *, each: bool = True
) -> tuple[np.ndarray, float]:
    """(N, C) series smoothed in time, and the median strength, which training frames decide.

    Args:
      series: (N, C); train: (N,) bool.
      each: one strength per channel, else one for all.
    """
    result = np.array(series)
    if not each:
        strength = choose_strength(result[train][:, :: max(1, result.shape[1] // 64)])
        for start in range(0, result.shape[1], 64):
            columns = slice(start, start + 64)
            result[:, columns] = smooth(result[:, columns], strength)
        return result, strength
    strengths = []
    for column in range(result.shape[1]):
        strengths.append(choose_strength(result[train, column]))
        result[:, column] = smooth(result[:, column], strengths[-1])
    return result, float(np.median(strengths))


def dropped_reasons(status: np.ndarray, found: np.ndarray) -> dict[int, str]:
    """Why each frame that was not measured is interpolated or dropped, by frame id."""
    reasons = {}
    for frame in np.flatnonzero(~np.asarray(found, bool)).tolist():
        if status[frame] == DROPPED:
            reasons[frame] = "no face in a gap longer than 5 frames or at an end of the clip"
        else:
            reasons[frame] = "no face in a short gap"
    return reasons
