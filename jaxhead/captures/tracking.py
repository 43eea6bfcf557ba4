"""A followed face becomes a metric head per frame: focal length, identity, pose, expression, shape.

What frames share (focal length, neutral shape, displacement basis, weights, smoothing strengths) is
fitted on training frames only. The order: per focal length candidate, lift the landmarks, align
them to their own mean shape and measure how rigid the face stays; choose the focal length; then
alternate between poses (reprojection, trusting vertices that obey the model), the neutral shape and
the ridge regression of displacement on scores.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures.following import FaceTrack
from jaxhead.captures.lifting import (
    align,
    fit_pose,
    lift,
    metric_vertices,
    project_points,
    screen_points,
)
from jaxhead.captures.smoothing import choose_strength, fill_gaps, frame_status, smooth
from jaxhead.captures.validate import DROPPED, MEASURED
from jaxhead.files.errors import InputError

FACE = 468
HEAD_TO_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])
# A camera for talking heads stands about this far away: 0.9 m is a 20 degree field of view for a
# head that fills half of the picture, as in television footage. Most clips show so little turning
# that they do not determine perspective; then this decides.
USUAL_DISTANCE = 0.9
DISTANCE_SPREAD = 0.5
# The landmark network errs in the same way in neighbouring frames, so that a clip counts as this
# many independent observations of the face's rigidity, however long it is.
INDEPENDENT_FRAMES = 20.0
RIDGE = 0.3
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
    screen = screen_points(face.landmarks, face.size)[measured, :FACE]
    scores = np.asarray(face.scores, np.float64)[measured]
    fitted = train[measured]
    focal, evidence = choose_focal(screen[fitted], canonical, rigid, face.size)
    fit = fit_head(screen, scores, fitted, focal, canonical, rigid)
    filled = _fill_and_smooth(face, fit, measured, train)
    figures = {
        "focal": focal,
        "vertical_fov_degrees": float(np.degrees(2 * np.arctan(face.size[0] / 2 / focal))),
        "focal_evidence": evidence,
        "distance_metres": float(np.median(filled["translation"][:, 2])),
        "rigid_error_pixels": fit["error"],
        "expression_share": fit["explained"],
        "smoothing": filled.pop("strengths"),
        "several_faces": int((face.faces > 1).sum()),
    }
    return Tracking(
        focal=focal,
        size=face.size,
        neutral=fit["neutral"],
        basis=fit["basis"],
        weights=fit["weights"],
        status=status,
        train=train,
        names=face.names,
        figures=figures,
        **filled,
    )


def choose_focal(
    screen: np.ndarray, canonical: np.ndarray, rigid: np.ndarray, size: tuple[int, int]
) -> tuple[float, str]:
    """One focal length in pixels for a clip, and in words what decided it.

    The cost of a candidate is how much the lifted face deforms over the training frames (a wrong
    focal length makes a turning or approaching face change shape), plus a prior on the distance.

    Args:
      screen: (N, 468, 3) from `screen_points`, training frames.
      canonical, rigid: as in `track`.
      size: (height, width) of the frame.
    """
    subset = screen[np.linspace(0, len(screen) - 1, min(len(screen), 200)).astype(int)]
    angles = np.radians(np.geomspace(6.0, 90.0, 28))
    focals = size[0] / 2 / np.tan(angles / 2)
    rigidity, distance = [], []
    for focal in focals:
        points = lift(subset, focal)
        shape = canonical @ HEAD_TO_CAMERA_AXES
        for _ in range(3):
            scale, rotation, translation = align(shape, points, rigid)
            local = np.einsum("nji,nlj->nli", rotation, points - translation[:, None])
            local = local / scale[:, None, None]
            shape = local.mean(0)
        deviation = np.einsum("l,nli->n", rigid / rigid.sum(), (local - shape) ** 2)
        rigidity.append(max(deviation.mean(), 1e-12))
        distance.append(np.median(translation[:, 2] / scale))
    data = 0.5 * min(INDEPENDENT_FRAMES, len(subset)) * np.log(np.array(rigidity))
    prior = 0.5 * (np.log(np.array(distance) / USUAL_DISTANCE) / DISTANCE_SPREAD) ** 2
    best = _minimum(np.log(focals), data + prior)
    gain = float(data.max() - data.min())
    words = "the face's rigidity" if gain > 2.0 else "the usual distance of a camera"
    return float(np.exp(best)), f"{words} (log-likelihood range {gain:.2f})"


def fit_head(
    screen: np.ndarray,
    scores: np.ndarray,
    fitted: np.ndarray,
    focal: float,
    canonical: np.ndarray,
    rigid: np.ndarray,
) -> dict:
    """Neutral shape, displacement basis and poses of measured frames.

    Args:
      screen: (M, 468, 3); scores: (M, 52); fitted: (M,) bool, training frames.
      focal: pixels; canonical, rigid: as in `track`.

    Returns:
      rotation, translation, vertices (M, 468, 3), neutral, basis, weights, error (rms reprojection
      error of the rigid part in pixels), explained (share of displacement variance).
    """
    shape, weights = canonical, rigid / rigid.sum()
    scale, rotation, translation = align(canonical, lift(screen, focal), weights)
    translation = translation / scale[:, None]
    pixels = screen[..., :2] * 1.0
    neutral, basis = canonical, np.zeros((scores.shape[1], FACE, 3))
    vertices = np.broadcast_to(canonical, screen.shape)
    for turn in range(6):
        rotation, translation = fit_pose(shape, pixels, focal, weights, rotation, translation)
        depth = (
            np.einsum("nij,nlj->nli", rotation, _each(shape, rotation))[..., 2].mean(-1)
            + translation[:, 2]
        )
        vertices = metric_vertices(screen, focal, rotation, translation, depth)
        if turn < 2:
            # The canonical face's proportions are not the subject's: first the mean shape, kept at
            # the canonical size and place, which no monocular camera could tell.
            shape = _normalised(vertices[fitted].mean(0), canonical, weights)
            continue
        neutral, basis = fit_basis(vertices[fitted], scores[fitted])
        neutral = _normalised(neutral, canonical, rigid)
        shape = neutral + np.einsum("ne,elk->nlk", scores, basis)
        error = pixels - project_points(shape, focal, rotation, translation)
        weights = _trust((error[fitted] ** 2).sum(-1).mean(0), rigid)
    residual = (vertices - shape)[fitted]
    spread = (vertices[fitted] - vertices[fitted].mean(0)) ** 2
    return {
        "rotation": rotation,
        "translation": translation,
        "vertices": vertices,
        "neutral": neutral,
        "basis": basis,
        "weights": weights,
        "error": float(np.sqrt(((error[fitted] ** 2).sum(-1) @ weights).mean())),
        "explained": float(1 - (residual**2).sum() / max(spread.sum(), 1e-12)),
    }


def fit_basis(vertices: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neutral shape (468, 3) and displacement basis (52, 468, 3) by ridge regression.

    The penalty is on centred scores in units of their overall spread, so that a score that never
    moves gets no displacement instead of an arbitrary one.

    Args:
      vertices: (M, 468, 3) metric landmarks in head space; scores: (M, 52).
    """
    mean, shape = scores.mean(0), vertices.mean(0)
    centred = scores - mean
    target = (vertices - shape).reshape(len(vertices), -1)
    gram = centred.T @ centred
    penalty = RIDGE**2 * max(np.trace(gram) / len(gram), 1e-9)
    basis = np.linalg.solve(gram + penalty * np.eye(len(gram)), centred.T @ target)
    basis = basis.reshape(-1, *shape.shape)
    return shape - np.einsum("e,elk->lk", mean, basis), basis


