"""Scores of a stream of pictures against a capture's frames, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.evaluation import baselines
from jaxhead.evaluation.landmarks import FaceReading, ReadFace, face_errors, mean_errors
from jaxhead.evaluation.scores import face_mask, frame_scores, mean_scores
from jaxhead.evaluation.sheets import to_uint8

Progress = Callable[[str, int, int], None]


class Truth:
    """A capture's held-out frames as scores need them; faces are read once per frame."""

    def __init__(self, capture: Capture, read_face: ReadFace | None):
        self.capture = capture
        self.read_face = read_face
        self._faces: dict[int, FaceReading | None] = {}

    def regions(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the person mask and the face mask of a frame, both (H,W) bool."""
        person = self.capture.masks(frame)[..., 0] >= 128
        return person, face_mask(face_points(self.capture, frame), self.capture.size)

    def face(self, frame: int) -> FaceReading | None:
        """Returns what the landmark model sees in the true picture."""
        if frame not in self._faces and self.read_face is not None:
            self._faces[frame] = self.read_face(self.capture.frame(frame))
        return self._faces.get(frame)


def face_points(capture: Capture, frame: int) -> np.ndarray:
    """Returns (L,2) points in pixels whose hull is the face.

    Landmarks; without them, as in imported captures, the mesh's face, else the corners of the face
    rectangle, else nothing (0,2).

    Args:
        capture: of any kind.
        frame: its number.
    """
    if capture.landmarks.shape[1]:
        return capture.landmarks[frame]
    names = capture.head.region_names
    wanted = [names.index(name) for name in ("face", "lips", "eyes") if name in names]
    face = np.isin(np.asarray(capture.head.regions), wanted)
    if face.any():
        points = capture.vertices[frame][face]
        pose = capture.head_to_camera[frame]
        camera = points @ pose[:3, :3].T + pose[:3, 3]
        pixels = camera[:, :2] / np.maximum(camera[:, 2:], 1e-6)
        return pixels * capture.K[[0, 1], [0, 1]] + capture.K[:2, 2]
    if capture.face_rect is None:
        return np.zeros((0, 2))
    x, y, width, height = capture.face_rect[frame]
    return np.array([[x, y], [x + width, y], [x, y + height], [x + width, y + height]])


def score_pictures(
    truth: Truth,
    pictures: Iterable[tuple[int, np.ndarray]],
    *,
    reason: str = "",
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Returns the block of scores of a stream: frames, image, person, face, landmark figures.

    Args:
        truth: the capture's side.
        pictures: pairs of a frame id and its picture (H,W,3), float32 in [0, 1].
        reason: why no landmark model is run, where it is not.
        progress: called after each picture.
    """
    scores, faces = [], []
    for frame, picture in pictures:
        person, face = truth.regions(frame)
        scores.append(frame_scores(picture, truth.capture.frame(frame), person, face))
        if truth.read_face is not None:
            faces.append(face_errors(truth.read_face(to_uint8(picture)), truth.face(frame)))
        progress()
    return {"frames": len(scores), **mean_scores(scores), **mean_errors(faces, reason)}


def baseline_pictures(
    name: str, capture: Capture, test: np.ndarray
) -> Iterable[tuple[int, np.ndarray]]:
    """Yields (frame id, picture float32) of one baseline over the held-out frames.

    Args:
        name: "mean_frame", "nearest_expression" or "nearest_pixels".
        capture: whose training frames are used.
        test: ids of the held-out frames.
    """
    train = capture.train
    if name == "mean_frame":
        mean = baselines.mean_frame(capture.frame, train)
        yield from ((int(frame), mean) for frame in test)
        return
    if name == "nearest_expression":
        chosen = train[
            baselines.nearest_expression(
                capture.expression[train],
                capture.head_to_camera[train],
                capture.expression[test],
                capture.head_to_camera[test],
            )
        ]
    elif name == "nearest_pixels":
        chosen = baselines.nearest_pixels(capture.frame, train, test)
    else:
        raise ValueError(
            f"baseline {name!r}: expected one of mean_frame, nearest_expression, nearest_pixels"
        )
    for frame, source in zip(test, chosen):
        yield int(frame), capture.frame(int(source)).astype(np.float32) / 255.0
