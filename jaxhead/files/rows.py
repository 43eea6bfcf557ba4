"""Numbers per frame kept on disk, so that memory does not grow with the length of a clip."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

BLOCK = 256


class RowFile:
    """Rows of one shape and type in a file without a name, read like an array's first axis.

    Only the rows asked for are in memory, each time as a new array. The file vanishes with the
    object and with the process, however that ends.

        rows = RowFile(folder, (478, 3))
        rows.append(points)  # (k, 478, 3)
        some = rows[[3, 17]]  # (2, 478, 3)
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        row: tuple[int, ...],
        dtype: Any = np.float32,
    ):
        """Makes an empty file.

        Args:
            folder: on the disk that shall hold it; None for the system's temporary folder.
            row: shape of one row.
            dtype: of the numbers.
        """
        self.dtype = np.dtype(dtype)
        self._row = tuple(int(side) for side in row)
        self._bytes = math.prod(self._row) * self.dtype.itemsize
        self._count = 0
        # Without a buffer of its own: rows are read and written in blocks.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *shape of a row)."""
        return (self._count, *self._row)

    @property
    def ndim(self) -> int:
        """Number of axes, that of the rows included."""
        return 1 + len(self._row)

    @property
    def nbytes(self) -> int:
        """Size of all rows in bytes."""
        return self._count * self._bytes

    def append(self, rows: np.ndarray) -> None:
        """Adds rows (k, *row) at the end."""
        rows = self._fitting(rows)
        self._write(self._count, rows)
        self._count += len(rows)

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """All rows in order, `size` at a time."""
        for start in range(0, self._count, size):
            yield self[start : start + size]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Rows by number, slice, or (k,) numbers or (N,) bool; always a new array."""
        if isinstance(index, int | np.integer):
            number = int(index) + (self._count if index < 0 else 0)
            if not 0 <= number < self._count:
                raise IndexError(f"row {index} of {self._count}")
            return self._read(number, 1)[0]
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            if step == 1:
                return self._read(start, max(0, stop - start))
        numbers = np.arange(self._count)[index]
        if numbers.ndim != 1:
            raise IndexError("rows are chosen by one number, slice or list")
        # Runs of consecutive rows are read at once.
        cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
        parts = [self._read(int(run[0]), len(run)) for run in np.split(numbers, cuts) if len(run)]
        return np.concatenate(parts) if parts else np.empty((0, *self._row), self.dtype)

    def __setitem__(self, index: slice, rows: np.ndarray) -> None:
        """Replaces the rows of a slice of step 1."""
        start, stop, step = index.indices(self._count)
        rows = self._fitting(rows)
        if step != 1 or len(rows) != stop - start:
            raise IndexError(f"{len(rows)} rows for {index}")
        self._write(start, rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory."""
        if copy is False:
            raise ValueError("rows of a file can only be copied")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def close(self) -> None:
        """Gives the disk space back; nothing can be read afterwards."""
        self._file.close()

    def _fitting(self, rows: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(rows, self.dtype)
        if rows.shape[1:] != self._row:
            raise ValueError(f"rows of shape {rows.shape[1:]}, expected {self._row}")
        return rows

    def _write(self, start: int, rows: np.ndarray) -> None:
        self._file.seek(start * self._bytes)
        data = rows.data.cast("B") if rows.size else memoryview(b"")
        while data:
            data = data[self._file.write(data) :]

    def _read(self, start: int, count: int) -> np.ndarray:
        rows = np.empty((count, *self._row), self.dtype)
        data = rows.data.cast("B") if rows.size else memoryview(b"")
        self._file.seek(start * self._bytes)
        while data:
            done = self._file.readinto(data)
            if not done:
                raise EOFError(f"row {start} of {self._count} is cut off")
            data = data[done:]
        return rows
