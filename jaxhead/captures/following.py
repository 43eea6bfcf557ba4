"""One face followed through a clip, measured twice per frame: as it is and mirrored.

The landmark network errs differently on the mirrored picture; the mean of both measurements follows
the skin visibly better (a tenth less difference between frames unwrapped onto the mesh) for twice 7
ms.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable

import numpy as np

from jaxhead.captures.landmarks import LANDMARKS, SCORES, Face, Landmarker
from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile
from jaxhead.heads.mediapipe import canonical_face

PATIENCE = 25


@dataclasses.dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face followed through a clip of N frames; rows of frames without it are zero.

    Attributes:
      landmarks: (N, 478, 3) as in `Face`, an array or rows of a file.
      scores: (N, 52) in [0, 1].
      found: (N,) bool.
      faces: (N,) how many faces the frame showed.
      names: the 52 score names.
      size: (height, width) of the frames in pixels.
    """

    landmarks: np.ndarray | RowFile
    scores: np.ndarray
    found: np.ndarray
    faces: np.ndarray
    names: tuple[str, ...]
    size: tuple[int, int]


def follow_face(
    frames: Iterable[np.ndarray],
    assets: str | os.PathLike | None = None,
    *,
    folder: str | os.PathLike | None = None,
    progress: Callable[[int], None] | None = None,
) -> FaceTrack:
    """One face through a clip: the largest of the first frame with a face, then the same one.

    A face continues the track when its centre moved by less than one face width since it was last
    seen; after a second without it, the nearest face is taken again.

    Args:
      frames: (H, W, 3) uint8 frames in order.
      assets: folder of third-party models.
      folder: where the landmarks are kept, None for the system's temporary folder.
      progress: called with the number of frames done.

    Raises:
      InputError: no frame, or no frame shows a face.
    """
    order = mirror_order(canonical_face(find_asset("face_landmarker", assets)).vertices)
    landmarks = RowFile(folder, (LANDMARKS, 3))
    scores: list[np.ndarray] = []
    counts: list[int] = []
    seen: list[bool] = []
    last: Face | None = None
    missing = 0
    size = (0, 0)
    with Landmarker(assets) as upright, Landmarker(assets) as mirrored:
        for index, frame in enumerate(frames):
            size = (frame.shape[0], frame.shape[1])
            faces = upright.detect(frame)
            found = mirrored.detect(np.ascontiguousarray(frame[:, ::-1]))
            others = [mirror_face(face, order, mirrored.names) for face in found]
            face = choose_face(faces or others, last, size, strict=missing < PATIENCE)
            if face is not None and faces:
                twin = choose_face(others, face, size)
                face = face if twin is None else mean_face(face, twin)
            missing = 0 if face is not None else missing + 1
            last = face or last
            landmarks.append(np.zeros((1, LANDMARKS, 3)) if face is None else face.landmarks[None])
            scores.append(np.zeros(SCORES, np.float32) if face is None else face.scores)
            seen.append(face is not None)
            counts.append(len(faces))
            if progress is not None:
                progress(index + 1)
        names = upright.names or mirrored.names
    if not seen:
        raise InputError("the video holds no frame")
    if last is None:
        raise InputError(f"no face was found in any of the {len(seen)} frames")
    return FaceTrack(
        landmarks=landmarks,
        scores=np.stack(scores),
        found=np.array(seen),
        faces=np.array(counts, np.int32),
        names=names,
        size=size,
    )


def choose_face(
    faces: list[Face], last: Face | None, size: tuple[int, int], *, strict: bool = True
) -> Face | None:
    """The face that continues `last`, the largest when there is no `last`, or None.

    Args:
      faces: faces of this frame.
      last: where the followed face was seen last.
      size: (height, width) of the frame in pixels.
      strict: refuse faces further than one face width from `last`.
    """
    if not faces:
        return None
    scale = np.array([size[1], size[0]], np.float32)
    if last is None:
        return max(faces, key=lambda face: _extent(face, scale))
    centre = (last.landmarks[:, :2] * scale).mean(0)

    def distance(face: Face) -> float:
        return float(np.linalg.norm((face.landmarks[:, :2] * scale).mean(0) - centre))

    nearest = min(faces, key=distance)
    if strict and distance(nearest) > _extent(last, scale):
        return None
    return nearest


def _extent(face: Face, scale: np.ndarray) -> float:
    return float(np.ptp(face.landmarks[:, :2] * scale, axis=0).max())


def mirror_order(vertices: np.ndarray) -> np.ndarray:
    """(478,) int: which landmark of a mirrored picture is which; from the canonical face."""
    mirrored = vertices * np.array([-1, 1, 1], vertices.dtype)
    distance = ((mirrored[:, None] - vertices[None]) ** 2).sum(-1)
    # The irises: centre, then four points around it, of which the outer and the inner change
    # places.
    iris = [473, 476, 475, 474, 477, 468, 471, 470, 469, 472]
    return np.concatenate([distance.argmin(1), iris])


def mirror_face(face: Face, order: np.ndarray, names: tuple[str, ...]) -> Face:
    """A face found in a mirrored picture as it stands in the picture itself.

    The transform is not mirrored: the caller reads landmarks and scores only.
    """
    points = face.landmarks[order].copy()
    points[:, 0] = 1 - points[:, 0]
    swapped = [_other_side(name) for name in names]
    scores = face.scores
    if set(swapped) == set(names):
        scores = scores[[names.index(name) for name in swapped]]
    return Face(landmarks=points, scores=scores, transform=face.transform)


def mean_face(first: Face, second: Face) -> Face:
    """The mean of two measurements of one face, with the transform of the first."""
    return Face(
        landmarks=0.5 * (first.landmarks + second.landmarks),
        scores=0.5 * (first.scores + second.scores),
        transform=first.transform,
    )


def _other_side(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    if name.endswith("Right"):
        return name.removesuffix("Right") + "Left"
    return name
