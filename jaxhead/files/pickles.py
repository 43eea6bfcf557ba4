"""Pickles of published head models, read as plain data: nothing in a file is imported or called.

FLAME, its landmark embeddings, masks and the like come as pickles of Python 2 or 3. What they need
is a dozen names (arrays, sparse matrices, chumpy's wrapper, tensors); a file that names anything
else is refused in one line that names the file and what it asked for.
"""

import io
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxhead.files.containers import local_file
from jaxhead.files.errors import InputError, about
from jaxhead.files.pickle_names import find_plain
from jaxhead.files.pickle_plain import Budget, array, plain
from jaxhead.files.torch_stream import storage_from_bytes
from jaxhead.files.torch_types import find_tensors
from jaxhead.files.unpickling import Find, guarded, unpickle

_GIB = 1 << 30
_NPY = b"\x93NUMPY"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_pickle(path: str | os.PathLike, *, max_bytes: int = _GIB) -> Any:
    """The content of a pickle, or of an .npy or .npz file whose arrays may hold objects.

    Args:
        path: the file; Python 2's text is read as Latin-1.
        max_bytes: bound on the file's length, and on what is made of it beyond that.

    Returns:
        Dictionaries, lists, tuples, numbers, text, bytes and read-only NumPy arrays. A chumpy
        object is its array, a tensor an array, a sparse matrix is dense, a set is a sorted list;
        an array of objects is a list, or its only item. A chumpy object without an array is the
        text `<its name>`.

    Raises:
        InputError: missing, damaged, too large, or asking for anything else.
    """
    path = local_file(path, "a pickle")
    with about(path):
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(f"has {size} bytes, the limit is {max_bytes}")
        budget = Budget(max_bytes)
        finders = (find_plain(budget), find_tensors(budget, storage_from_bytes(budget)))
        return guarded(lambda: _read(path.read_bytes(), budget, finders))


def _read(data: bytes, budget: Budget, finders: Sequence[Find]) -> Any:
    if data[:2] == b"PK":
        return _read_archive(data, budget, finders)
    if data[:6] == _NPY:
        return _read_npy(data, finders)
    return plain(unpickle(data, 0, finders)[0])


def _read_npy(data: bytes, finders: Sequence[Find]) -> Any:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise InputError(f".npy version {version}, expected 1.0 or 2.0")
    shape, fortran, dtype = _HEADERS[version](stream)
    if not dtype.hasobject:
        return array(data[stream.tell() :], dtype, shape, fortran=fortran)
    return plain(unpickle(data, stream.tell(), finders)[0])


def _read_archive(data: bytes, budget: Budget, finders: Sequence[Find]) -> dict[str, Any]:
    result = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in result:
                raise InputError(f"member {member.filename[:80]!r} is not one array of its own")
            budget.spend(member.file_size)
            result[name] = _read_npy(archive.read(member), finders)
    return result
