"""VHAP's exports (Qian 2024): pictures, cameras with OpenGL axes, and FLAME's parameters per frame.

Meshes are made from the parameters with the user's FLAME file. VHAP moves the head in the world;
here the rigid pose is that of the neck's joint, so that the head stands still in head space whether
it was turned by the global rotation or by the neck, and the shoulders' edge moves instead.
"""

from __future__ import annotations

import pathlib

import numpy as np

from jaxhead.captures.importers.cameras import from_camera_to_world, pinhole
from jaxhead.captures.importers.documents import Fields
from jaxhead.captures.importers.heads import fitted_head
from jaxhead.captures.importers.labels import projected_landmarks
from jaxhead.captures.importers.people import BodyParts, Segmenter
from jaxhead.captures.importers.pictures import read_opacity, read_sized
from jaxhead.captures.importers.source import Options, Picture, Source
from jaxhead.captures.importers.splits import split_documents, split_frames
from jaxhead.captures.importers.vhap_parameters import (
    Parameters,
    coefficients,
    posed_meshes,
    read_parameters,
)
from jaxhead.captures.validate import MEASURED, file_digest
from jaxhead.files.errors import InputError
from jaxhead.files.mesh_files import MeshFile
from jaxhead.files.rows import RowFile
from jaxhead.heads.flame_files import read_flame
from jaxhead.heads.model import HeadModel, head_vertices

_STUDIED = 16


