"""Masks for formats that store none: the person by difference or by model, head and torso apart."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from jaxhead.captures.importers.source import Options
from jaxhead.captures.landmarks import PersonSegmenter
from jaxhead.captures.masks import person_mask, segment, split_masks
from jaxhead.captures.split import SplitCollector, SplitModel, head_share
from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError
from jaxhead.heads.model import HeadModel

_SURE = (8.0, 28.0)
"""Differences from the background, of 255, that are surely background and surely person."""
_MARKS, _TOP, _CHIN = 468, 10, 152


def differing(frame: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(H, W) float32 in [0, 1]: where a frame differs from the empty picture, without holes.

    Clothes of the background's colour are missed where they touch the border of the person.

    Args:
      frame, background: (H, W, 3) uint8.
    """
    difference = np.abs(frame.astype(np.float32) - background).max(-1)
    smooth = ndimage.gaussian_filter(difference, max(frame.shape[:2]) / 512)
    soft = np.clip((smooth - _SURE[0]) / (_SURE[1] - _SURE[0]), 0, 1)
    labels, count = ndimage.label(soft > 0.5)  # pyright: ignore[reportGeneralTypeIssues]
    if not count:
        return np.zeros_like(soft)
    sizes = ndimage.sum_labels(soft > 0.5, labels, np.arange(1, count + 1))
    body = labels == 1 + int(np.argmax(sizes))
    # Below the lower edge the person goes on: a hole that touches it is one inside the body.
    closed = np.pad(body, ((0, 1), (0, 0)), constant_values=True)
    inside = np.asarray(ndimage.binary_fill_holes(closed))[:-1]
    near = ndimage.binary_dilation(inside, iterations=2)
    return np.where(inside & ~body, 1.0, soft * near).astype(np.float32)


class Segmenter:
    """The person in frames of any shape, by the model that captures of videos use.

    Args:
      options: of the import: where models are, and until when this one is open.
      why: what lacks masks, for the message where the model is not there.
    """

    def __init__(self, options: Options, why: str):
        try:
            find_asset("selfie_segmentation", options.assets)
        except InputError as error:
            raise InputError(f"{why}: holds no masks; to make them, {error}") from None
        self._model = options.stack.enter_context(PersonSegmenter(options.assets))

    def person(self, frame: np.ndarray) -> np.ndarray:
        """(H, W) float32 in [0, 1] of a (H, W, 3) uint8 frame."""
        square = squared(frame)
        mask = person_mask(square, segment(self._model, square))
        return mask[: frame.shape[0], : frame.shape[1]]


class BodyParts:
    """Head and torso of a person by the face's place, which a mesh gives, and the clip's colours.

    Args:
      head: its regions name the face.
      K: (3, 3) pixels.
    """

    def __init__(self, head: HeadModel, K: np.ndarray):
        self._ends = face_ends(head)
        self._K = K
        self._collector = SplitCollector()
        self._model: SplitModel | None = None

    def study(self, frame: np.ndarray, person: np.ndarray, vertices: np.ndarray, pose: np.ndarray):
        """Learn colours from a training frame; see `masks`."""
        self._collector.add(squared(frame), squared(person), self._marks(vertices, pose))

    def masks(
        self, frame: np.ndarray, person: np.ndarray, vertices: np.ndarray, pose: np.ndarray
    ) -> np.ndarray:
        """(H, W, 3) uint8 person, head, torso.

        Args:
          frame: (H, W, 3) uint8; person: (H, W) float32 in [0, 1].
          vertices: (V, 3) metres; pose: (4, 4) head to camera.
        """
        if self._model is None:
            self._model = self._collector.model()
        square, whole = squared(frame), squared(person)
        share = head_share(self._model, square, whole, self._marks(vertices, pose))
        return split_masks(whole, share)[: frame.shape[0], : frame.shape[1]]

    def _marks(self, vertices: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """(468, 2) pixels, of which only forehead and chin are set: no more is asked for."""
        points = vertices[list(self._ends)] @ pose[:3, :3].T + pose[:3, 3]
        pixels = points[:, :2] / np.maximum(points[:, 2:], 1e-6)
        marks = np.zeros((_MARKS, 2))
        marks[[_TOP, _CHIN]] = pixels * self._K[[0, 1], [0, 1]] + self._K[:2, 2]
        return marks


def face_ends(head: HeadModel) -> tuple[int, int]:
    """The vertices at the forehead's upper edge and at the chin, by the model's regions."""
    points = np.asarray(head.template)
    skin = [head.region_names.index(n) for n in ("face", "lips") if n in head.region_names]
    face = np.isin(np.asarray(head.regions), skin)
    if not face.any():
        face = points[:, 2] > np.median(points[:, 2])
    width = np.ptp(points[face, 0])
    middle = face & (np.abs(points[:, 0] - points[face, 0].mean()) < 0.15 * width)
    middle &= points[:, 2] > np.median(points[face, 2])
    ids = np.flatnonzero(middle if middle.any() else face)
    heights = points[ids, 1]
    return int(ids[heights.argmax()]), int(ids[heights.argmin()])


def squared(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, ...) with its last row or column repeated until it is square."""
    height, width = picture.shape[:2]
    side = max(height, width)
    pad = ((0, side - height), (0, side - width)) + ((0, 0),) * (picture.ndim - 2)
    return picture if height == width else np.pad(picture, pad, mode="edge")
