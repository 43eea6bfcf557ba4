"""Numbers out of MATLAB's .mat files (version 5, as -v6 and -v7 save): nothing but named arrays.

The layout is MathWorks's "MAT-File Format", chapter 1. It is read here since SciPy's reader, whose
inner part is native code, ends the process on some damaged files.
"""

import math
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxhead.files.containers import local_file
from jaxhead.files.errors import InputError, about
from jaxhead.files.unpickling import guarded

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_COMPLEX = 0x0800
_HEAD_OF_VARIABLE = 4096  # flags, sizes and name lie within


def read_mat(
    path: str | os.PathLike, names: Collection[str], *, max_bytes: int = 2 << 30
) -> dict[str, np.ndarray]:
    """The arrays of `names` in a .mat file, those that are there.

    Variables of other names are skipped. Sizes are compared with what the file holds, and summed,
    before memory is taken. Text, cells, structures, objects, sparse and complex arrays are refused.

    Args:
        path: the file.
        names: the variables that are wanted.
        max_bytes: bound on the file, and on what the wanted variables unpack to.

    Raises:
        InputError: missing, damaged, too large, of another version, or a variable that is not
            numbers.
    """
    path = local_file(path, "a .mat file")
    with about(path):
        return guarded(lambda: _read(path, set(names), max_bytes), "a .mat file")


def _read(path: Path, names: set[str], max_bytes: int) -> dict[str, np.ndarray]:
    if path.stat().st_size > max_bytes:
        raise InputError(f"has {path.stat().st_size} bytes, the limit is {max_bytes}")
    data = path.read_bytes()
    head = data[:_HEADER]
    if head[:10] == b"MATLAB 7.3" or head[:8] == b"\x89HDF\r\n\x1a\n":
        raise InputError("is a .mat file of version 7.3: save it with -v7")
    if len(head) < _HEADER or head[126:128] not in (b"IM", b"MI"):
        raise InputError("is not a .mat file of version 5")
    order = "<" if head[126:128] == b"IM" else ">"
    result: dict[str, np.ndarray] = {}
    for variable in _variables(data, order, max_bytes):
        if variable.name not in names:
            continue
        if variable.name in result:
            raise InputError(f"has {variable.name!r} twice")
        result[variable.name] = _numbers(variable, order, max_bytes)
        max_bytes -= result[variable.name].nbytes
    return result


class _Variable(NamedTuple):
    """One variable: `body` holds (the beginning of) it, `packed` all of it where it is packed."""

    name: str
    kind: int
    shape: tuple[int, ...]
    body: bytes
    start: int
    size: int
    packed: bytes | None


def _variables(data: bytes, order: str, max_bytes: int) -> Iterator[_Variable]:
    place = _HEADER
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        place += 8
        if place + size > len(data):
            raise InputError(f"is cut off: a variable of {size} bytes begins at byte {place}")
        body, packed = data[place : place + size], None
        if kind == _COMPRESSED:
            packed = body
            body = zlib.decompressobj().decompress(packed, _HEAD_OF_VARIABLE)
            kind, size = struct.unpack_from(f"{order}II", body)
            body = body[8:]
            place += len(packed)
        else:
            place += size
        if kind == _MATRIX:
            yield _variable(body, order, size, packed)


def _variable(body: bytes, order: str, size: int, packed: bytes | None) -> _Variable:
    flags, place = _element(body, 0, order)
    shape, place = _element(body, place, order)
    name, place = _element(body, place, order)
    (word,) = struct.unpack_from(f"{order}I", flags)
    kind = -1 if word & _COMPLEX else word & 0xFF
    sizes = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    return _Variable(name.decode("latin-1"), kind, sizes, body, place, size, packed)


def _element(body: bytes, place: int, order: str) -> tuple[bytes, int]:
    """The content of the element at `place`, and the place of the one behind it."""
    _, start, size = _tag(body, place, order)
    if start + size > len(body):
        raise InputError(f"has an element of {size} bytes that ends behind its variable")
    return body[start : start + size], start + size + (-(start + size)) % 8


def _tag(body: bytes, place: int, order: str) -> tuple[int, int, int]:
    """Type, place and size of an element's content; up to four bytes lie in the tag itself."""
    kind, size = struct.unpack_from(f"{order}II", body, place)
    if kind >> 16:
        return kind & 0xFFFF, place + 4, min(kind >> 16, 4)
    return kind, place + 8, size


def _numbers(variable: _Variable, order: str, max_bytes: int) -> np.ndarray:
    label = repr(variable.name[:80])
    if variable.kind not in _CLASSES:
        raise InputError(f"{label} is not an array of numbers")
    if not variable.shape or any(side < 0 for side in variable.shape):
        raise InputError(f"{label} has shape {variable.shape}")
    dtype, count = np.dtype(_CLASSES[variable.kind]), math.prod(variable.shape)
    if max(count * dtype.itemsize, variable.size) > max_bytes:
        raise InputError(
            f"{label} of shape {variable.shape} exceeds the limit of {max_bytes} bytes"
        )
    body = variable.body
    if variable.packed is not None:
        unpacker = zlib.decompressobj()
        body = unpacker.decompress(variable.packed, variable.size + 8)[8:]
    kind, start, size = _tag(body, variable.start, order)
    if kind not in _STORED:
        raise InputError(f"{label} holds elements of type {kind}, expected numbers")
    stored = np.dtype(order + _STORED[kind])
    if size != count * stored.itemsize or start + size > len(body):
        raise InputError(f"{label} of shape {variable.shape} holds {size} bytes of {stored}")
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.frombuffer(body, stored, count, start).astype(dtype)
    return values.reshape(variable.shape, order="F")
