"""Progress of a stream of frames: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

from jaxhead.training.progress import duration

_SECONDS_BETWEEN_LINES = 10.0


class Counter:
    """Counts finished frames aloud on stderr; use as a context manager.

    Args:
        name: what is being done.
        total: how many frames there are, None where that is not known.
    """

    def __init__(self, name: str, total: int | None = None):
        self._name, self._total, self._done = name, total, 0
        self._start = self._last = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Counter:
        self._start = self._last = time.monotonic()
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=self._total)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._done:
            self._line(f"in {duration(time.monotonic() - self._start)}")

    def advance(self) -> None:
        """One more frame is done."""
        self.reach(self._done + 1)

    def reach(self, done: int, total: int | None = None) -> None:
        """So many frames are done, of so many where the number has become known."""
        self._done, self._total = done, total if total is not None else self._total
        if self._total is not None:
            # A total that headers promise may be a frame or two short.
            self._total = max(self._total, done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total)
            return
        now = time.monotonic()
        # The first frame waits for compilation and says nothing about the others.
        self._first = self._first or (done, now)
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        if done == self._first[0]:
            self._line(f"after {duration(now - self._start)}")
            return
        rate = (done - self._first[0]) / max(now - self._first[1], 1e-9)
        left = f", {duration((self._total - done) / rate)} left" if self._total else ""
        self._line(f"({rate:.1f} frames/s{left})")

    def _line(self, note: str) -> None:
        total = f"/{self._total}" if self._total else ""
        print(f"{self._name} {self._done}{total} frames {note}", file=sys.stderr, flush=True)
