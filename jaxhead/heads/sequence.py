"""A sequence of meshes with one topology, read from OBJ or PLY files: a head that has no model."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.mesh_files import MeshFile, read_mesh
from jaxhead.files.rows import RowFile
from jaxhead.heads.model import HeadModel
from jaxhead.heads.uv import around_uv

_SUFFIXES = (".obj", ".ply")


class MeshSequence(NamedTuple):
    """One mesh that moves.

    Attributes:
      template: (V, 3) float32 metres, the canonical mesh.
      faces: (F, 3) int32.
      vertices: (T, V, 3) float32 metres per file, on disk.
      files: T paths.
    """

    template: np.ndarray
    faces: np.ndarray
    vertices: RowFile
    files: tuple[Path, ...]


def mesh_files(folder: str | os.PathLike) -> tuple[Path, ...]:
    """The meshes of a folder in the order of the numbers in their names: 2.obj before 10.obj.

    Raises:
      InputError: no folder, or no .obj or .ply in it.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place}: no such folder, expected one of .obj or .ply meshes")
    found = [path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES]
    if not found:
        raise InputError(f"{place}: holds no .obj or .ply mesh")
    return tuple(sorted(found, key=_natural))


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    # Digits of every script are \d, but not all are numbers to int().
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]


def read_sequence(
    files: Sequence[str | os.PathLike],
    *,
    template: str | os.PathLike | None = None,
    metres_per_unit: float = 1.0,
    folder: str | os.PathLike | None = None,
) -> MeshSequence:
    """The meshes of `files`, whose vertices and faces must be the same in number and order.

    Args:
      files: one mesh per frame, see `mesh_files`.
      template: the canonical mesh; None for the first.
      metres_per_unit: of all of them.
      folder: where the vertices are kept while the program runs; None for the system's.

    Raises:
      InputError: a file is missing, damaged or has another topology than the template; it is named.
    """
    if not files:
        raise InputError("no meshes, expected at least one .obj or .ply file")
    paths = tuple(Path(path) for path in files)
    first = Path(template) if template is not None else paths[0]
    canonical = read_mesh(first)
    vertices = RowFile(folder, canonical.vertices.shape)
    for path in paths:
        mesh = read_mesh(path)
        _check_topology(path, mesh, first, canonical)
        vertices.append(mesh.vertices[None] * np.float32(metres_per_unit))
    scaled = canonical.vertices * np.float32(metres_per_unit)
    return MeshSequence(scaled, canonical.faces, vertices, paths)


def _check_topology(path: Path, mesh: MeshFile, first: Path, canonical: MeshFile) -> None:
    sizes = len(mesh.vertices), len(mesh.faces)
    expected = len(canonical.vertices), len(canonical.faces)
    if sizes != expected:
        raise InputError(
            f"{path}: has {sizes[0]} vertices and {sizes[1]} faces, {first.name} has {expected[0]} "
            f"and {expected[1]}: all meshes need one topology"
        )
    if not np.array_equal(mesh.faces, canonical.faces):
        row = int((mesh.faces != canonical.faces).any(1).argmax())
        raise InputError(
            f"{path}: face {row} is {mesh.faces[row].tolist()}, in {first.name} it is "
            f"{canonical.faces[row].tolist()}: all meshes need one topology"
        )


def sequence_head(sequence: MeshSequence, *, name: str = "sequence") -> HeadModel:
    """Returns a head model of the template alone: no components, no joints, no landmarks."""
    count = len(sequence.template)
    none = np.zeros((0, count, 3), np.float32)
    return HeadModel(
        template=sequence.template,
        faces=sequence.faces,
        identity_basis=none,
        expression_basis=none,
        uv=around_uv(sequence.template),
        regions=np.zeros(count, np.int32),
        landmark_faces=np.zeros(0, np.int32),
        landmark_weights=np.zeros((0, 3), np.float32),
        name=name,
    )
