"""The compiled step of a stage with what it keeps on the devices."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxhead.training import processes
from jaxhead.training.devices import Device, first, first_to_host, replicate
from jaxhead.training.dispatch import build_step, build_validate
from jaxhead.training.state import TrainState, variables_of
from jaxhead.training.system import Stage, Variables

Tree = Any


class Stepper:
    """State, frozen arrays and compiled functions of one stage.

    Args:
      stage: the recipe.
      seed: of the run.
      devices: local devices.
      length: most steps of one dispatch.
      state: where to begin, host arrays.
      frozen: see `Variables.frozen`, host arrays.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        seed: int,
        devices: Sequence[Device],
        length: int,
        state: TrainState,
        frozen: Tree,
    ):
        self._devices = list(devices)
        self._length = length
        self._step, root = build_step(
            stage, seed=seed, devices=devices, steps_per_dispatch=length
        )
        self._validate = None
        if stage.system.validate is not None and "validate" in stage.feeds:
            self._validate = build_validate(stage, seed=seed, devices=devices)
        self._root = replicate(root, self._devices)
        self._frozen = replicate(frozen, self._devices)
        self.place(state)

    @property
    def validates(self) -> bool:
        """Whether the stage has something to validate with."""
        return self._validate is not None

    def place(self, state: TrainState) -> None:
        """Begin (again) at a state; also forgets that a step was not finite."""
        self._state = replicate(state, self._devices)
        self._stopped = replicate(np.zeros((), np.bool_), self._devices)

    def dispatch(self, arrays: Mapping[str, Tree], rows: Tree, count: int, total: int) -> Tree:
        """Enqueue `count` steps of a stage of `total` steps; returns their metrics, still on the
        way.
        """
        shape = (len(self._devices),)
        self._state, self._stopped, metrics = self._step(
            self._state, self._stopped, self._frozen, arrays, rows,
            np.full(shape, count, np.int32), np.full(shape, total, np.int32), self._root,
        )
        return metrics

    def wait(self) -> None:
        """Return when everything that was enqueued has run."""
        jax.block_until_ready(self._state)

    def step_time(self, arrays: Mapping[str, Tree], rows: Tree, seconds: float) -> float:
        """Seconds per step: the median over full dispatches in about `seconds`; changes the state.
        """
        self.dispatch(arrays, rows, 1, 1000)
        self.wait()

        def timed() -> float:
            start = time.monotonic()
            self.dispatch(arrays, rows, self._length, 1000)
            self.wait()
            return (time.monotonic() - start) / self._length

        times = [timed()]
        # All processes must dispatch equally often.
        more = processes.from_first(lambda: int(seconds / max(times[0] * self._length, 1e-6)))
        times += [timed() for _ in range(more)]
        return sorted(times)[len(times) // 2]

    def validate(self, arrays: Tree, rows: Tree) -> dict[str, float]:
        """The metrics of `System.validate` on its one batch."""
        assert self._validate is not None
        found = first_to_host(self._validate(self._state, self._frozen, arrays, rows))
        return {name: float(value) for name, value in found.items()}

    def step(self) -> int:
        """Finished steps; waits for the devices."""
        return int(first_to_host(self._state.step))

    def host_state(self) -> TrainState:
        """The state as NumPy arrays of its own; waits for the devices."""
        return first_to_host(self._state)

    def variables(self) -> Variables:
        """What rendering would use now: moving averages where there are any, on the first device.
        """
        return variables_of(first(self._state), first(self._frozen), ema=True)
