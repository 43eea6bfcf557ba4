"""The .safetensors format: a JSON table of names, dtypes, shapes and places, then the numbers.

The format (huggingface/safetensors, README) is a header length of 8 bytes, the header, and a buffer
without gaps. Read here, since two of its dtypes have no NumPy type without ml_dtypes and what the
header says is checked against the file before memory is taken.
"""

import json
import math
import os
from typing import Any

import numpy as np

from jaxhead.files.containers import local_file
from jaxhead.files.errors import InputError, about
from jaxhead.files.torch_types import dtype_named
from jaxhead.files.unpickling import guarded

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}  # fmt: skip
_MAX_HEADER = 10_000_000


def read_safetensors(path: str | os.PathLike, *, max_bytes: int = 8 << 30) -> dict[str, np.ndarray]:
    """The read-only arrays of a .safetensors file by name.

    Args:
        path: the file.
        max_bytes: bound on its length.

    Raises:
        InputError: missing, damaged, too large, or with a header that contradicts the file.
    """
    path = local_file(path, "a .safetensors file")
    with about(path):
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(f"has {size} bytes, the limit is {max_bytes}")
        return guarded(lambda: _read(path.read_bytes()), "a .safetensors file")


def _read(data: bytes) -> dict[str, np.ndarray]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER, len(data) - 8):
        raise InputError(f"declares a header of {length} bytes, the file has {len(data)}")
    header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    if type(header) is not dict:
        raise InputError("has a header that is not an object")
    header.pop("__metadata__", None)
    rest = memoryview(data)[8 + length :]
    ends = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    if [end for _, end in ends[:-1]] != [begin for begin, _ in ends[1:]] or (
        ends and (ends[0][0], ends[-1][1]) != (0, len(rest))
    ):
        raise InputError(f"has arrays that overlap or do not fill its {len(rest)} bytes")
    return {name: _array(name, entry, rest) for name, entry in header.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise InputError("names an array twice")
    return dict(pairs)


def _array(name: str, entry: dict[str, Any], rest: memoryview) -> np.ndarray:
    label = f"array {name[:80]!r}"
    if entry["dtype"] not in _DTYPES:
        raise InputError(f"{label} has dtype {str(entry['dtype'])[:20]!r}, which is not supported")
    dtype, shape = dtype_named(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise InputError(f"{label} has shape {str(shape)[:60]} at bytes {begin} to {end}")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise InputError(f"{label} of shape {shape} and {dtype} has {end - begin} bytes")
    if dtype == np.bool_:  # any byte but 0 means true, where NumPy expects 1
        return (np.frombuffer(rest[begin:end], np.uint8) != 0).reshape(shape)
    return np.frombuffer(rest[begin:end], dtype).reshape(shape)
