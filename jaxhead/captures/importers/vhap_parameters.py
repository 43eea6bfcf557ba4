"""FLAME's parameters as VHAP stores them, and the meshes they make of the user's FLAME file."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from jaxhead.captures.importers.documents import Fields, natural
from jaxhead.captures.importers.heads import flame_names
from jaxhead.captures.importers.source import Options
from jaxhead.captures.validate import file_digest
from jaxhead.files.arrays import as_kind, read_npz
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile
from jaxhead.heads.flame import flame_rotations
from jaxhead.heads.model import (
    HeadModel,
    head_joints,
    pose_corrected,
    posed_joints,
    shaped_vertices,
    skinned,
)

_SHAPES = {
    "translation": 3, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "expr": -1,
}  # fmt: skip
_POSED = ("jaw_pose", "eyes_pose", "neck_pose")
_NECK = 1
_BLOCK = 32
_MOST_BYTES = 1 << 31


@dataclasses.dataclass(frozen=True)
class Parameters:
    """FLAME's parameters of N frames.

    Attributes:
      shape: (S,); offset: (V, 3) metres, of the neutral mesh.
      per_frame: (N, ...) by VHAP's names.
      moving: (N, V, 3) metres per frame, or None.
      focal: focal length in shares of the longer side, where VHAP found it, or None.
      digests: SHA-256 of the files.
    """

    shape: np.ndarray
    offset: np.ndarray
    per_frame: dict[str, np.ndarray]
    moving: np.ndarray | None
    focal: float | None
    digests: dict[str, str]


def read_parameters(
    folder: pathlib.Path, frames: list[Fields], model: HeadModel
) -> Parameters:
    """Of the files that the frames name, or of the newest tracked_flame_params.

    Args:
      folder: the subject; frames: its entries.
      model: the FLAME that the parameters are for.

    Raises:
      InputError: a file or an array is missing or malformed, or has more coefficients than FLAME.
    """
    if "flame_param_path" in frames[0]:
        paths = [frame.file("flame_param_path", folder) for frame in frames]
        parts = [_file_parameters(path, model) for path in paths]
        for path, part in zip(paths, parts):
            if not np.array_equal(part.shape, parts[0].shape):
                raise InputError(f"{path}: another shape than in {paths[0]}, expected one person")
            if part.per_frame["expr"].shape[1] != parts[0].per_frame["expr"].shape[1]:
                raise InputError(f"{path}: expr of another length than in {paths[0]}")
        moving = [part.moving for part in parts]
        merged = {
            name: np.concatenate([part.per_frame[name][:1] for part in parts]) for name in _SHAPES
        }
        known = [value for value in moving if value is not None]
        return dataclasses.replace(
            parts[0],
            per_frame=merged,
            moving=np.concatenate([v[:1] for v in known]) if len(known) == len(parts) else None,
            digests={paths[0].name: parts[0].digests[paths[0].name]},
            focal=None,
        )
    paths = sorted(folder.glob("tracked_flame_params*.npz"), key=lambda p: natural(p.name))
    if not paths:
        raise InputError(
            f"{frames[0].where}: flame_param_path is missing, and {folder} holds no "
            "tracked_flame_params*.npz"
        )
    whole = _file_parameters(paths[-1], model)
    length = len(whole.per_frame["expr"])
    rows = []
    for frame in frames:
        known = "timestep_index_original" in frame
        rows.append(frame.integer("timestep_index_original" if known else "timestep_index"))
        if rows[-1] >= length:
            raise InputError(f"{frame.where}: timestep {rows[-1]}, {paths[-1]} has {length} rows")
    return dataclasses.replace(
        whole,
        per_frame={name: value[rows] for name, value in whole.per_frame.items()},
        moving=None if whole.moving is None else whole.moving[rows],
    )


def _file_parameters(path: pathlib.Path, model: HeadModel) -> Parameters:
    count = len(model.template)
    arrays = read_npz(path, max_bytes=_MOST_BYTES)
    per_frame = {}
    for name, width in _SHAPES.items():
        value = _numbers(path, arrays, name)
        if value.ndim != 2 or not len(value) or width not in (-1, value.shape[1]):
            wanted = "frames x any" if width < 0 else f"frames x {width}"
            raise InputError(f"{path}: {name} has shape {value.shape}, expected {wanted}")
        per_frame[name] = value
    lengths = {name: len(value) for name, value in per_frame.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: arrays of different lengths, {lengths}")
    shape = _numbers(path, arrays, "shape").reshape(-1)
    for name, number, most in (
        ("shape", len(shape), len(model.identity_basis)),
        ("expr", per_frame["expr"].shape[1], len(model.expression_basis)),
    ):
        if number > most:
            raise InputError(f"{path}: {name} of {number} coefficients, FLAME has {most}")
    offset = np.zeros((count, 3), np.float32)
    if "static_offset" in arrays:
        offset = _offsets(path, arrays, "static_offset", count)[0]
    moving = None
    if "dynamic_offset" in arrays:
        moving = _offsets(path, arrays, "dynamic_offset", count)
    focal = None
    if "focal_length" in arrays:
        focal = float(_numbers(path, arrays, "focal_length").reshape(-1)[0])
        if not 1e-2 < focal < 1e3:
            raise InputError(f"{path}: focal_length {focal}, expected shares of the longer side")
    return Parameters(shape, offset, per_frame, moving, focal, {path.name: file_digest(path)})


def _numbers(path: pathlib.Path, arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"{path}: {name} is missing, found {', '.join(list(arrays)[:12])}")
    value = as_kind(arrays[name], np.float32, f"{path}: {name}")
    if not value.size or not np.isfinite(value).all():
        raise InputError(f"{path}: {name} is empty or holds values that are not finite")
    return value


def _offsets(
    path: pathlib.Path, arrays: dict[str, np.ndarray], name: str, count: int
) -> np.ndarray:
    """(n, V, 3): VHAP's teeth, which it appends to FLAME's vertices, are left out."""
    value = _numbers(path, arrays, name)
    if value.ndim != 3 or value.shape[2] != 3 or value.shape[1] < count:
        raise InputError(f"{path}: {name} has shape {value.shape}, expected n x {count} x 3")
    return value[:, :count]


def posed_meshes(
    neutral: HeadModel, parameters: Parameters, options: Options
) -> tuple[RowFile, np.ndarray]:
    """(N, V, 3) meshes in head space and (N, 4, 4) head to world."""
    import jax

    values = parameters.per_frame
    count = len(values["expr"])
    rows = options.rows(np.shape(neutral.template))
    frames = np.tile(np.eye(4), (count, 1, 1))
    apply = jax.jit(_block)
    for start in range(0, count, _BLOCK):
        # Padded with the last frame, so that one program serves all blocks.
        ids = np.minimum(np.arange(start, start + _BLOCK), count - 1)
        moving = None if parameters.moving is None else parameters.moving[ids]
        found = apply(neutral, {name: value[ids] for name, value in values.items()}, moving)
        kept = min(_BLOCK, count - start)
        vertices, rotation, shift = (np.asarray(part)[:kept] for part in found)
        rows.append(vertices)
        frames[start : start + kept, :3, :3] = rotation
        frames[start : start + kept, :3, 3] = shift
        options.tell("meshes", start + kept, count)
    return rows, frames


def _block(neutral: HeadModel, values: dict[str, np.ndarray], moving: np.ndarray | None):
    """Meshes in head space (n, V, 3), and the rotation (n, 3, 3) and shift (n, 3) to the world."""
    import jax.numpy as jnp

    parts = ("rotation", "neck_pose", "jaw_pose", "eyes_pose")
    rotations = flame_rotations(jnp.concatenate([values[name] for name in parts], -1))
    shaped = shaped_vertices(neutral, None, values["expr"])
    shaped = shaped if moving is None else shaped + moving
    skeleton = neutral.skeleton
    assert skeleton is not None
    joints = head_joints(neutral, shaped)
    turned, placed = posed_joints(skeleton, joints, rotations)
    rotation = turned[:, _NECK]
    shift = placed[:, _NECK] - jnp.einsum("nij,nj->ni", rotation, joints[:, _NECK])
    corrected = pose_corrected(skeleton, shaped, rotations)
    posed = skinned(skeleton, shaped, corrected, rotations)
    inside = jnp.einsum("nji,nvj->nvi", rotation, posed - shift[:, None])
    return inside, rotation, shift + values["translation"]


def coefficients(parameters: Parameters) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, E) expression, jaw, eyes and neck, and their names."""
    values = parameters.per_frame
    names = list(flame_names(values["expr"].shape[1]))
    for name in _POSED:
        names += [f"{name}_{k}" for k in range(values[name].shape[1])]
    scores = [values["expr"], *(values[name] for name in _POSED)]
    return np.concatenate(scores, 1).astype(np.float32), tuple(names)
