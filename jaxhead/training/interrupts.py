"""Ctrl-C and SIGTERM as a request to save and stop."""

from __future__ import annotations

import signal
import threading


class Interrupts:
    """While the block runs, SIGTERM and SIGINT only set `name`; a second SIGINT interrupts at once.

    Attributes:
      name: "SIGTERM", "SIGINT" or None.
    """

    def __init__(self):
        self.name: str | None = None
        self._former: dict[int, object] = {}

    def _handle(self, number: int, frame) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