def _fill_and_smooth(face: FaceTrack, fit: dict, measured: np.ndarray, train: np.ndarray) -> dict:
    """Pose, scores and vertices of all frames: gaps filled, then smoothed in time."""
    pose, mean = pose_coordinates(fit["rotation"], fit["translation"])
    fitted = train[measured]
    displacement = (fit["vertices"] - fit["neutral"]).reshape(len(pose), -1)
    centre = displacement[fitted].mean(0)
    modes = np.linalg.svd(displacement[fitted] - centre, full_matrices=False)[2][:_MODES]
    loads = (displacement - centre) @ modes.T
    rest = displacement - centre - loads @ modes
    strengths: dict[str, float] = {}

    def run(name: str, values: np.ndarray, *, each: bool) -> np.ndarray:
        full = np.zeros((len(measured), values.shape[1]))
        full[measured] = values
        full = fill_gaps(full, measured)
        full, strengths[name] = smooth_channels(full, train, each=each)
        return full

    pose = run("pose", pose, each=True)
    scores = run("scores", np.asarray(face.scores, np.float64)[measured], each=True)
    loads = run("shape", loads, each=True)
    rest = run("residual", rest, each=False)
    rotation, translation = pose_from_coordinates(pose, mean)
    vertices = fit["neutral"] + (centre + loads @ modes + rest).reshape(len(measured), -1, 3)
    pixels = screen_points(face.landmarks, face.size)[..., :2] + np.array(face.size[::-1]) / 2
    return {
        "rotation": rotation,
        "translation": translation,
        "scores": np.clip(scores, 0.0, 1.0),
        "vertices": vertices,
        "pixels": fill_gaps(pixels, measured),
        "strengths": strengths,
    }


def pose_coordinates(rotation: np.ndarray, translation: np.ndarray) -> tuple[np.ndarray, Rotation]:
    """Poses as numbers whose noise is independent: turn from the mean, place in the view, log depth.

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
    result = np.array(series, np.float64)
    columns = np.arange(result.shape[1])
    strengths = []
    for group in columns[:, None] if each else columns[None]:
        strengths.append(choose_strength(result[train][:, group]))
        result[:, group] = smooth(result[:, group], strengths[-1])
    return result, float(np.median(strengths))


def _each(shape: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return np.broadcast_to(shape, (len(rotation), *shape.shape[-2:]))


def _normalised(shape: np.ndarray, canonical: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`shape` moved, turned and scaled onto the canonical face."""
    scale, rotation, translation = align(canonical, shape[None], weights)
    return (shape - translation[0]) @ rotation[0] / scale[0]


def _trust(variance: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    """Vertex weights: the inverse of what the model leaves unexplained, half of it MediaPipe's own."""
    inverse = 1 / (variance + np.median(variance))
    return 0.5 * inverse / inverse.sum() + 0.5 * rigid / rigid.sum()


def _minimum(x: np.ndarray, y: np.ndarray) -> float:
    """Where a parabola through the smallest sample and its neighbours has its minimum."""
    k = int(np.argmin(y))
    if k in (0, len(x) - 1):
        return float(x[k])
    a, b, _ = np.polyfit(x[k - 1 : k + 2] - x[k], y[k - 1 : k + 2], 2)
    return float(x[k] - b / (2 * a)) if a > 0 else float(x[k])


def dropped_reasons(status: np.ndarray, found: np.ndarray) -> dict[int, str]:
    """Why each frame that was not measured is interpolated or dropped, by frame id."""
    reasons = {}
    for frame in np.flatnonzero(~np.asarray(found, bool)).tolist():
        if status[frame] == DROPPED:
            reasons[frame] = "no face in a gap longer than 5 frames or at an end of the clip"
        else:
            reasons[frame] = "no face in a short gap"
    return reasons
