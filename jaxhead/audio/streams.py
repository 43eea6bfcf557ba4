"""Features that are computed while they are read: memory does not grow with a sound's length."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxhead.files.atomic import new_file
from jaxhead.files.rows import RowFile


class FeatureStream(NamedTuple):
    """Rows in the making.

    Attributes:
        count: number of rows, known beforehand.
        blocks: the rows in order, (n, W) float32 at a time; can be gone through once.
    """

    count: int
    blocks: Iterator[np.ndarray]


class Extractor(NamedTuple):
    """A kind of feature with the network it needs.

    Attributes:
        rate: rows per second.
        beyond: (W,) float32, what stands for rows before the sound and behind it.
        stream: (S,) float32 samples at 16 kHz to their rows.
    """

    rate: float
    beyond: np.ndarray
    stream: Callable[[np.ndarray | RowFile], FeatureStream]


def gathered(stream: FeatureStream, width: int) -> np.ndarray:
    """Returns (count, width) float32: all rows in memory."""
    rows = np.zeros((stream.count, width), np.float32)
    done = 0
    for block in stream.blocks:
        rows[done : done + len(block)] = block
        done += len(block)
    assert done == stream.count, f"{done} rows of {stream.count}"
    return rows


def write_stream(path: str | os.PathLike, stream: FeatureStream, width: int) -> None:
    """Writes (count, width) float32 rows to an .npy file as they are made; appears when complete.

    Args:
        path: the file; one that exists is replaced.
        stream: the rows.
        width: of a row.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    shape = (stream.count, width)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    needed = stream.count * width * 4 + 128
    with (
        new_file(path, overwrite=True, needed=needed) as temporary,
        open(temporary, "wb") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        done = 0
        for block in stream.blocks:
            file.write(np.ascontiguousarray(block, "<f4").tobytes())
            done += len(block)
        assert done == stream.count, f"{done} rows of {stream.count}"
