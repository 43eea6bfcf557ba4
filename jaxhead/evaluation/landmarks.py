"""The landmark model run again on renders: does the rendered face do what the real one did?

Where mediapipe or its model file is missing every figure is None and the reason is told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from jaxhead.evaluation.scores import FACE_LANDMARKS, mean_of
from jaxhead.files.errors import InputError

# MediaPipe's outer corners of the subject's right and left eye.
EYE_CORNERS = (33, 263)
# The lips' outer and inner rim, and the middle of the inner rim above and below.
LIPS = (
    0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191, 267,
    269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415,
)  # fmt: skip
LIP_MIDDLES = (13, 14)
FIGURES = (
    "landmark_distance",
    "landmark_distance_pixels",
    "mouth_distance",
    "blendshape_error",
    "pose_error",
    "faces_found",
)


@dataclasses.dataclass(frozen=True)
class FaceReading:
    """What the landmark model sees in one picture.

    landmarks: (468,2) float pixels.
    scores: (52,) blendshape scores in [0, 1].
    rotation: (3,3) head to camera.
    """

    landmarks: np.ndarray
    scores: np.ndarray
    rotation: np.ndarray


ReadFace = Callable[[np.ndarray], FaceReading | None]


@contextlib.contextmanager
def face_reader(assets: str | None = None) -> Iterator[tuple[ReadFace | None, str]]:
    """Opens the landmark model: yields (reader, "") or (None, why there is none).

    The reader takes (H,W,3) uint8 and returns a `FaceReading`, None where it finds no face.

    Args:
        assets: folder of third-party models; None looks where `find_asset` looks.
    """
    with contextlib.ExitStack() as stack:
        try:
            reader: ReadFace | None = stack.enter_context(_open_model(assets))
            reason = ""
        except ImportError as error:
            reader, reason = None, f"mediapipe cannot be used here: {_first_line(error)}"
        except (InputError, OSError) as error:
            reader, reason = None, _first_line(error)
        yield reader, reason


def face_errors(render: FaceReading | None, truth: FaceReading | None) -> dict[str, float]:
    """Returns the figures of one frame; NaN where they are undefined.

    landmark_distance: mean distance of the 468 landmarks over the distance of the outer eye
        corners in the true picture; landmark_distance_pixels: the same in pixels.
    blendshape_error: mean absolute difference of the 52 scores.
    pose_error: angle between the two head rotations in degrees.
    faces_found: 1 where the render has a face, 0 where it has none; the others are then NaN.

    A frame whose true picture has no face counts nowhere.
    """
    figures: dict[str, float] = {name: math.nan for name in FIGURES}
    if truth is None:
        return figures
    figures["faces_found"] = float(render is not None)
    if render is None:
        return figures
    distances = np.linalg.norm(render.landmarks - truth.landmarks, axis=1)
    pixels = float(distances.mean())
    figures["landmark_distance_pixels"] = pixels
    figures["landmark_distance"] = pixels / eye_distance(truth)
    mouths = [reading.landmarks[list(LIPS)] for reading in (render, truth)]
    shapes = [mouth - mouth.mean(0) for mouth in mouths]
    figures["mouth_distance"] = float(
        np.linalg.norm(shapes[0] - shapes[1], axis=1).mean() / eye_distance(truth)
    )
    figures["blendshape_error"] = float(np.abs(render.scores - truth.scores).mean())
    figures["pose_error"] = rotation_angle(render.rotation, truth.rotation)
    return figures


def eye_distance(reading: FaceReading) -> float:
    """Returns the distance of the outer eye corners in pixels, at least a thousandth."""
    right, left = (reading.landmarks[corner] for corner in EYE_CORNERS)
    return max(float(np.linalg.norm(right - left)), 1e-3)


def mouth_opening(reading: FaceReading) -> float:
    """Returns how far the inner lips are apart, over the distance of the outer eye corners."""
    upper, lower = (reading.landmarks[place] for place in LIP_MIDDLES)
    return float(np.linalg.norm(upper - lower)) / eye_distance(reading)


def rotation_angle(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the angle in degrees, in [0, 180], of the rotation from a to b, both (3,3)."""
    # atan2 keeps its precision near 0 and 180 degrees, where arccos of the trace loses it.
    turn = np.asarray(a, np.float64).T @ np.asarray(b, np.float64)
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return float(np.degrees(np.arctan2(np.linalg.norm(axis), np.trace(turn) - 1.0)))


def mean_errors(frames: list[dict[str, float]], reason: str = "") -> dict[str, object]:
    """Returns the figures averaged over frames; None, with "reasons", where there is no value.

    Args:
        frames: what `face_errors` gave for each frame.
        reason: why the model was not run; empty where it was.
    """
    means = {name: mean_of([frame[name] for frame in frames]) for name in FIGURES}
    missing = {
        name: reason or "the landmark model found no face to compare"
        for name, value in means.items()
        if value is None
    }
    return {**means, "reasons": missing} if missing else dict(means)


@contextlib.contextmanager
def _open_model(assets: str | None) -> Iterator[ReadFace]:
    from jaxhead.captures.landmarks import Landmarker

    # Picture by picture: the figures of one frame must not depend on the frames before it.
    with Landmarker(assets, max_faces=1, video=False) as landmarker:

        def read_face(picture: np.ndarray) -> FaceReading | None:
            faces = landmarker.detect(picture)
            if not faces:
                return None
            extent = np.array([picture.shape[1], picture.shape[0]], np.float64)
            return FaceReading(
                landmarks=faces[0].landmarks[:FACE_LANDMARKS, :2] * extent,
                scores=faces[0].scores,
                rotation=_nearest_rotation(faces[0].transform[:3, :3]),
            )

        yield read_face


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    # The facial transformation carries a scale: the polar factor is the rotation alone.
    left, _, right = np.linalg.svd(np.asarray(matrix, np.float64))
    return left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
