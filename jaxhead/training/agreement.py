"""What all processes of a training do at the same step, though only some know a reason for it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from jaxhead.training.devices import Device, first_to_host, of_all_processes
from jaxhead.training.interrupts import Interrupts
from jaxhead.training.system import AXIS_NAME


class Agreement:
    """Signals, times to save and the pace of the slowest process, known to all at the same step.

    With several processes, each casts its votes behind every dispatch: a collective of three
    numbers, whose maximum is read when the dispatch's metrics are. With one process a vote counts
    at once.

    Args:
      devices: local devices.
      interrupts: signals of this process.

    Attributes:
      late: whether it is time to save.
    """

    def __init__(self, devices: Sequence[Device], interrupts: Interrupts):
        self._interrupts = interrupts
        self._local = len(devices)
        self._signal: str | None = None
        self._count = None
        self.late, self._slowest = False, 0.0
        if jax.process_count() > 1:
            self._count = jax.pmap(
                lambda votes: lax.pmax(votes, AXIS_NAME), axis_name=AXIS_NAME,
                devices=of_all_processes(devices),
            )  # fmt: skip

    @property
    def signal(self) -> str | None:
        """Name of the signal at which the training stops, or None."""
        return self._interrupts.name if self._count is None else self._signal

    @property
    def own(self) -> str | None:
        """Name of the signal that this process got, or None."""
        return self._interrupts.name

    def stop(self, name: str) -> None:
        """Stop for that signal without a vote; all call this at the same step."""
        self._signal = self._signal or name

    def vote(self, *, late: bool, per_step: float) -> Any:
        """Cast this process's votes; `count` takes the result when the dispatch is over."""
        if self._count is None:
            self.late = late
            return None
        name = self._interrupts.name
        number = signal.Signals[name].value if name else 0
        votes = np.array([number, late and jax.process_index() == 0, per_step], np.float32)
        return self._count(np.tile(votes, (self._local, 1)))

    def count(self, votes: Any) -> None:
        """Take over what all voted."""
        if votes is None:
            return
        number, late, self._slowest = (float(x) for x in first_to_host(votes))
        self.late = self.late or late > 0
        if number and self._signal is None:
            self._signal = signal.Signals(int(number)).name

    def pace(self, per_step: float) -> float:
        """Seconds per step of the slowest process; this one's are `per_step`."""
        return per_step if self._count is None else self._slowest

    def saved(self) -> None:
        """A save has begun: the next one is a new question."""
        self.late = False
