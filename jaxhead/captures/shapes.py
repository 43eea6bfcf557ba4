"""Shapes of a clip smoothed in time: a few modes by their own strengths, the rest by one.

A clip's shapes can fill the memory, so they stay in files and pass through it in blocks: of frames
where all coordinates of a frame are needed, of coordinates where all frames of one are.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from jaxhead.captures.smoothing import choose_strength, filled_rows, smooth
from jaxhead.files.rows import BLOCK, RowFile

_MODES = 48
_MOST_FRAMES = 600
_COLUMNS = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Modes:
    """Principal components of shapes: mean (C,) and rows (K, C), float32."""

    mean: np.ndarray
    rows: np.ndarray

    def loads(self, shapes: RowFile) -> np.ndarray:
        """(M, K) share of each mode in the rows (M, C)."""
        return np.concatenate([(x - self.mean) @ self.rows.T for x in shapes.blocks()])


def shape_modes(shapes: RowFile, train: np.ndarray) -> Modes:
    """Modes of some training frames.

    Args:
      shapes: (M, C) of the measured frames.
      train: (M,) bool.
    """
    ids = np.flatnonzero(train)
    sample = shapes[ids[:: max(1, len(ids) // _MOST_FRAMES)]]
    mean = sample.mean(0)
    return Modes(mean, np.linalg.svd(sample - mean, full_matrices=False)[2][:_MODES])


def smooth_shapes(
    shapes: RowFile,
    modes: Modes,
    loads: np.ndarray,
    measured: np.ndarray,
    train: np.ndarray,
    folder: str | os.PathLike | None,
) -> tuple[RowFile, float]:
    """Smooth shapes of all frames, and the strength for what the modes leave.

    Args:
      shapes: (M, 3 V) of the measured frames.
      modes: its principal components.
      loads: (N, K) of all frames, smooth already.
      measured: (N,) bool, M of them True; train: (N,) bool.
      folder: where the result is kept.

    Returns:
      rows (N, V, 3) float32; strength of `smoothing.smooth`.
    """
    columns = shapes.shape[1]
    groups = [slice(start, start + _COLUMNS) for start in range(0, columns, _COLUMNS)]
    rest = [RowFile(folder, (len(range(columns)[group]),)) for group in groups]
    some = []
    for block in shapes.blocks():
        block = block - modes.mean
        block = block - (block @ modes.rows.T) @ modes.rows
        some.append(block[:, :: max(1, columns // _COLUMNS)])
        for group, file in zip(groups, rest):
            file.append(block[:, group])
    strength = choose_strength(filled_rows(np.concatenate(some), measured)[train])
    smoothed = []
    for file in rest:
        filled = filled_rows(file[:], measured)
        file.close()
        smoothed.append(RowFile(folder, file.shape[1:]))
        smoothed[-1].append(smooth(filled, strength))
    result = RowFile(folder, (columns // 3, 3))
    for start in range(0, len(measured), BLOCK):
        part = slice(start, start + BLOCK)
        block = np.concatenate([file[part] for file in smoothed], axis=1)
        block += loads[part] @ modes.rows + modes.mean
        result.append(block.reshape(len(block), -1, 3))
    for file in smoothed:
        file.close()
    return result, strength
