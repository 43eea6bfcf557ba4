"""Pictures of a clip as the photometric fit looks at them: blurred, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from jaxhead.captures.batches import batches

BATCH = 8


def blurred(
    pictures: Callable[[], Iterable[np.ndarray]], wanted: np.ndarray, blur: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers (B,) and blurred pictures (B, S, S, 3) of the wanted frames, see `batches`."""
    for ids, batch in batches(pictures, wanted, BATCH):
        yield ids, gaussian_filter(np.stack(batch), (0, blur, blur, 0), mode="nearest")
