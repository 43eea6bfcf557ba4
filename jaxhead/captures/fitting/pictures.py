"""Pictures of a clip as the photometric fit looks at them: blurred, in batches, evened out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from jaxhead.captures.batches import batches

BATCH = 8
_GREY = 0.3


def blurred(
    pictures: Callable[[], Iterable[np.ndarray]], wanted: np.ndarray, blur: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers (B,) and blurred pictures (B, S, S, 3) of the wanted frames, see `batches`."""
    for ids, batch in batches(pictures, wanted, BATCH):
        yield ids, gaussian_filter(np.stack(batch), (0, blur, blur, 0), mode="nearest")


def evened(pictures: np.ndarray, local: float) -> np.ndarray:
    """Pictures (T, S, S, 3) whose local mean is one grey."""
    if not local:
        return pictures
    mean = gaussian_filter(pictures, (0, local, local, 0), mode="nearest")
    return pictures - mean + np.float32(_GREY)
