"""The weights in a frozen TensorFlow graph (`output_graph.pb`), without TensorFlow.

A frozen graph is a protocol buffer (`GraphDef`) whose variables are nodes of kind `Const`. Only
these are read, by their position in the bytes; no operation of the graph is looked at or run.
"""

import os
from collections.abc import Iterator

import numpy as np

from jaxhead.files.containers import local_file
from jaxhead.files.errors import InputError

_MAX_BYTES = 4 << 30
_MAX_NODES = 1_000_000
# A value that stands for a whole tensor: more of them in all than weights need is a bomb.
_MAX_REPEATED, _SLACK = 1 << 20, 64 << 20
_KINDS = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 19: np.dtype("<f2")}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_frozen_graph(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns float32 arrays by the names of the nodes that hold them.

    Constants of other kinds than float are left out (shapes, axes, text).

    Raises:
        InputError: missing, not such a file, damaged or larger than 4 GiB.
    """
    path = local_file(path, "a frozen TensorFlow graph (.pb)")
    size = path.stat().st_size
    if not 0 < size <= _MAX_BYTES:
        raise InputError(f"{path}: {size} bytes, expected 1 to {_MAX_BYTES}")
    try:
        # Mapped, so that only what is looked at is read.
        return _constants(np.memmap(path, np.uint8, "r").data)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path}: damaged or not a frozen TensorFlow graph ({str(error)[:100]})"
        ) from error


def _constants(graph: memoryview) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    nodes = held = 0
    for field, node in _fields(graph):
        if field != 1:
            continue
        nodes += 1
        if nodes > _MAX_NODES:
            raise ValueError(f"more than {_MAX_NODES} nodes")
        name, tensor = _constant(_message(node))
        if tensor is None:
            continue
        if name in found:
            raise ValueError(f"two nodes called {name!r}")
        found[name] = tensor
        held += tensor.nbytes
        # Numbers of half precision take twice their place.
        if held > 2 * len(graph) + _SLACK:
            raise ValueError("declares more numbers than it holds")
    if not nodes:
        raise ValueError("no nodes")
    return found


def _constant(node: memoryview) -> tuple[str, np.ndarray | None]:
    """Name and value of a node, None for anything but a constant of floats."""
    name, kind, value = "", "", None
    for field, part in _fields(node):
        if field == 1:
            name = _text(part)
        elif field == 2:
            kind = _text(part)
        elif field == 5:
            entry = {number: item for number, item in _fields(_message(part))}
            if 1 in entry and 2 in entry and _text(entry[1]) == "value":
                value = entry[2]
    if kind != "Const" or value is None:
        return name, None
    for field, part in _fields(_message(value)):
        if field == 8:
            return name, _tensor(_message(part))
    return name, None


def _tensor(message: memoryview) -> np.ndarray | None:
    """A copy, so that nothing refers to the file."""
    kind, shape, content, values = 0, (), None, []
    for field, part in _fields(message):
        if field == 1:
            kind = part
        elif field == 2:
            shape = _shape(_message(part))
        elif field == 4:
            content = _message(part)
        elif field == 5:  # single floats, one by one or packed
            values.append(part if isinstance(part, bytes) else bytes(_message(part)))
    if kind not in _KINDS:
        return None
    count = int(np.prod([int(side) for side in shape], dtype=object)) if shape else 1
    if content is not None:
        array = np.frombuffer(content, _KINDS[kind])
    else:
        array = np.frombuffer(b"".join(values), "<f4")
        # One value stands for all of them.
        if len(array) == 1 and count <= _MAX_REPEATED:
            array = np.full(count, array[0])
    if len(array) != count:
        raise ValueError(f"{len(array)} values for the shape {shape}")
    return array.astype(np.float32).reshape(shape)


def _shape(message: memoryview) -> tuple[int, ...]:
    sides = []
    for field, part in _fields(message):
        if field == 2:
            entry = {number: item for number, item in _fields(_message(part))}
            side = entry.get(1, 0)
            if not isinstance(side, int) or not 0 <= side < 1 << 40:
                raise ValueError("a side of a shape is not a number")
            sides.append(side)
    if len(sides) > 8:
        raise ValueError(f"{len(sides)} axes")
    return tuple(sides)


def _fields(message: memoryview) -> Iterator[tuple[int, int | bytes | memoryview]]:
    """(number, value) of each field: an integer, 4 or 8 bytes, or a part of the message."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
            value, at = bytes(message[at : at + length]), at + length
        elif kind == _BYTES:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"field of kind {kind}")
        if at > end:
            raise ValueError("cut off")
        yield key >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("cut off")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _message(value: int | bytes | memoryview) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number where a message was expected")
    return value


def _text(value: int | bytes | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8")
