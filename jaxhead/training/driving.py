"""How a training is driven, and how it ended."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from jaxhead.files.errors import InputError
from jaxhead.training import runs
from jaxhead.training.system import Stage, Variables

OnSample = Callable[[Stage, int, Variables, pathlib.Path], None]


class NonFiniteError(InputError):
    """A loss or gradient was not finite; the parameters are those before that step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How a training is driven; nothing here changes what is learned.

    Attributes:
      steps_per_dispatch: optimiser steps that the devices run without the host, at most.
      log_every: steps between lines of metrics.jsonl (and the very first step).
      save_every_seconds: between checkpoints, 0 for none by time.
      save_every_steps: likewise in steps.
      keep: newest checkpoints that stay on disk, beside the best.
      sample_every: steps between sample pictures, 0 for only at the end.
      validate_every: steps between validations (each also a checkpoint), 0 for none.
      ahead: dispatches that may be under way while the host prepares the next. Bounded: jax 0.10
        deadlocks on several CPU devices when 32 are (their threads all wait for a free place).
      together: of several subjects, how many a device trains side by side; 0 for what suits it.
        All of them on an accelerator, most of which one subject leaves idle; one on a CPU, where
        they take turns and nothing is copied or computed for who waits (`training/many.py`).
    """

    steps_per_dispatch: int = dataclasses.field(default=8, metadata={"minimum": 1, "maximum": 4096})
    log_every: int = dataclasses.field(default=50, metadata={"minimum": 1})
    save_every_seconds: float = dataclasses.field(default=60.0, metadata={"minimum": 0.0})
    save_every_steps: int = dataclasses.field(default=0, metadata={"minimum": 0})
    keep: int = dataclasses.field(default=2, metadata={"minimum": 1})
    sample_every: int = dataclasses.field(default=0, metadata={"minimum": 0})
    validate_every: int = dataclasses.field(default=0, metadata={"minimum": 0})
    ahead: int = dataclasses.field(default=1, metadata={"minimum": 0, "maximum": 16})
    together: int = dataclasses.field(default=0, metadata={"minimum": 0, "maximum": 4096})


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
      run: the run with its fixed lengths.
      step, steps: finished and planned steps of the last stage that ran.
      interrupted: name of the signal that stopped it, or None.
      loss: the last fetched loss, NaN when no step ran.
      compile_seconds: time until the first step could run.
      seconds: time in the loop, without pictures, validations and saves.
      steps_per_second: over those seconds.
    """

    run: runs.Run
    step: int
    steps: int
    interrupted: str | None
    loss: float
    compile_seconds: float
    seconds: float
    steps_per_second: float
