"""Reads MediaPipe's canonical face out of the landmark model file, without running any of it.

The `.task` file is a zip; its member `geometry_pipeline_metadata_landmarks.binarypb` is a protocol
buffer: field 1 the mesh (field 3: floats x y z u v per vertex in centimetres, field 4: triangle
indices, counter-clockwise), field 2 repeated: the weighted landmarks of the Procrustes fit that
defines the head's pose (field 1 landmark, field 2 weight).
"""

import os
import struct
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxhead.files.errors import InputError

_MEMBER = "geometry_pipeline_metadata_landmarks.binarypb"
# The real member has 19 kB: a larger claim is not this file, and is refused before it is unpacked.
_MAX_BYTES = 1 << 20
_VERTICES = 468


class CanonicalFace(NamedTuple):
    """MediaPipe's canonical face.

    Attributes:
      vertices: (468, 3) float32 metres in head space.
      faces: (F, 3) int32, counter-clockwise seen from the front; eyes and mouth are covered.
      uv: (468, 2) float32 in [0, 1], v grows downwards.
      procrustes_index: (P,) int32 landmarks that define the head's pose.
      procrustes_weights: (P,) float32 their weights.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    procrustes_index: np.ndarray
    procrustes_weights: np.ndarray


def canonical_face(task_path: str | os.PathLike[str]) -> CanonicalFace:
    """Returns the canonical face that a `face_landmarker.task` file holds.

    Args:
      task_path: the landmark model file.

    Raises:
      InputError: no such file, not a landmark model, or a damaged one.
    """
    try:
        with zipfile.ZipFile(task_path) as archive:
            if archive.getinfo(_MEMBER).file_size > _MAX_BYTES:
                raise InputError(f"{task_path}: {_MEMBER} is larger than {_MAX_BYTES} bytes")
            data = archive.read(_MEMBER)
    except FileNotFoundError:
        raise InputError(f"{task_path}: no such file, expected face_landmarker.task") from None
    except KeyError:
        raise InputError(
            f"{task_path}: holds no {_MEMBER}; expected face_landmarker.task"
        ) from None
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise InputError(f"{task_path}: not a landmark model file ({error})") from None
    try:
        face = _parse(data)
    except (ValueError, struct.error, IndexError, OverflowError) as error:
        raise InputError(f"{task_path}: {_MEMBER} is damaged ({error})") from None
    return face


def _parse(data: bytes) -> CanonicalFace:
    mesh: bytes | None = None
    basis: list[tuple[int, float]] = []
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            mesh = value
        elif field == 2 and isinstance(value, bytes):
            entry = dict(_fields(value))
            basis.append((int(entry[1]), _float(entry[2])) if len(entry) == 2 else (-1, 0.0))
    if mesh is None:
        raise ValueError("no mesh")
    floats: list[float] = []
    indices: list[int] = []
    for field, value in _fields(mesh):
        if field == 3:
            floats.append(_float(value))
        elif field == 4 and isinstance(value, int):
            indices.append(value)
    vertices = np.array(floats, np.float32).reshape(-1, 5)
    faces = np.array(indices, np.int64).reshape(-1, 3)
    index = np.array([landmark for landmark, _ in basis], np.int64)
    if len(vertices) != _VERTICES or not np.isfinite(vertices).all():
        raise ValueError(f"{len(vertices)} vertices, expected {_VERTICES} finite ones")
    if not len(faces) or faces.max() >= _VERTICES or not len(index):
        raise ValueError("triangles or pose landmarks are missing or out of range")
    if index.min() < 0 or index.max() >= _VERTICES:
        raise ValueError("pose landmarks are out of range")
    return CanonicalFace(
        vertices=vertices[:, :3] / np.float32(100),
        faces=faces.astype(np.int32),
        uv=vertices[:, 3:],
        procrustes_index=index.astype(np.int32),
        procrustes_weights=np.array([weight for _, weight in basis], np.float32),
    )


def _float(value: int | bytes) -> float:
    if not isinstance(value, bytes):
        raise ValueError("expected a 32-bit float")
    return struct.unpack("<f", value)[0]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields (field number, value) of a protocol buffer; scalars of fixed size stay bytes."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if kind == 2:
            size, position = _varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if position + size > len(data):
            raise ValueError("cut short")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("varint of more than ten bytes")
