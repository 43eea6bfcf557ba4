"""NumPy arrays on disk: header sizes are checked before memory is taken; never a pickle."""

import hashlib
import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from jaxhead.files.atomic import new_file
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile

_MAX_MEMBERS = 100_000
_GIB = 1 << 30


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, fortran order, dtype) of the .npy stream; it stands at the data afterwards."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, order, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, order, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise InputError(f"{name}: .npy version {version}, expected 1.0 or 2.0")
    if dtype.hasobject:
        raise InputError(f"{name}: holds Python objects (dtype {dtype}), expected plain numbers")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise InputError(f"{name}: shape {shape}, expected sizes of at least 0")
    return shape, order, dtype


def _size(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def _file(path: str | os.PathLike, what: str) -> Path:
    try:
        if Path(path).is_file():
            return Path(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r}: not a usable path ({error})") from error
    raise InputError(f"{path}: no such file, expected {what}")


def read_npz(path: str | os.PathLike, *, max_bytes: int = 4 * _GIB) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by name.

    Every member's header is read and the sizes are summed before the first array is allocated; a
    member whose stored length differs from what its header says is refused, and so are pickles.

    Args:
        path: the archive.
        max_bytes: bound on the sum of all arrays, in bytes.

    Raises:
        InputError: missing, not an archive, damaged, too large, or with anything else than plain
        arrays.
    """
    path = _file(path, "an .npz archive")
    return _read_archive(path, str(path), max_bytes)


def unpack_npz(data: bytes, name: str, *, max_bytes: int = _GIB) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive that is in memory; as careful as `read_npz`.

    Args:
        data: the bytes of the archive.
        name: where it came from, for messages.
        max_bytes: bound on the sum of all arrays, in bytes.

    Raises:
        InputError: as `read_npz` does.
    """
    return _read_archive(io.BytesIO(data), name, max_bytes)


def _read_archive(source: Path | IO[bytes], path: str, max_bytes: int) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            _check_members(path, archive, members, max_bytes)
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    name = member.filename.removesuffix(".npy")
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
            return arrays
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: needs more memory than there is") from error
    except Exception as error:  # zip, zlib and header parsers raise a dozen kinds on damaged data
        raise InputError(f"{path}: damaged or not an .npz archive ({str(error)[:200]})") from error


def _check_members(
    path: str, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], max_bytes: int
) -> None:
    if len(members) > _MAX_MEMBERS:
        raise InputError(f"{path}: {len(members)} members, expected at most {_MAX_MEMBERS}")
    total, names = 0, set()
    for member in members:
        label = f"{path}: member {member.filename!r}"
        if not member.filename.endswith(".npy") or member.filename in names:
            raise InputError(f"{label} is not one array of its own name")
        names.add(member.filename)
        with archive.open(member) as file:
            shape, _, dtype = _header(file, label)
            start = file.tell()
        size = _size(shape, dtype)
        total += size
        if total > max_bytes:
            raise InputError(f"{label} of shape {shape} exceeds the limit of {max_bytes} bytes")
        if member.file_size - start != size:
            raise InputError(
                f"{label} holds {member.file_size - start} bytes, its shape {shape} needs {size}"
            )


def as_kind(value: np.ndarray | RowFile, kind: np.typing.DTypeLike, what: str) -> np.ndarray:
    """An array out of a file as the `kind` that the program computes with; its values stay.

    Args:
        value: any array.
        kind: a float, an integer or the boolean dtype.
        what: file and name of the array, for messages.

    Raises:
        InputError: not such numbers (fractions for an integer, text, dates), or out of its range.
    """
    value, kind = np.asarray(value), np.dtype(kind)
    if value.dtype.kind not in ("fiub" if kind.kind == "f" else "iub"):
        raise InputError(f"{what} has dtype {value.dtype}, expected {kind}")
    if kind.kind in "iu" and value.size:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        if value.min() < low or value.max() > high:
            raise InputError(f"{what} has values {value.min()} to {value.max()}, expected {kind}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which checks refuse
        return value.astype(kind, copy=False)


def write_npz(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray | RowFile], *, compress: bool = True
) -> None:
    """Writes arrays to an .npz archive at once, replacing a former one; equal input, equal bytes.

    Args:
        path: the archive; it keeps the name as given.
        arrays: plain arrays by name; Python objects are refused (ValueError). Rows of a file are
            copied in blocks.
        compress: deflate the members.
    """
    plain = _plain(arrays)
    needed = sum(value.nbytes for value in plain.values())
    with new_file(path, overwrite=True, needed=needed) as temporary:
        _write_archive(temporary, plain, compress)


def pack_npz(arrays: Mapping[str, np.ndarray], *, compress: bool = False) -> bytes:
    """The bytes of an .npz archive of plain arrays; equal input, equal bytes (see `write_npz`)."""
    target = io.BytesIO()
    _write_archive(target, _plain(arrays), compress)
    return target.getvalue()


def _plain(arrays: Mapping[str, np.ndarray | RowFile]) -> dict[str, np.ndarray | RowFile]:
    plain = {
        name: value if isinstance(value, RowFile) else np.asarray(value)
        for name, value in arrays.items()
    }
    for name, value in plain.items():
        if value.dtype.hasobject:
            raise ValueError(f"array {name!r} has dtype {value.dtype}, expected plain numbers")
    return plain


def _write_archive(
    target: Path | IO[bytes], plain: Mapping[str, np.ndarray | RowFile], compress: bool
) -> None:
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", kind) as archive:
        for name, value in plain.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_member(member, value)


def _write_member(member: IO[bytes], value: np.ndarray | RowFile) -> None:
    if isinstance(value, np.ndarray):
        np.lib.format.write_array(member, value, allow_pickle=False)
        return
    header = {"descr": value.dtype.str, "fortran_order": False, "shape": value.shape}
    np.lib.format.write_array_header_1_0(member, header)
    for block in value.blocks():
        member.write(block.tobytes())


def read_npy_mmap(path: str | os.PathLike) -> np.ndarray:
    """A read-only memory map of an .npy file, whose length is checked against its header first.

    Raises:
        InputError: missing, damaged, cut off, or holding Python objects.
    """
    path = _file(path, "an .npy file")
    try:
        with open(path, "rb") as file:
            shape, order, dtype = _header(file, str(path))
            start = file.tell()
        size, stored = _size(shape, dtype), path.stat().st_size - start
        if stored != size:
            raise InputError(f"{path}: holds {stored} bytes, its shape {shape} needs {size}")
        if size == 0:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", start, shape, "F" if order else "C")
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: damaged or not an .npy file ({str(error)[:200]})") from error


def digest(source: str | os.PathLike | Mapping[str, np.ndarray] | np.ndarray) -> str:
    """The SHA-256 of a file's bytes, or of arrays (names, dtypes, shapes, values), 64 hex digits.

    Arrays are taken in the order of their names and in C order, so the digest depends neither on
    the order of the mapping nor on strides.

    Raises:
        InputError: a path that is not a readable file.
    """
    result = hashlib.sha256()
    if isinstance(source, str | os.PathLike):
        path = _file(source, "a file to take the checksum of")
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    result.update(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        return result.hexdigest()
    arrays = source if isinstance(source, Mapping) else {"": source}
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        array = np.ascontiguousarray(array).reshape(array.shape)
        result.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        result.update(array.tobytes())
    return result.hexdigest()
