"""Progress of a stream of frames, or of many videos: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxhead.training.progress import duration

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_SHARES = 60.0


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


@contextlib.contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A progress(stage, done, total) that shows one counter after the other."""
    with contextlib.ExitStack() as stack:
        counters: dict[str, Counter] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in counters:
                stack.close()
                counters[stage] = stack.enter_context(Counter(stage, total))
            counters[stage].reach(done, total)

        yield progress


class Videos:
    """Counts finished videos aloud on stderr, each with a line; use as a context manager.

    Args:
        total: how many videos there are.
    """

    def __init__(self, total: int):
        self._total = total
        self._shares: dict[int, float] = {}
        self._ended = self._free = 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Videos:
        self._start = self._last = time.monotonic()
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("videos"),
                progress.BarColumn(),
                progress.TextColumn("{task.description}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._note(), total=self._total)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()

    def share(self, video: int, share: float) -> None:
        """So much of a video, by its number, is done."""
        self._shares[video] = share
        now = time.monotonic()
        if self._bar is not None:
            self._show()
        elif now - self._last >= _SECONDS_BETWEEN_SHARES:
            self._last = now
            print(self._note(), file=sys.stderr, flush=True)

    def ended(self, video: int, line: str, *, free: bool) -> None:
        """A video is finished; `line` says how; `free` where that took no time worth counting."""
        self._shares.pop(video, None)
        self._ended += 1
        self._free += free
        if self._free == self._ended:
            self._start = time.monotonic()
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
            self._show()
        else:
            print(f"{line} ({self._note()})", file=sys.stderr, flush=True)

    def _show(self) -> None:
        done = self._ended + sum(self._shares.values())
        self._bar.update(self._task, completed=done, description=self._note())

    def _note(self) -> str:
        """How many of how many, and how long the rest takes at the rate of what took time."""
        done = self._ended - self._free + sum(self._shares.values())
        rest = self._total - self._free - done
        left = ""
        if done > 0 and rest > 1e-9:
            left = f", {duration((time.monotonic() - self._start) * rest / done)} left"
        return f"{self._ended}/{self._total}{left}"
