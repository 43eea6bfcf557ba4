"""INSTA's subjects (Zielonka et al., CVPR 2023): cut-out pictures, FLAME meshes, OpenCV cameras."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jaxhead.captures.importers.cameras import from_camera_to_world, pinhole
from jaxhead.captures.importers.documents import Fields, read_numbers
from jaxhead.captures.importers.heads import (
    RegionVotes,
    finished_head,
    flame_names,
)
from jaxhead.captures.importers.labels import projected_landmarks
from jaxhead.captures.importers.pictures import (
    WHITE,
    over,
    read_classes,
    read_cutout,
    read_depth,
    stack_masks,
)
from jaxhead.captures.importers.source import Options, Picture, Source
from jaxhead.captures.importers.splits import split_documents, split_frames
from jaxhead.captures.validate import file_digest
from jaxhead.files.errors import InputError

CLASSES = {
    0: "background", 250: "skin", 240: "left_brow", 230: "right_brow", 210: "left_eye",
    200: "right_eye", 190: "glasses", 180: "left_ear", 170: "right_ear", 160: "earring",
    150: "nose", 140: "mouth", 130: "upper_lip", 120: "lower_lip", 110: "neck", 100: "necklace",
    90: "cloth", 80: "hair", 70: "hat",
}  # fmt: skip
"""What INSTA's preprocessing paints into the red channel of seg_mask."""
CLOTH = 90
_STUDIED = 40


def read(folder: pathlib.Path, options: Options) -> Source:
    """The subject in a folder of INSTA's layout.

    Raises:
      InputError: a file or field is missing or malformed, a camera is mirrored, a mesh of another
        topology, a picture of another size.
    """
    documents = split_documents(folder)
    frames, split, notes = split_frames(documents)
    split = options.split(split, len(frames), folder)
    if options.held_out is not None:
        notes = [
            *(note for note in notes if "empty" in note),
            f"held out as asked, whatever split is stored: the last {options.held_out} frames",
        ]
    first = next(iter(documents.values()))
    size, K = _camera(first)
    for document in documents.values():
        if _camera(document)[0] != size or not np.allclose(_camera(document)[1], K):
            raise InputError(f"{document.where}: another camera than {first.where} has")
    poses = np.stack([
        from_camera_to_world(f.matrix(), f"{f.where}: transform_matrix", axes="opencv")
        for f in frames
    ])
    files = [_files(frame, folder) for frame in frames]
    for name in ("seg_mask", "depth", "exp"):
        lacking = sum(name not in entry for entry in files)
        if 0 < lacking < len(files):
            where = next(f.where for f, entry in zip(frames, files) if name not in entry)
            raise InputError(f"{where}: {name}_path is missing, {len(files) - lacking} others have")
    pictures = _Pictures(files, size)
    coefficients, names = _coefficients(files)
    train = np.arange(len(frames)) if split is None else split[0]
    head, vertices, told = _head(folder, files, coefficients, names, train, pictures, K, poses,
                                 options)  # fmt: skip
    unit = first.number("integer_depth_scale", 1e-9, 1.0, default=1e-3)
    extra: dict[str, Any] = {"depth_unit": unit} if "depth" in files[0] else {}
    if "seg_mask" in files[0]:
        extra["parsing_classes"] = {str(k): v for k, v in CLASSES.items()}
    return Source(
        format="insta",
        folder=folder,
        digests={pathlib.Path(d.where).name: file_digest(d.where) for d in documents.values()},
        size=size,
        K=K,
        head_to_camera=poses,
        expression=coefficients,
        picture=pictures.read,
        background=np.full((*size, 3), WHITE, np.uint8),
        status=np.zeros(len(frames), np.uint8),
        split=split,
        found=[*notes, *told, *_told(files, bool(len(head.landmark_faces)))],
        convention={"axes": "opencv", "pixel_centre": 0.5},
        vertices=vertices,
        head=head,
        landmarks=projected_landmarks(head, vertices, K, poses),
        extra=extra,
    )


