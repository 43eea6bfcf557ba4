"""NeRFace's data sets (Gafni et al., CVPR 2021): poses and 76 expression coefficients, no mesh.

Rays of a pixel (row j, column i) run along ((i - W cx) / fx, -(j - H cy) / fy, -1) of the camera;
focal lengths carry signs, and lengths are scaled so that the camera's mean distance is 0.5.
"""

from __future__ import annotations

import pathlib

import numpy as np

from jaxhead.captures.importers.cameras import from_signed_focals, pinhole
from jaxhead.captures.importers.documents import Fields, natural, read_json
from jaxhead.captures.importers.people import Segmenter, differing
from jaxhead.captures.importers.pictures import read_sized, stated_size
from jaxhead.captures.importers.source import Options, Picture, Source
from jaxhead.captures.validate import file_digest
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image

_SPLITS = ("train", "val", "test")
_NEAR, _FAR = 0.2, 0.8


def read(folder: pathlib.Path, options: Options) -> Source:
    """The subject in a folder of NeRFace's layout; its frames stand in the order of their lists.

    Raises:
      InputError: a file or field is missing or malformed, a camera is mirrored, a picture of
        another size.
    """
    documents = [
        (split, read_json(folder / f"transforms_{split}.json"))
        for split in _SPLITS
        if split == "train" or (folder / f"transforms_{split}.json").is_file()
    ]
    frames = [(split, entry) for split, document in documents for entry in document.entries()]
    if not any(split == "train" for split, _ in frames):
        raise InputError(f"{documents[0][1].where}: lists no frame to train on")
    paths = [entry.file("file_path", folder, (".png", "", ".jpg")) for _, entry in frames]
    size = stated_size(paths[0])
    focal, centre = _intrinsics(documents[0][1], size)
    for _, document in documents[1:]:
        if not np.allclose(_intrinsics(document, size)[0], focal):
            raise InputError(f"{document.where}: another focal length than the training frames'")
    poses, mirrored = [], False
    for _, entry in frames:
        where = f"{entry.where}: transform_matrix"
        pose, mirrored = from_signed_focals(entry.matrix(), focal[0], focal[1], where)
        poses.append(pose)
    expression = _expressions([entry for _, entry in frames])
    boxes = np.stack([_box(entry) for _, entry in frames])
    plate, name = _plate(folder, size)
    segmenter = None
    if plate is None:
        segmenter = Segmenter(options, str(folder))
    train = np.array([split == "train" for split, _ in frames])
    ids = np.arange(len(frames), dtype=np.int32)
    found = [
        f"expression: {expression.shape[1]} coefficients of NeRFace's own face model",
        f"background: {name or 'missing, made from the frames'}",
        "masks: missing; the person is "
        + ("what differs from the background" if plate is not None else "what a model segments")
        + ", the head what lies above the box's lower edge",
        "there is no head mesh, landmarks, torso motion, sway or sound in this format; lengths are "
        "not metres, the camera's mean distance is 0.5",
    ]
    if mirrored:
        found.append("focal lengths of opposite signs: the head space is the source's, mirrored in "
                     "x")  # fmt: skip
    return Source(
        format="nerface",
        folder=folder,
        digests={pathlib.Path(d.where).name: file_digest(d.where) for _, d in documents},
        size=size,
        K=pinhole(abs(focal[0]), abs(focal[1]), *centre, pixel_centre=0.0),
        head_to_camera=np.stack(poses),
        expression=expression,
        picture=_Pictures(paths, size, plate, segmenter, boxes).read,
        background=plate,
        status=np.zeros(len(frames), np.uint8),
        split=(ids[train], ids[~train]) if not train.all() else None,
        found=found,
        convention={
            "axes": "opengl", "pixel_centre": 0.0, "near": _NEAR, "far": _FAR,
            "mirrored": mirrored, "focal_signs": [int(np.sign(f)) for f in focal],
        },
        face_rect=_rects(boxes, size),
    )  # fmt: skip


class _Pictures:
    """Frames, with the person keyed out."""

    def __init__(self, paths, size, plate, segmenter: Segmenter | None, boxes: np.ndarray):
        self._paths, self._size, self._plate = paths, size, plate
        self._segmenter, self._boxes = segmenter, boxes

    def read(self, index: int) -> Picture:
        """The frame of an index."""
        frame = read_sized(self._paths[index], self._size)
        if self._segmenter is not None:
            person = self._segmenter.person(frame)
        else:
            person = differing(frame, self._plate)
        rows = (np.arange(self._size[0]) + 0.5) / self._size[0]
        head = person * (rows < self._boxes[index, 1])[:, None]
        masks = np.stack([person, head, person - head], -1)
        return Picture(frame, np.round(masks * 255).astype(np.uint8), {})


def _intrinsics(document: Fields, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(fx, fy) signed and (cx, cy), in pixels."""
    height, width = size
    if "intrinsics" in document:
        values = document.numbers("intrinsics", (4,))
    else:
        focal = 0.5 * width / np.tan(0.5 * document.number("camera_angle_x", -3.14, 3.14))
        values = np.array([focal, focal, 0.5, 0.5])
    if np.any(np.abs(values[:2]) < 1e-3) or not np.isfinite(values).all():
        raise InputError(f"{document.where}: focal lengths {values[:2].tolist()}, expected pixels")
    if np.any(np.abs(values[2:]) > 4):
        raise InputError(
            f"{document.where}: principal point {values[2:].tolist()}, expected shares of the size"
        )
    return values[:2], values[2:] * [width, height]


def _expressions(frames: list[Fields]) -> np.ndarray:
    rows = [entry.numbers("expression", (-1,)) for entry in frames]
    for entry, row in zip(frames, rows):
        if len(row) != len(rows[0]):
            found = f"{len(row)} numbers, the first frame has {len(rows[0])}"
            raise InputError(f"{entry.where}: expression of {found}")
    return np.stack(rows)


def _box(entry: Fields) -> np.ndarray:
    """(4,) top, bottom, left, right as shares of the picture."""
    if "bbox" not in entry:
        return np.array([0.0, 1.0, 0.0, 1.0])
    box = entry.numbers("bbox", (4,))
    if not (box[0] <= box[1] and box[2] <= box[3]) or np.abs(box).max() > 2:
        raise InputError(f"{entry.where}: bbox {box.tolist()}, expected top, bottom, left, right")
    return box


def _rects(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, 4) x, y, width, height in pixels."""
    height, width = size
    top, bottom, left, right = boxes.T
    corners = [left * width, top * height, (right - left) * width, (bottom - top) * height]
    return np.stack(corners, -1)


def _plate(folder: pathlib.Path, size: tuple[int, int]) -> tuple[np.ndarray | None, str]:
    """The picture of the empty scene, at the frames' size, and its name."""
    paths = [path for path in (folder / "bg").glob("*") if path.suffix in (".png", ".jpg")]
    if not paths:
        return None, ""
    path = min(paths, key=lambda p: natural(p.name))
    picture = read_image(path)
    if picture.shape[:2] != size:
        from PIL import Image

        if picture.shape[0] * size[1] != picture.shape[1] * size[0]:
            raise InputError(
                f"{path}: {picture.shape[1]} x {picture.shape[0]} pixels, expected the shape of "
                f"{size[1]} x {size[0]}"
            )
        resized = Image.fromarray(picture).resize(
            (size[1], size[0]), Image.Resampling.LANCZOS
        )
        picture = np.asarray(resized)
    return picture, f"{path.parent.name}/{path.name}"