def read(folder: pathlib.Path, options: Options) -> Source:
    """The subject in a folder of VHAP's layout; of several cameras the first.

    Raises:
      InputError: no FLAME file was named, a file or field is missing or malformed, a camera is
        mirrored or changes, no masks and no model to make them with.
    """
    model = _flame(folder, options.head)
    documents = split_documents(folder)
    frames, split, notes = _one_camera(documents)
    parameters = read_parameters(folder, frames, model)
    size, K, to_world = _cameras(frames, parameters)
    train = np.arange(len(frames)) if split is None else split[0]
    head, vertices, head_to_world, told = _head(model, parameters, train, options)
    poses = np.linalg.inv(to_world) @ head_to_world
    landmarks = projected_landmarks(head, vertices, K, poses)
    pictures = _Pictures(folder, frames, size, options)
    parts = BodyParts(head, K)
    for index in train[:: max(1, len(train) // _STUDIED)].tolist():
        parts.study(*pictures.read(index), vertices[index], poses[index])

    def picture(index: int) -> Picture:
        frame, person = pictures.read(index)
        return Picture(frame, parts.masks(frame, person, vertices[index], poses[index]), {})

    return Source(
        format="vhap",
        folder=folder,
        digests={pathlib.Path(d.where).name: file_digest(d.where) for d in documents.values()}
        | parameters.digests,
        size=size,
        K=K,
        head_to_camera=poses,
        expression=coefficients(parameters)[0],
        picture=picture,
        background=None,
        status=np.full(len(frames), MEASURED, np.uint8),
        split=split,
        found=[
            *notes,
            *told,
            f"landmarks: {landmarks.shape[1]}, of FLAME's embedding",
            f"masks: {pictures.masks}; head and torso by the mesh and their colours",
            "torso motion, sway, depth and sound: there are none in this format",
        ],
        convention={"axes": "opengl", "pixel_centre": 0.5},
        vertices=vertices,
        head=head,
        landmarks=landmarks,
    )


def _flame(folder: pathlib.Path, head: str | None) -> HeadModel:
    kind, _, path = (head or "").partition(":")
    if kind != "flame" or not path:
        given = f", {head!r} was given" if head else ""
        raise InputError(
            f"{folder}: stores FLAME's parameters, expected its file as --head flame:PATH{given}"
        )
    return read_flame(path).model


def _one_camera(documents: dict[str, Fields]):
    """`split_frames` of the first camera."""
    cameras = sorted({
        entry.integer("camera_index", 0, 100_000) if "camera_index" in entry else 0
        for document in documents.values() for entry in document.entries()
    })  # fmt: skip
    frames, split, notes = split_frames(
        documents, lambda f: "camera_index" not in f or f.value["camera_index"] == cameras[0]
    )
    if len(cameras) > 1:
        notes.append(f"{len(cameras)} cameras: {cameras[0]} was taken, a capture has one")
    return frames, split, notes


def _head(
    model: HeadModel, parameters: Parameters, train: np.ndarray, options: Options
) -> tuple[HeadModel, RowFile, np.ndarray, list[str]]:
    """The subject's head, its meshes, head to world (N, 4, 4), and what to tell."""
    shaped = np.asarray(head_vertices(model, parameters.shape, None)) + parameters.offset
    neutral = model.replace(template=shaped)  # pyright: ignore[reportAttributeAccessIssue]
    vertices, head_to_world = posed_meshes(neutral, parameters, options)
    scores, names = coefficients(parameters)
    head, error = fitted_head(
        MeshFile(shaped.astype(np.float32), np.asarray(model.faces)), vertices, scores,
        train, names, np.asarray(model.regions), name="vhap",
        known=np.asarray(model.expression_basis)[: parameters.per_frame["expr"].shape[1]],
    )  # fmt: skip
    head = head.replace(  # pyright: ignore[reportAttributeAccessIssue]
        uv=np.asarray(model.uv), landmark_faces=np.asarray(model.landmark_faces),
        landmark_weights=np.asarray(model.landmark_weights),
    )  # fmt: skip
    return head, vertices, head_to_world, [
        f"mesh: FLAME from {options.head} with the tracked shape"
        + (" and offsets" if parameters.offset.any() else ""),
        f"expression: {scores.shape[1]} numbers (FLAME's, then jaw, eyes and neck in radians, "
        f"whose displacements are fitted: {1000 * error:.2f} mm, root mean square, from the "
        "training meshes)",
    ]


class _Pictures:
    """Frames and persons: stored masks, or the model's."""

    def __init__(
        self, folder: pathlib.Path, frames: list[Fields], size: tuple[int, int], options: Options
    ):
        self._size = size
        self._frames = [frame.file("file_path", folder, ("", ".png", ".jpg")) for frame in frames]
        stored = ["fg_mask_path" in frame for frame in frames]
        if any(stored) and not all(stored):
            where = frames[stored.index(False)].where
            raise InputError(f"{where}: fg_mask_path is missing, other frames have theirs")
        self._masks = [f.file("fg_mask_path", folder) for f in frames] if all(stored) else []
        self._model = None if self._masks else Segmenter(options, str(folder))
        self.masks = "as stored" if self._masks else "missing; the person by a model"

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 frame and (H, W) float32 person."""
        frame = read_sized(self._frames[index], self._size)
        if self._model is not None:
            return frame, self._model.person(frame)
        return frame, read_opacity(self._masks[index], self._size).astype(np.float32) / 255


def _cameras(frames: list[Fields], parameters: Parameters):
    """(H, W), K (3, 3), and camera to world (N, 4, 4) with OpenCV axes."""
    sizes = {(f.integer("h", 1, 65536), f.integer("w", 1, 65536)) for f in frames}
    if len(sizes) > 1:
        raise InputError(f"{frames[0].where}: frames of several sizes, {sorted(sizes)[:3]}")
    (size,) = sizes
    if parameters.focal is not None:
        # VHAP tracks an uncalibrated clip with a camera of its own, a metre before the origin.
        focal = parameters.focal * max(size)
        placed = np.eye(4)
        placed[2, 3] = 1.0
        pose = from_camera_to_world(placed, "the tracker's camera", axes="opengl")
        K = pinhole(focal, focal, size[1] / 2, size[0] / 2)
        return size, K, np.tile(np.linalg.inv(pose), (len(frames), 1, 1))
    K, placed = _pinhole(frames[0]), []
    for frame in frames:
        if not np.allclose(_pinhole(frame), K, rtol=1e-4):
            raise InputError(f"{frame.where}: another fl_x, fl_y, cx or cy than the first frame's")
        where = f"{frame.where}: transform_matrix"
        placed.append(np.linalg.inv(from_camera_to_world(frame.matrix(), where, axes="opengl")))
    return size, K, np.stack(placed)


def _pinhole(frame: Fields) -> np.ndarray:
    return pinhole(
        frame.number("fl_x", 1e-3, 1e6), frame.number("fl_y", 1e-3, 1e6),
        frame.number("cx", -1e6, 1e6), frame.number("cy", -1e6, 1e6),
    )  # fmt: skip
