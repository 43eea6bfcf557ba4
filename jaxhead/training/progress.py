"""What a person sees while a run goes: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO


def duration(seconds: float) -> str:
    """'1:02:03', '4:05' or '7 s' for a number of seconds."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Lines and, on a terminal, a bar with steps per second and the time that is left.

    Args:
      quiet: print nothing at all.
      stream: standard error by default, so that standard output stays for results.
      every: seconds between two plain lines where there is no terminal.
    """

    def __init__(
        self, *, quiet: bool = False, stream: TextIO | None = None, every: float = 10.0
    ):
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._every = every
        self._bar = None
        self._task = None
        self._last = -float("inf")
        self._tty = not quiet and bool(getattr(self._stream, "isatty", lambda: False)())

    def say(self, line: str) -> None:
        """One line, above the bar."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._stream, flush=True)

    def start(self, name: str, done: int, total: int) -> None:
        """Begin a stage of `total` steps of which `done` are finished."""
        self._name, self._last = name, time.monotonic()
        if not self._tty:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"), console=Console(file=self._stream),
        )
        self._bar.start()
        self._task = self._bar.add_task(name, total=total, completed=done, note="")

    def update(self, done: int, total: int, rate: float, loss: float | None) -> None:
        """Show the finished steps, the rate (steps/s) and the last logged loss."""
        if self._quiet:
            return
        left = (total - done) / rate if rate > 0 else float("inf")
        note = f"{rate:.1f} steps/s" if rate > 0 else ""
        note += f", {duration(left)} left" if rate > 0 else ""
        note += f", loss {loss:.5g}" if loss is not None else ""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif time.monotonic() - self._last >= self._every or done >= total:
            self._last = time.monotonic()
            print(f"{self._name} {done}/{total}: {note}", file=self._stream, flush=True)

    def stop(self) -> None:
        """End the bar; idempotent."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
