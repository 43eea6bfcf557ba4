"""AD-NeRF's data sets and those of RAD-NeRF and ER-NeRF: a speaker, parsed frames, audio features.

Both come out of one tracker and one parser, and hold no mesh. They differ in the rays that their
programs send through a pixel: AD-NeRF's pixel (row j, column i) is seen along (i - cx, j - cy),
RAD-NeRF's along (i + 0.5 - cx, j + 0.5 - cy).
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from jaxhead.captures.importers.cameras import from_camera_to_world, pinhole
from jaxhead.captures.importers.documents import Fields, find_picture, read_json
from jaxhead.captures.importers.pictures import (
    colour_classes,
    read_cutout,
    read_sized,
    stack_masks,
    stated_size,
)
from jaxhead.captures.importers.source import Options, Picture, Source
from jaxhead.captures.importers.speech import (
    audio_features,
    eye_openness,
    face_rects,
    read_landmarks,
    sound,
    tracked_expression,
)
from jaxhead.captures.validate import DROPPED, MEASURED, file_digest
from jaxhead.files.errors import InputError

BACKGROUND, HEAD, NECK, CLOTH = range(4)
CLASSES = {BACKGROUND: "background", HEAD: "head", NECK: "neck", CLOTH: "cloth"}
# The parser writes blue, green and red with OpenCV, whose order of channels is reversed: what it
# calls (255, 0, 0) is blue in the file.
_COLOURS = {
    BACKGROUND: (255, 255, 255), HEAD: (0, 0, 255), NECK: (0, 255, 0), CLOTH: (255, 0, 0),
}  # fmt: skip
_PIXEL_CENTRE = {"adnerf": 0.0, "radnerf": 0.5}
_FRAMES = ("ori_imgs", "gt_imgs", "com_imgs")
_MOST_GAPS = 4
_NEAR, _FAR = -0.2, 0.4
"""Metres from the head's mean distance to AD-NeRF's sampling bounds."""


@dataclasses.dataclass(frozen=True)
class _Listed:
    """Frames of the documents by number: pose (4, 4), audio row, rectangle or None, is it train."""

    poses: dict[int, np.ndarray]
    rows: dict[int, int]
    rects: dict[int, np.ndarray]
    train: set[int]


def read(folder: pathlib.Path, options: Options, form: str) -> Source:
    """The subject in a folder of AD-NeRF's or RAD-NeRF's layout.

    Args:
      folder: the subject; options: see `Options`.
      form: "adnerf" or "radnerf", which decides on the rays.

    Raises:
      InputError: a file or field is missing or malformed, a camera is mirrored, a picture of
        another size or colours.
    """
    documents = [read_json(folder / "transforms_train.json")]
    if (folder / "transforms_val.json").is_file():
        documents.append(read_json(folder / "transforms_val.json"))
    listed = _listed(documents)
    count = max(listed.poses) + 1
    if count > _MOST_GAPS * len(listed.poses) + 1000:
        raise InputError(
            f"{documents[0].where}: img_id {count - 1}, but only {len(listed.poses)} frames are "
            "listed"
        )
    pictures = _Pictures(folder, listed)
    size = pictures.size
    K = _camera(documents[0], size, _PIXEL_CENTRE[form])
    for document in documents[1:]:
        if not np.allclose(_camera(document, size, _PIXEL_CENTRE[form]), K):
            raise InputError(f"{document.where}: another camera than {documents[0].where} has")
    status = np.array([MEASURED if i in listed.poses else DROPPED for i in range(count)], np.uint8)
    ids = np.array(sorted(listed.poses))
    nearest = _nearest(ids, count)
    poses = np.stack([listed.poses[i] for i in nearest])
    rows = np.array([listed.rows[i] if i in listed.rows else i for i in range(count)])
    expression, digests, told = tracked_expression(folder, np.searchsorted(ids, nearest))
    features, lines = audio_features(folder, rows)
    samples, more = sound(folder, count, options.fps)
    landmarks, marks = read_landmarks(folder / "ori_imgs", nearest)
    rects = _rects(listed, nearest, landmarks, size)
    openness = eye_openness(folder / "au.csv", count)
    told = [*told, *lines, *more, *pictures.told(), marks, *_told(listed, rects, openness)]
    depth = float(poses[status != DROPPED][:, 2, 3].mean())
    return Source(
        format=form,
        folder=folder,
        digests={pathlib.Path(d.where).name: file_digest(d.where) for d in documents} | digests,
        size=size,
        K=K,
        head_to_camera=poses,
        expression=expression,
        picture=pictures.read,
        background=pictures.background,
        status=status,
        reasons={int(i): "not listed: its face was not found" for i in np.flatnonzero(status)},
        split=_split(listed) if len(documents) > 1 else None,
        found=told,
        convention={
            "axes": "opengl", "pixel_centre": _PIXEL_CENTRE[form], "near": depth + _NEAR,
            "far": depth + _FAR,
        },
        landmarks=landmarks,
        face_rect=rects,
        eye_openness=openness,
        audio=samples,
        audio_features=features,
        extra={"parsing_classes": {str(k): v for k, v in CLASSES.items()}},
    )  # fmt: skip


def _listed(documents: list[Fields]) -> _Listed:
    listed = _Listed({}, {}, {}, set())
    for number, document in enumerate(documents):
        entries = document.entries()
        if not entries:
            raise InputError(f"{document.where}: lists no frame")
        for entry in entries:
            index = entry.integer("img_id")
            if index in listed.poses:
                raise InputError(f"{entry.where}: img_id {index} is listed twice")
            where = f"{entry.where}: transform_matrix"
            listed.poses[index] = from_camera_to_world(entry.matrix(), where, axes="opengl")
            listed.rows[index] = entry.integer("aud_id") if "aud_id" in entry else index
            if "face_rect" in entry:
                listed.rects[index] = entry.numbers("face_rect", (4,))
            if number == 0:
                listed.train.add(index)
    if 0 < len(listed.rects) < len(listed.poses):
        lacking = len(listed.poses) - len(listed.rects)
        raise InputError(f"{documents[0].where}: face_rect is missing of {lacking} frames")
    return listed


def _camera(document: Fields, size: tuple[int, int], pixel_centre: float) -> np.ndarray:
    height, width = size
    if "focal_len" in document:
        fx = fy = document.number("focal_len", 1e-3, 1e6)
    elif "fl_x" in document:
        fx = document.number("fl_x", 1e-3, 1e6)
        fy = document.number("fl_y", 1e-3, 1e6, default=fx)
    elif "camera_angle_x" in document:
        fx = fy = 0.5 * width / np.tan(0.5 * document.number("camera_angle_x", 1e-3, 3.14))
    else:
        raise InputError(f"{document.where}: focal_len is missing, and so are fl_x and "
                         "camera_angle_x")  # fmt: skip
    cx = document.number("cx", -1e6, 1e6, default=width / 2)
    cy = document.number("cy", -1e6, 1e6, default=height / 2)
    return pinhole(fx, fy, cx, cy, pixel_centre=pixel_centre)


class _Pictures:
    """Frames as recorded where they are kept, else over the plate; masks of the parsed colours."""

    def __init__(self, folder: pathlib.Path, listed: _Listed):
        self._folder = folder
        first = min(listed.poses)
        kept = [name for name in _FRAMES if find_picture(folder / name, str(first)) is not None]
        if not kept:
            raise InputError(f"{folder}: no picture {first} in {', '.join(_FRAMES)}")
        self._frames = folder / kept[0]
        self.size = stated_size(self._path(first))
        plate = find_picture(folder, "bc")
        self.background = None if plate is None else read_sized(plate, self.size)
        self._torso = self._has_torso(listed)
        for index in sorted(listed.poses):
            self._path(index)
            self._parsing_path(index)
        self._listed = listed

    def read(self, index: int) -> Picture:
        """The frame of an index; one that nothing lists may lack its picture and is empty then."""
        if index not in self._listed.poses:
            return self._unlisted(index)
        frame = read_sized(self._path(index), self.size)
        classes = colour_classes(self._parsing_path(index), self.size, _COLOURS)
        return self._picture(frame, classes, index)

    def told(self) -> list[str]:
        """What there was."""
        plate = "bc" if self.background is not None else "missing, made from the frames"
        torso = "kept as a layer" if self._torso else "none"
        return [
            f"pictures: {self._frames.name}; parsing: head, and neck with clothes as torso, as "
            f"AD-NeRF divides them; background: {plate}; torso_imgs: {torso}",
        ]

    def _unlisted(self, index: int) -> Picture:
        path = find_picture(self._frames, str(index))
        frame = np.zeros((*self.size, 3), np.uint8)
        if path is not None:
            frame = read_sized(path, self.size)
        elif self.background is not None:
            frame = self.background
        return self._picture(frame, np.zeros(self.size, np.uint8), index)

    def _picture(self, frame: np.ndarray, classes: np.ndarray, index: int) -> Picture:
        head = np.where(classes == HEAD, 255, 0).astype(np.uint8)
        torso = np.where((classes == NECK) | (classes == CLOTH), 255, 0).astype(np.uint8)
        layers = {"parsing": classes}
        if self._torso:
            path = find_picture(self._folder / "torso_imgs", str(index))
            layers["torso"] = np.zeros((*self.size, 4), np.uint8)
            if path is not None:
                layers["torso"] = np.dstack(read_cutout(path, self.size))
        return Picture(frame, stack_masks(head, torso), layers)

    def _path(self, index: int) -> pathlib.Path:
        path = find_picture(self._frames, str(index))
        if path is None:
            raise InputError(f"{self._frames}: lacks picture {index}, which is listed")
        return path

    def _parsing_path(self, index: int) -> pathlib.Path:
        path = find_picture(self._folder / "parsing", str(index))
        if path is None:
            raise InputError(
                f"{self._folder / 'parsing'}: lacks picture {index}, which the masks need"
            )
        return path

    def _has_torso(self, listed: _Listed) -> bool:
        folder = self._folder / "torso_imgs"
        found = [find_picture(folder, str(index)) is not None for index in sorted(listed.poses)]
        if any(found) and not all(found):
            missing = sorted(listed.poses)[found.index(False)]
            raise InputError(f"{folder}: lacks picture {missing}, which is listed")
        return all(found)


def _nearest(known: np.ndarray, count: int) -> np.ndarray:
    """(count,) the known frame (sorted) nearest to each."""
    after = np.searchsorted(known, np.arange(count)).clip(0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    ids = np.arange(count)
    closer = np.abs(known[before] - ids) < np.abs(known[after] - ids)
    return np.where(closer, known[before], known[after])


def _split(listed: _Listed) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array(sorted(listed.poses), np.int32)
    train = np.isin(ids, sorted(listed.train))
    return ids[train], ids[~train]


def _rects(
    listed: _Listed, nearest: np.ndarray, landmarks: np.ndarray | None, size: tuple[int, int]
) -> np.ndarray | None:
    """(N, 4) as listed, or by AD-NeRF's rule from the landmarks."""
    if listed.rects:
        return np.stack([listed.rects[i] for i in nearest])
    return None if landmarks is None else face_rects(landmarks, size)


def _told(listed: _Listed, rects: Any, openness: Any) -> list[str]:
    rect = "missing" if rects is None else "as listed" if listed.rects else "from the landmarks"
    eyes = "missing" if openness is None else "from au.csv (1 - AU45 / 2)"
    return [
        f"face rectangles: {rect}; eye openness: {eyes}",
        "there is no head mesh, torso motion or sway in this format",
    ]
