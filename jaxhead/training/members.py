"""One of several subjects that train together: its run, its feeds, its logs and checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

import jaxhead
from jaxhead.training import checkpoints, nonfinite, runs
from jaxhead.training.checkpoint_writer import Checkpoints
from jaxhead.training.devices import layout_words
from jaxhead.training.driving import LoopConfig, NonFiniteError, OnSample, TrainResult
from jaxhead.training.feeding import Feeding
from jaxhead.training.metrics_log import MetricsLog, ordered
from jaxhead.training.restoring import begin, checkpoint_folder
from jaxhead.training.revising import Revising, all_made
from jaxhead.training.state import TrainState, parameter_count, variables_of
from jaxhead.training.system import Stage

Tree = Any


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is trained in one run.

    Attributes:
      stages: the recipe. Subjects of one training differ in arrays alone: names, functions,
        optimisers, batches and the shapes of the learned state agree. Arrays of feeds and
        `Variables.frozen` may differ in size: the smaller ones end in zeros, which the system's
        functions must not look at.
      run: the run folder, as `training.loop.train` takes it.
      on_sample: see `training.loop.train`.
    """

    stages: tuple[Stage, ...]
    run: pathlib.Path
    on_sample: OnSample | None = None


class Member:
    """A subject within one stage, on the host.

    Args:
      subject: it.
      index: of the stage.
      run: with the lengths that are known.
      loop: how the training is driven.
      say: gets lines for the person.

    Attributes:
      step: finished steps, those that were dispatched counted.
      frozen: see `Variables.frozen`.
      loss: the last fetched one.
    """

    def __init__(
        self, subject: Subject, index: int, run: runs.Run, loop: LoopConfig,
        say: Callable[[str], None],
    ):  # fmt: skip
        self.subject, self.stage, self.run, self._loop = subject, subject.stages[index], run, loop
        self.name = run.path.name
        self.folder = checkpoint_folder(run.path, self.stage.name)
        self._say = say
        start = begin(self.stage, run.path, seed=run.seed, say=say)
        self.state: TrainState | None = start.state
        self.frozen, self._positions, self._former = start.frozen, start.positions, start.layout
        self.step = self.first_step = int(start.state.step)
        self.loss = math.nan
        self._closing = contextlib.ExitStack()

    @property
    def total(self) -> int | None:
        """Steps of the stage, None where they are not known yet."""
        return self.run.steps.get(self.stage.name)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.total is not None and self.step >= self.total and all_made(
            self.stage, self.run.path, self.total
        )

    def announce(self, layout: Mapping[str, int]) -> None:
        """Say where it begins."""
        assert self.state is not None
        self.layout = layout
        name = f"{self.name}: {self.stage.name}"
        if self._former is None:
            self._say(f"{name}: {parameter_count(self.state.params):,} parameters")
            return
        self._say(f"{name}: goes on from the checkpoint of step {self.step}")
        if dict(self._former) != dict(layout):
            there, here = layout_words(self._former), layout_words(layout)
            self._say(f"{name}: it was written on {there}, this is {here}: results are equal "
                      "within rounding, not bit for bit")  # fmt: skip

    def open_feeds(self, length: int) -> None:
        """Make the feeds' arrays for dispatches of at most `length` steps."""
        self.feeding = Feeding(self.stage, None, length, self.step, self._positions)
        self._closing.callback(self.feeding.close)
        self.spare_rows = self.feeding.example_rows()

    def open_outputs(self) -> None:
        """Open logs and the writer of checkpoints, and start reading ahead."""
        saved = self.step if self._former is not None else None
        self.writer = Checkpoints(self.folder, keep=self._loop.keep, saved=saved)
        self._closing.callback(self._close_writer)
        order = tuple(stage.name for stage in self.subject.stages)
        self.log = MetricsLog(
            self.run.path, stage=self.stage.name, order=order, step=self.step, say=self._say
        )
        self._closing.callback(self.log.close)
        self.feeding.open()

    def open_revisions(self) -> None:
        """Bring the feeds to what was measured anew before; needs the length."""
        assert self.total is not None
        self.revising = Revising(
            self.stage, self.run.path, self.feeding, self.step, self.total, self._say
        )

    def revise(self, state: TrainState, signal: Callable[[], str | None]) -> None:
        """Measure anew what is due."""
        self.revising.revise(lambda: variables_of(state, self.frozen, ema=True), signal)

    def fix_length(self, steps: int) -> None:
        """Write down how long the stage is."""
        known = {**self.run.steps, self.stage.name: steps}
        self.run = dataclasses.replace(self.run, steps=known).write()

    def record(self, start: int, count: int, values: Mapping[str, np.ndarray]) -> bool:
        """Log what `count` steps after `start` measured; returns whether a line was due."""
        self.loss = float(values["loss"][count - 1])
        due = [s for s in range(start + 1, start + count + 1)
               if s == 1 or s % self._loop.log_every == 0]  # fmt: skip
        for step in due:
            row = {name: float(v[step - 1 - start]) for name, v in values.items()}
            self.log.metrics(step, ordered(row))
        return bool(due)

    def stop(self, start: int, step: int, values: Mapping[str, np.ndarray]) -> NonFiniteError:
        """The error for a step (from 1) that was not finite, of which a note stays in the run."""
        row = {name: float(v[step - 1 - start]) for name, v in values.items()}
        nonfinite.dump(
            self.run, self.stage.name, step, row,
            positions=self.feeding.positions(), layout=self.layout,
        )  # fmt: skip
        kept = checkpoints.steps_in(self.folder)
        return NonFiniteError(
            f"{self.run.path}: {self.stage.name}: {nonfinite.first_bad(row)} is not finite at step "
            f"{step}; nothing of that step was applied; last checkpoint: "
            f"{f'step {kept[-1]}' if kept else 'none'}; --replay on this run looks at it again, "
            "the others go on without it from their own checkpoints"
        )

    def save(self, state: TrainState, score: float | None = None) -> None:
        """Begin to write a checkpoint."""
        self.log.flush()
        meta = {"stage": self.stage.name, "feeds": self.feeding.positions(),
                "layout": dict(self.layout), "code": jaxhead.__version__}  # fmt: skip
        self.writer.save(self.step, state, meta, score)

    def sample(self, state: TrainState) -> None:
        """Make the pictures of this step."""
        if self.subject.on_sample is None:
            return
        folder = self.run.path / "samples"
        folder.mkdir(exist_ok=True)
        variables = variables_of(state, self.frozen, ema=True)
        self.subject.on_sample(self.stage, self.step, variables, folder)

    def _close_writer(self) -> None:
        # A failure to write was reported by save, check or wait: this must not hide it.
        with contextlib.suppress(checkpoints.CheckpointError):
            self.writer.close()

    def close(self) -> None:
        """End threads and close files."""
        self._closing.close()

    def result(self, interrupted: str | None, compiled: float, seconds: float) -> TrainResult:
        """How it ended."""
        return TrainResult(
            run=self.run, step=self.step, steps=self.total or self.step, interrupted=interrupted,
            loss=self.loss, compile_seconds=compiled, seconds=seconds,
            steps_per_second=(self.step - self.first_step) / seconds if seconds > 0 else 0.0,
        )  # fmt: skip


def require_alike(members: Sequence[Member]) -> None:
    """ValueError when the learned state of a member is of another shape than that of the first."""
    first = members[0]

    def shapes(member: Member) -> dict[str, str]:
        assert member.state is not None
        names = checkpoints.leaf_names(member.state)
        leaves = jax.tree.leaves(member.state)
        return {name: f"{x.dtype}{list(x.shape)}" for name, x in zip(names, leaves)}

    wanted = shapes(first)
    for member in members[1:]:
        found = shapes(member)
        for name in [*wanted, *found]:
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"{member.run.path}: {name} is {found.get(name)}, that of {first.run.path} "
                    f"{wanted.get(name)}: what trains together has one shape"
                )
