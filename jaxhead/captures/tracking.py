"""A followed face becomes a metric head per frame: focal length, identity, pose, expression, shape.

What frames share (focal length, neutral shape, displacement basis, weights, smoothing strengths) is
fitted on training frames only (`identity.py`). Every frame keeps what was measured in it: its
vertices are the metric landmarks, of which the basis explains a part.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures.following import FaceTrack
from jaxhead.captures.identity import HeadFit, choose_focal, fit_head, start_poses
from jaxhead.captures.landmarks import LANDMARKS
from jaxhead.captures.lifting import screen_points
from jaxhead.captures.shapes import shape_modes, smooth_shapes
from jaxhead.captures.smoothing import (
    choose_strength,
    filled_rows,
    frame_status,
    gap_ends,
    smooth,
)
from jaxhead.captures.validate import DROPPED, MEASURED
from jaxhead.files.errors import InputError
from jaxhead.files.rows import BLOCK, RowFile

FACE = 468
# Frames that shared quantities are fitted on: a bound on memory and time.
_MOST_FITTED = 600


@dataclasses.dataclass(frozen=True, eq=False)
class Tracking:
    """A tracked clip of N frames, float64 on the host.

    Attributes:
      focal: pixels of the full frame, whose centre is the principal point.
      size: (height, width) of the full frame.
      rotation: (N, 3, 3) and translation: (N, 3) head to camera.
      scores: (N, 52) smoothed, in [0, 1].
      vertices: (N, 468, 3) float32 metres in head space, smoothed; rows of a file.
      pixels: (N, 478, 2) float32 measured landmarks in full-frame pixels (filled where not found);
        rows of a file.
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
    vertices: RowFile
    pixels: RowFile
    neutral: np.ndarray
    basis: np.ndarray
    weights: np.ndarray
    status: np.ndarray
    train: np.ndarray
    names: tuple[str, ...]
    figures: dict


def track(
    face: FaceTrack,
    canonical: np.ndarray,
    rigid: np.ndarray,
    *,
    folder: str | os.PathLike | None = None,
) -> Tracking:
    """Tracked head of a clip.

    Args:
      face: landmarks and scores per frame.
      canonical: (468, 3) MediaPipe's canonical face, metres, head space; fixes axes and scale.
      rigid: (468,) Procrustes weights, the first guess of what follows the head.
      folder: where shapes are kept, None for the system's temporary folder.

    Raises:
      InputError: no face in the training part of the clip.
    """
    status = frame_status(face.found)
    train = np.zeros(len(status), bool)
    train[: max(1, int(0.8 * len(status) + 1e-6))] = True
    measured = status == MEASURED
    if not (train & measured).any():
        raise InputError("no face was found in the first 80 % of the frames, which train")
    some = np.flatnonzero(train & measured)
    some = some[np.linspace(0, len(some) - 1, min(len(some), _MOST_FITTED)).astype(int)]
    screen = screen_points(face.landmarks[some], face.size)[:, :FACE]
    focal, plausible = choose_focal(screen, canonical, rigid, face.size)
    fit = fit_head(screen, np.asarray(face.scores[some], np.float64), focal, canonical, rigid)
    filled = _fill_and_smooth(face, fit, measured, train, folder)
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
    fit: HeadFit, face: FaceTrack, measured: np.ndarray, folder: str | os.PathLike | None
) -> tuple[np.ndarray, np.ndarray, RowFile]:
    """Rotation (M, 3, 3), translation (M, 3) and shape (M, 1404) of the measured frames."""
    rotations, translations = [], []
    shapes = RowFile(folder, (3 * FACE,))
    for ids in _blocks_of(measured):
        points = screen_points(face.landmarks[ids], face.size)[:, :FACE]
        shape = fit.shape(np.asarray(face.scores[ids], np.float64))
        rotation, translation, vertices = fit.measure(points, shape, *start_poses(fit, points))
        rotations.append(rotation)
        translations.append(translation)
        shapes.append(vertices.reshape(len(ids), -1))
    return np.concatenate(rotations), np.concatenate(translations), shapes


def _fill_and_smooth(
    face: FaceTrack,
    fit: HeadFit,
    measured: np.ndarray,
    train: np.ndarray,
    folder: str | os.PathLike | None,
) -> dict:
    """Pose, scores and vertices of all frames: gaps filled, then smoothed in time."""
    rotation, translation, shapes = _measure(fit, face, measured, folder)
    pose, mean = pose_coordinates(rotation, translation)
    strengths: dict[str, float] = {}

    def run(name: str, values: np.ndarray) -> np.ndarray:
        filled = filled_rows(values, measured)
        filled, strengths[name] = smooth_channels(filled, train)
        return filled

    pose = run("pose", pose)
    scores = run("scores", np.asarray(face.scores[measured], np.float64))
    rotation, translation = pose_from_coordinates(pose, mean)
    modes = shape_modes(shapes, train[measured])
    loads = run("shape", modes.loads(shapes))
    vertices, strengths["residual"] = smooth_shapes(shapes, modes, loads, measured, train, folder)
    shapes.close()
    return {
        "rotation": rotation,
        "translation": translation,
        "scores": np.clip(scores, 0.0, 1.0),
        "vertices": vertices,
        "pixels": filled_pixels(face, measured, folder),
        "strengths": strengths,
    }


def filled_pixels(
    face: FaceTrack, measured: np.ndarray, folder: str | os.PathLike | None
) -> RowFile:
    """(N, 478, 2) landmarks in full-frame pixels, interpolated where no face was found."""
    pixels = RowFile(folder, (LANDMARKS, 2))
    scale = np.array(face.size[::-1], np.float32)
    before, after, share = gap_ends(measured)
    for start in range(0, len(measured), BLOCK):
        part = slice(start, start + BLOCK)
        mixed = share[part, None, None].astype(np.float32)
        first, last = (face.landmarks[ids[part]][..., :2] * scale for ids in (before, after))
        pixels.append(first * (1 - mixed) + last * mixed)
    return pixels


def _blocks_of(chosen: np.ndarray) -> Iterator[np.ndarray]:
    """Numbers of the chosen frames, a block at a time."""
    ids = np.flatnonzero(chosen)
    for start in range(0, len(ids), BLOCK):
        yield ids[start : start + BLOCK]


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


def smooth_channels(series: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float]:
    """(N, C) series smoothed in time, each channel with a strength that training frames decide.

    Args:
      series: (N, C); train: (N,) bool.

    Returns:
      the smooth series, the median of the strengths.
    """
    result = np.array(series)
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