class _Pictures:
    """Frames over white, which is what INSTA shows; its cut-outs have no background."""

    def __init__(self, files: list[dict[str, pathlib.Path]], size: tuple[int, int]):
        self._files, self._size = files, size

    def parsing(self, index: int) -> np.ndarray:
        """(H, W) uint8 classes."""
        return read_classes(self._files[index]["seg_mask"], self._size)

    def read(self, index: int) -> Picture:
        """The frame of an index."""
        files = self._files[index]
        colours, opacity = read_cutout(files["file"], self._size)
        layers = {}
        cloth = np.zeros_like(opacity)
        if "seg_mask" in files:
            layers["parsing"] = self.parsing(index)
            cloth = np.where(layers["parsing"] == CLOTH, opacity, 0).astype(np.uint8)
        if "depth" in files:
            layers["depth"] = read_depth(files["depth"], self._size)
        return Picture(over(colours, opacity, WHITE), stack_masks(opacity - cloth, cloth), layers)


def _camera(document: Fields) -> tuple[tuple[int, int], np.ndarray]:
    size = (document.integer("h", 1, 65536), document.integer("w", 1, 65536))
    focal = [
        document.number(name, 1e-3, 1e6) if name in document
        else 0.5 * side / np.tan(0.5 * document.number(angle, 1e-3, 3.14))
        for name, angle, side in (
            ("fl_x", "camera_angle_x", size[1]), ("fl_y", "camera_angle_y", size[0])
        )
    ]
    centre = (document.number("cx", -1e6, 1e6), document.number("cy", -1e6, 1e6))
    return size, pinhole(focal[0], focal[1], *centre)


def _files(frame: Fields, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The files of a frame; pictures and meshes have to be there, the others may not be named."""
    files = {
        "file": frame.file("file_path", folder, ("", ".png")),
        "mesh": frame.file("mesh_path", folder),
    }
    for name in ("exp", "depth", "seg_mask"):
        if f"{name}_path" in frame:
            files[name] = frame.file(f"{name}_path", folder)
    return files


def _coefficients(files: list[dict[str, pathlib.Path]]) -> tuple[np.ndarray, tuple[str, ...]]:
    if "exp" not in files[0]:
        return np.zeros((len(files), 0), np.float32), ()
    rows = [read_numbers(entry["exp"]) for entry in files]
    for entry, row in zip(files, rows):
        if len(row) != len(rows[0]):
            raise InputError(f"{entry['exp']}: {len(row)} numbers, {files[0]['exp']} has "
                             f"{len(rows[0])}")  # fmt: skip
    return np.stack(rows).astype(np.float32), flame_names(len(rows[0]))


def _head(
    folder: pathlib.Path, files: list[dict[str, pathlib.Path]], coefficients: np.ndarray,
    names: tuple[str, ...], train: np.ndarray, pictures: _Pictures, K: np.ndarray,
    poses: np.ndarray, options: Options,
):  # fmt: skip
    sequence = options.meshes([entry["mesh"] for entry in files], folder / "canonical.obj")
    votes = None
    if "seg_mask" in files[0]:
        votes = RegionVotes(sequence.faces, len(sequence.template), CLASSES)
        for index in train[:: max(1, len(train) // _STUDIED)]:
            votes.add(pictures.parsing(index), sequence.vertices[int(index)], K, poses[index])
    return finished_head(
        sequence, coefficients, names, train, votes, name="insta", labels=options.head
    )


def _told(files: list[dict[str, pathlib.Path]], landmarks: bool) -> list[str]:
    has = {"exp": "expression coefficients", "depth": "depth", "seg_mask": "parsed classes"}
    missing = [what for name, what in has.items() if name not in files[0]]
    return [
        "the cut-outs lie over white; there is no background and, where clothes were cut off, no "
        "torso",
        *([f"missing, and left out: {', '.join(missing)}"] if missing else []),
        f"{'' if landmarks else 'landmarks, '}torso motion, sway and sound: there are none in this "
        "format",
    ]
