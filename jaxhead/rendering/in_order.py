"""Pictures one after the other, a few under way together."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import numpy as np

AT_ONCE = 2
"""Pictures under way together, each in the memory of a few of its chunks."""


def in_order(
    render: Callable[[Any], Mapping[str, Any]], requests: Iterable[Any]
) -> Generator[dict[str, np.ndarray], None, None]:
    """Pictures of requests, in their order: one alone leaves cores idle at its small steps.

    Args:
      render: a request to the arrays of its picture; called from `AT_ONCE` other threads.
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
