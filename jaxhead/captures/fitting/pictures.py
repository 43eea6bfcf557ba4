"""Pictures of a clip as the photometric fit looks at them: blurred, in batches, evened out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

BATCH = 8
_GREY = 0.3


def batches(
    pictures: Callable[[], Iterable[np.ndarray]], wanted: np.ndarray, blur: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers (B,) and blurred pictures (B, S, S, 3) of the wanted frames, in batches of one size.

    The last batch repeats its last frame.
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
        batch.append(gaussian_filter(picture, (blur, blur, 0), mode="nearest"))
        if len(ids) == BATCH or index == last:
            short = BATCH - len(ids)
            yield np.array(ids + ids[-1:] * short), np.stack(batch + batch[-1:] * short)
            ids, batch = [], []


def evened(pictures: np.ndarray, local: float) -> np.ndarray:
    """Pictures (T, S, S, 3) whose local mean is one grey."""
    if not local:
        return pictures
    mean = gaussian_filter(pictures, (0, local, local, 0), mode="nearest")
    return pictures - mean + np.float32(_GREY)
