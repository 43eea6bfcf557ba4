"""Pictures one after the other, a few under way together."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

AT_ONCE = 2
"""Pictures under way together, each in the memory of a few of its chunks."""


def in_order(
    render: Callable[[Any], Mapping[str, jax.Array]], requests: Iterable[Any]
) -> Iterator[dict[str, np.ndarray]]:
    """Pictures of requests, in their order: one alone leaves cores idle at its small steps.

    Args:
      render: a request to its picture; called from other threads, `AT_ONCE` times together.
      requests: read as they are needed.
    """

    def made(request: Any) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in render(request).items()}

    coming = iter(requests)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        # One more than are under way lies ready to begin.
        pending = collections.deque(
            pool.submit(made, request) for request in itertools.islice(coming, AT_ONCE + 1)
        )
        try:
            while pending:
                picture = pending.popleft().result()
                pending.extend(pool.submit(made, r) for r in itertools.islice(coming, 1))
                yield picture
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
