"""Outputs of metrical-tracker (Zielonka et al., ECCV 2022), from which INSTA's data is made."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jaxhead.captures.format import split_frames
from jaxhead.captures.importers.cameras import from_world_to_camera, pinhole
from jaxhead.captures.importers.documents import find_picture
from jaxhead.captures.importers.heads import finished_head, flame_names
from jaxhead.captures.importers.labels import projected_landmarks
from jaxhead.captures.importers.people import BodyParts, Segmenter
from jaxhead.captures.importers.pictures import read_depth, read_sized, stated_size
from jaxhead.captures.importers.source import Options, Picture, Source
from jaxhead.captures.validate import MEASURED, file_digest
from jaxhead.files.arrays import as_kind
from jaxhead.files.errors import InputError
from jaxhead.files.torch_files import read_torch

_JAW_DEGREES = 12.0
"""How far the canonical mesh opens the jaw."""
_DEPTH_UNIT = 1e-3
_STUDIED = 16
_SAME_CAMERA = 1e-3
_MOST_BYTES = 1 << 26


def read(folder: pathlib.Path, options: Options) -> Source:
    """The subject in an output folder: checkpoint/, mesh/, input/, depth/ and canonical.obj.

    Raises:
      InputError: a file or field is missing or malformed, a camera is mirrored or changes its
        focal length, a mesh of another topology, no model to make masks with.
    """
    paths = sorted((folder / "checkpoint").glob("*.frame"))
    if not paths:
        raise InputError(f"{folder / 'checkpoint'}: holds no .frame file")
    segmenter = Segmenter(options, str(folder))
    frames = _frames(paths, options)
    K, size = frames[0].K, frames[0].size
    coefficients, names = _coefficients(frames)
    split = options.split(split_frames(np.zeros(len(frames))), len(frames), folder)
    assert split is not None
    train = split[0]
    meshes = [folder / "mesh" / f"{frame.path.stem}.ply" for frame in frames]
    head, vertices, told = finished_head(
        options.meshes(meshes, folder / "canonical.obj"), coefficients, names, train, None,
        name="metrical-tracker", labels=options.head,
    )  # fmt: skip
    poses = np.stack([frame.pose for frame in frames])
    parts = BodyParts(head, K)
    pictures = _Pictures(folder, [frame.path.stem for frame in frames], size, segmenter)
    for index in train[:: max(1, len(train) // _STUDIED)].tolist():
        shown = pictures.frame(index)
        parts.study(shown, segmenter.person(shown), vertices[index], poses[index])

    def picture(index: int) -> Picture:
        shown = pictures.frame(index)
        masks = parts.masks(shown, segmenter.person(shown), vertices[index], poses[index])
        return Picture(shown, masks, pictures.layers(index))

    return Source(
        format="metrical-tracker",
        folder=folder,
        digests={paths[0].name: file_digest(paths[0]), paths[-1].name: file_digest(paths[-1])},
        size=size,
        K=K,
        head_to_camera=poses,
        expression=coefficients,
        picture=picture,
        background=None,
        status=np.full(len(frames), MEASURED, np.uint8),
        split=split,
        found=[
            *told,
            "masks: missing; the person by a model, head and torso by the mesh and their colours",
            f"depth: {'as tracked' if pictures.has_depth else 'missing'}",
            "no split is given: the last "
            f"{'20 %' if options.held_out is None else options.held_out} are held out",
            f"{'' if len(head.landmark_faces) else 'landmarks, '}torso motion, sway and sound: "
            "there are none in this format",
        ],
        convention={"axes": "opencv", "pixel_centre": 0.5},
        vertices=vertices,
        head=head,
        landmarks=projected_landmarks(head, vertices, K, poses),
        extra={"depth_unit": _DEPTH_UNIT} if pictures.has_depth else {},
    )


class _Frame:
    """One checkpoint: camera and coefficients."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        stored = read_torch(path, max_bytes=_MOST_BYTES)
        camera = _part(path, stored, "opencv")
        K = _array(path, camera, "opencv", "K", (3, 3))
        self.K = pinhole(K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        if not (K[0, 0] > 0 and K[1, 1] > 0):
            raise InputError(f"{path}: opencv.K has focal lengths {K[0, 0]:g}, {K[1, 1]:g}")
        matrix = np.eye(4)
        matrix[:3, :3] = _array(path, camera, "opencv", "R", (3, 3))
        matrix[:3, 3] = _array(path, camera, "opencv", "t", (3,))
        self.pose = from_world_to_camera(matrix, f"{path}: opencv.R")
        side = _array(path, stored, "", "img_size", (2,))
        self.size = (int(side[0]), int(side[1]))
        flame = _part(path, stored, "flame")
        self.exp = _array(path, flame, "flame", "exp", (-1,))
        self.jaw = _array(path, flame, "flame", "jaw", (6,))
        self.eyes = _array(path, flame, "flame", "eyes", (12,))
        self.eyelids = _array(path, flame, "flame", "eyelids", (2,))


def _frames(paths: list[pathlib.Path], options: Options) -> list[_Frame]:
    """All checkpoints, of one camera."""
    frames = []
    for done, path in enumerate(paths):
        frames.append(_Frame(path))
        K, first = frames[-1].K, frames[0].K
        other = np.abs(K - first).max() > _SAME_CAMERA * first[0, 0]
        if other or frames[-1].size != frames[0].size:
            raise InputError(f"{path}: another camera (opencv.K, img_size) than {paths[0]}")
        options.tell("checkpoints", done + 1, len(paths))
    return frames


class _Pictures:
    """Frames and depth maps by the checkpoints' names."""

    def __init__(
        self, folder: pathlib.Path, names: list[str], size: tuple[int, int], segmenter: Segmenter
    ):
        self._folder, self._names, self._size = folder, names, size
        self._paths = [find_picture(folder / "input", name) for name in names]
        for name, path in zip(names, self._paths):
            if path is None:
                raise InputError(f"{folder / 'input'}: lacks picture {name}, which was tracked")
        if stated_size(self._paths[0]) != size:  # pyright: ignore[reportArgumentType]
            read_sized(self._paths[0], size)  # pyright: ignore[reportArgumentType]
        depth = [(folder / "depth" / f"{name}.png").is_file() for name in names]
        self.has_depth = all(depth)
        if any(depth) and not self.has_depth:
            missing = names[depth.index(False)]
            raise InputError(f"{folder / 'depth'}: lacks {missing}.png, other frames have theirs")

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        return read_sized(self._paths[index], self._size)  # pyright: ignore[reportArgumentType]

    def layers(self, index: int) -> dict[str, np.ndarray]:
        """The depth map where there are any."""
        if not self.has_depth:
            return {}
        path = self._folder / "depth" / f"{self._names[index]}.png"
        return {"depth": read_depth(path, self._size)}


def _coefficients(frames: list[_Frame]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, E) expression, jaw, eyes and lids, all zero at the canonical mesh, and their names."""
    for frame in frames:
        if len(frame.exp) != len(frames[0].exp):
            raise InputError(f"{frame.path}: flame.exp of {len(frame.exp)} numbers, "
                             f"{frames[0].path} has {len(frames[0].exp)}")  # fmt: skip
    # Rotations are the first two rows of their matrices.
    straight = np.array([1.0, 0, 0, 0, 1, 0])
    angle = np.radians(_JAW_DEGREES)
    open_jaw = np.array([1.0, 0, 0, 0, np.cos(angle), -np.sin(angle)])
    rows = [
        np.concatenate([f.exp, f.jaw - open_jaw, f.eyes - np.tile(straight, 2), f.eyelids])
        for f in frames
    ]
    names = [
        *flame_names(len(frames[0].exp)),
        *(f"jaw_{k}" for k in range(6)),
        *(f"eyes_{k:02d}" for k in range(12)),
        "eyelid_left", "eyelid_right",
    ]  # fmt: skip
    return np.stack(rows).astype(np.float32), tuple(names)


def _part(path: pathlib.Path, stored: Any, name: str) -> dict[str, Any]:
    part = stored.get(name) if isinstance(stored, dict) else None
    if not isinstance(part, dict):
        raise InputError(f"{path}: {name} is missing, expected a frame of metrical-tracker")
    return part


def _array(
    path: pathlib.Path, part: dict[str, Any], where: str, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """float64 numbers of a shape; leading axes of length one are left out, as batches have them."""
    label = f"{path}: {where}.{name}" if where else f"{path}: {name}"
    if part.get(name) is None:
        raise InputError(f"{label} is missing")
    try:
        array = np.asarray(part[name])
    except ValueError:
        raise InputError(f"{label} is no array of numbers") from None
    array = as_kind(array, np.float64, label)
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    fits = array.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, array.shape))
    if not fits or not np.isfinite(array).all():
        raise InputError(f"{label} has shape {array.shape}, expected finite numbers of {shape}")
    return array
