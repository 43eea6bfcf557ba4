"""Pictures of a clip in batches of one size, so that one program serves all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np


def batches(
    pictures: Callable[[], Iterable[np.ndarray]], wanted: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Frame ids (B,) and pictures of the wanted frames, `size` of them at a time.

    The last batch repeats its last frame, which writes the same result twice.

    Args:
      pictures: gives the pictures of all frames; wanted: (N,) bool; size: B.
    """
    ids: list[int] = []
    batch: list[np.ndarray] = []
    last = int(np.flatnonzero(wanted).max(initial=-1))
    for index, picture in enumerate(pictures()):
        if index > last:
            break
        if not wanted[index]:
            continue
        ids.append(index)
        batch.append(picture)
        if len(ids) == size or index == last:
            short = size - len(ids)
            yield np.array(ids + ids[-1:] * short), batch + batch[-1:] * short
            ids, batch = [], []
