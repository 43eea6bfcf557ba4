"""Triangle meshes on disk: OBJ and PLY in, OBJ out; the order of vertices and faces is kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxhead.files.atomic import new_file
from jaxhead.files.errors import InputError

_MAX_BYTES = 512 << 20
_MAX_HEADER = 1 << 16
_SCALARS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


class MeshFile(NamedTuple):
    """What a file holds of a mesh.

    Attributes:
      vertices: (V, 3) float32.
      faces: (F, 3) int32.
    """

    vertices: np.ndarray
    faces: np.ndarray


def read_mesh(path: str | os.PathLike) -> MeshFile:
    """The triangles of an OBJ or PLY file, by its suffix.

    OBJ: lines "v" (further columns than x, y, z are left out) and "f" (texture and normal numbers
    are left out, negative numbers count from the end). PLY: ASCII or binary, either byte order.

    Raises:
      InputError: missing, another suffix, damaged, not finite, faces that are no triangles or that
        name vertices that are not there.
    """
    path = Path(path)
    readers = {".obj": _read_obj, ".ply": _read_ply}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: suffix {path.suffix!r}, expected .obj or .ply")
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a mesh")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_BYTES}")
    try:
        vertices, faces = readers[path.suffix.lower()](path)
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise InputError(f"{path}: damaged mesh ({str(error)[:120]})") from None
    return _checked(path, vertices, faces)


def write_obj(path: str | os.PathLike, vertices: ArrayLike, faces: ArrayLike) -> None:
    """Writes vertices (V, 3) with nine digits, which is all of float32, and faces (F, 3)."""
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in np.asarray(vertices, float).tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (np.asarray(faces) + 1).tolist()]
    with new_file(path, overwrite=True, sync=False) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    points, corners = [], []
    for line in path.read_bytes().decode("latin-1").split("\n"):
        if line.startswith("v "):
            points.append(line.split()[1:4])
        elif line.startswith("f "):
            face = line.split()[1:]
            if len(face) != 3:
                raise InputError(f"{path}: a face of {len(face)} corners, expected triangles")
            corners.append([corner.partition("/")[0] for corner in face])
    vertices = np.array(points, np.float64).reshape(-1, 3)
    faces = np.array(corners, np.int64).reshape(-1, 3)
    if np.any(faces == 0):
        raise InputError(f"{path}: a face names vertex 0, expected numbers from 1")
    return vertices, np.where(faces > 0, faces - 1, faces + len(vertices))


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = path.read_bytes()
    end = data.find(b"end_header", 0, _MAX_HEADER)
    start = data.find(b"\n", end) + 1 if end >= 0 else 0
    if not data.startswith(b"ply") or not start:
        raise InputError(f"{path}: not a PLY file, its header has no beginning or no end")
    form, elements = _ply_header(path, data[:end].decode("latin-1").split("\n"))
    if form == "ascii":
        return _ply_ascii(path, data[start:], elements)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[form]
    found = {}
    for name, count, properties in elements:
        kind = _ply_row(path, name, properties, order)
        if count * kind.itemsize > len(data) - start:
            raise InputError(f"{path}: cut off, {count} rows of {name} are announced")
        found[name] = np.frombuffer(data, kind, count, start)
        start += count * kind.itemsize
    rows = found["vertex"]
    faces = found["face"] if "face" in found else np.zeros(0, [("n", "u1"), ("list", "i4", (3,))])
    if np.any(faces["n"] != 3):
        raise InputError(f"{path}: faces of other than 3 corners, expected triangles")
    return np.stack([rows[axis] for axis in "xyz"], -1).astype(np.float64), faces["list"]


def _ply_header(path: Path, lines: list[str]) -> tuple[str, list[tuple[str, int, list]]]:
    """The format and (element, rows, properties); a property is its words after the first."""
    form, elements = "", []
    for line in lines:
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
            if elements[-1][1] < 0:
                raise InputError(f"{path}: {words[2]} rows of {words[1]}, expected at least 0")
        elif words[:1] == ["property"]:
            elements[-1][2].append(words[1:])
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise InputError(f"{path}: format {form!r}, expected ascii or binary PLY")
    names = [element[0] for element in elements]
    if "vertex" not in names or set(names) - {"vertex", "face"} or len(set(names)) != len(names):
        raise InputError(f"{path}: elements {', '.join(names)}, expected vertex and face")
    return form, elements


def _ply_row(path: Path, name: str, properties: list, order: str) -> np.dtype:
    fields = []
    for words in properties:
        if words[0] != "list":
            fields.append((words[1], order + _SCALARS[words[0]]))
            continue
        if name != "face" or words[3] not in ("vertex_indices", "vertex_index"):
            raise InputError(f"{path}: a list {words[3]!r} of {name}, expected vertex_indices")
        fields += [("n", order + _SCALARS[words[1]]), ("list", order + _SCALARS[words[2]], (3,))]
    return np.dtype(fields)


def _ply_ascii(path: Path, data: bytes, elements: list) -> tuple[np.ndarray, np.ndarray]:
    lines = data.decode("latin-1").split("\n")
    vertices, faces = np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    for name, count, properties in elements:
        rows = [line.split() for line in lines[:count]]
        lines = lines[count:]
        if len(rows) < count:
            raise InputError(f"{path}: cut off, {count} rows of {name} are announced")
        if name == "vertex":
            columns = [words[-1] for words in properties]
            place = [columns.index(axis) for axis in "xyz"]
            vertices = np.array([[row[k] for k in place] for row in rows], float).reshape(-1, 3)
        else:
            if any(row[0] != "3" for row in rows):
                raise InputError(f"{path}: faces of other than 3 corners, expected triangles")
            faces = np.array([row[1:4] for row in rows], np.int64).reshape(-1, 3)
    return vertices, faces


def _checked(path: Path, vertices: np.ndarray, faces: np.ndarray) -> MeshFile:
    with np.errstate(over="ignore"):
        points = vertices.astype(np.float32)
    if not len(points):
        raise InputError(f"{path}: holds no vertices")
    if not np.isfinite(points).all():
        raise InputError(f"{path}: vertices that are not finite")
    if faces.dtype.kind not in "iu":
        raise InputError(f"{path}: face indices of type {faces.dtype}, expected integers")
    if faces.size and (faces.min() < 0 or faces.max() >= len(points)):
        raise InputError(f"{path}: a face names vertex {faces.max()} of {len(points)}")
    return MeshFile(points, faces.astype(np.int32))
