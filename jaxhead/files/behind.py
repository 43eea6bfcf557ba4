"""Work that nobody waits for at once: done in order, on a thread of its own."""

from __future__ import annotations

import collections
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Behind:
    """Runs calls one after the other while the caller goes on, at most a few calls behind.

    For writing files and whatever else leaves Python's lock free. An error of a call is raised by
    a later `do` or at the end of the block; after any error the calls that wait are dropped.

        with Behind() as behind:
            for picture in pictures:
                behind.do(write, picture)
    """

    def __init__(self, most: int = 4):
        """Args: most: calls that may wait, each with its arguments in memory."""
        self._most = most
        self._waiting: collections.deque[Future] = collections.deque()

    def __enter__(self) -> Behind:
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def do(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Calls `call(*arguments)` after all that came before; waits where too many do."""
        while len(self._waiting) >= self._most or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(call, *arguments))
