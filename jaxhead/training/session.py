"""One stage of one training: dispatch, log, sample, validate, save, stop."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import jaxhead
from jaxhead.training import checkpoints, nonfinite, processes, runs
from jaxhead.training.agreement import Agreement
from jaxhead.training.checkpoint_writer import Checkpoints
from jaxhead.training.devices import Device, first_to_host, layout_words
from jaxhead.training.driving import LoopConfig, NonFiniteError, OnSample, TrainResult
from jaxhead.training.feeding import Feeding
from jaxhead.training.interrupts import Interrupts
from jaxhead.training.metrics_log import MetricsLog, ordered
from jaxhead.training.progress import Progress, duration
from jaxhead.training.restoring import begin, checkpoint_folder
from jaxhead.training.revising import Revising, all_made
from jaxhead.training.state import parameter_count
from jaxhead.training.stepping import Stepper
from jaxhead.training.system import Stage

LONGEST_DISPATCH = 2.0
"""Seconds: a signal is answered between dispatches, so they are kept shorter than this."""


class Session:
    """One stage of one training. Order: restore, compile, measure, then the loop, then close.

    Args:
      stages, index: the recipe, and which of its stages.
      run: with the lengths that are known.
      loop: how to drive it.
      devices: local devices.
      progress, interrupts: shared by all stages.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        index: int,
        run: runs.Run,
        loop: LoopConfig,
        devices: Sequence[Device],
        progress: Progress,
        interrupts: Interrupts,
    ):
        self.stages, self.stage = stages, stages[index]
        self.run, self.loop, self.devices = run, loop, list(devices)
        self.progress = progress
        self.agreement = Agreement(self.devices, interrupts)
        self.first = processes.is_first()
        self.folder = checkpoint_folder(run.path, self.stage.name)
        self.layout = {"devices": len(self.devices), "processes": jax.process_count()}
        self.pending: collections.deque[tuple[int, int, Any, Any]] = collections.deque()
        self.limit = loop.steps_per_dispatch
        self.loss = math.nan
        self.excluded = 0.0

    def run_stage(self, on_sample: OnSample | None) -> TrainResult:
        """Train the stage to its end, or until a signal comes."""
        started = time.monotonic()
        self.on_sample = on_sample
        beginning = begin(self.stage, self.run.path, seed=self.run.seed, say=self.progress.say)
        self.step = self.first_step = int(beginning.state.step)
        total = self.run.steps.get(self.stage.name)
        if total is not None and self.step >= total and all_made(
            self.stage, self.run.path, total
        ):
            self.progress.say(f"{self.stage.name}: finished, at step {self.step} of {total}")
            return self._result(total, 0.0, 0.0)
        self._announce(beginning.layout, beginning.state.params)
        length = self.loop.steps_per_dispatch
        with contextlib.ExitStack() as stack:
            self.feeding = Feeding(
                self.stage, self.devices, length, self.step, beginning.positions
            )
            stack.callback(self.feeding.close)
            self.stepper = Stepper(
                self.stage, seed=self.run.seed, devices=self.devices, length=length,
                state=beginning.state, frozen=beginning.frozen,
            )  # fmt: skip
            compile_seconds = self._compile(started)
            if total is None:
                total = self._measure()
                self.stepper.place(beginning.state)
            saved = self.step if beginning.restored else None
            del beginning
            self._open_outputs(saved)
            stack.callback(self._close_writer)
            stack.callback(self.log.close)
            self.revising = Revising(
                self.stage, self.run.path, self.feeding, self.step, total, self.progress.say
            )
            self.feeding.open()
            seconds = self._loop(total)
        return self._result(total, compile_seconds, seconds)

    def _open_outputs(self, saved: int | None) -> None:
        self.writer: Any = processes.Silent()
        self.log: Any = processes.Silent()
        if self.first:
            self.writer = Checkpoints(self.folder, keep=self.loop.keep, saved=saved)
            self.log = MetricsLog(
                self.run.path, stage=self.stage.name,
                order=tuple(stage.name for stage in self.stages), step=self.step,
                say=self.progress.say,
            )  # fmt: skip

    def _announce(self, layout, params) -> None:
        name, say = self.stage.name, self.progress.say
        if layout is None:
            say(f"{name}: {parameter_count(params):,} parameters")
            return
        say(f"{name}: goes on from the checkpoint of step {self.step}")
        if layout != self.layout:
            there, here = layout_words(layout), layout_words(self.layout)
            say(f"{name}: it was written on {there}, this is {here}: results are equal within "
                "rounding, not bit for bit")  # fmt: skip

    def _compile(self, started: float) -> float:
        """Compile, by a dispatch of no steps; returns the seconds since the stage began."""
        self.stepper.dispatch(self.feeding.arrays, self.feeding.example_rows(), 0, 1)
        self.stepper.wait()
        seconds = time.monotonic() - started
        self.progress.say(
            f"{self.stage.name}: ready after {seconds:.1f} s of loading and compiling, "
            f"{layout_words(self.layout)}"
        )
        return seconds

    def _measure(self) -> int:
        """Steps that fit in the run's minutes, from a trial; fixed in run.json."""
        assert self.run.minutes is not None
        weight = self.stage.steps / sum(stage.steps for stage in self.stages)
        budget = 60.0 * self.run.minutes * weight
        per_step = self.stepper.step_time(
            self.feeding.arrays, self.feeding.example_rows(), min(3.0, 0.05 * budget)
        )
        total = processes.from_first(lambda: max(self.step + 1, int(budget / per_step)))
        steps = {**self.run.steps, self.stage.name: total}
        self.run = dataclasses.replace(self.run, steps=steps)
        if self.first:
            self.run.write()
        self.progress.say(
            f"{self.stage.name}: {1e3 * per_step:.1f} ms per step, so {duration(budget)} "
            f"are {total} steps, from now on the length of this run"
        )
        return total

    def _loop(self, total: int) -> float:
        started = self.last_save = self.last_fetch = self.last_log = time.monotonic()
        self.last_logged_step, self.per_step = self.step, 0.0
        self.progress.start(self.stage.name, self.step, total)
        self._revise(total)
        while self.step < total and self.agreement.signal is None:
            self.feeding.refresh(self.step)
            count = self._count(total)
            rows = self.feeding.rows(count)
            metrics = self.stepper.dispatch(self.feeding.arrays, rows, count, total)
            votes = self.agreement.vote(late=self._late(), per_step=self.per_step)
            self.pending.append((self.step, count, metrics, votes))
            self.step += count
            self._fetch(self.loop.ahead, total)
            self.writer.check()
            self._revise(total)
            self._between(total)
        self._fetch(0, total)
        seconds = time.monotonic() - started - self.excluded
        if self.agreement.signal:
            self.progress.say(f"{self.agreement.signal}: saving step {self.step}")
        self._save()
        self.writer.wait()
        if self.step >= total:
            self._sample()
        return seconds

    def _count(self, total: int) -> int:
        """Steps of the next dispatch: up to the next thing that the host has to do."""
        periods = [self.loop.sample_every, self.loop.save_every_steps, *self.feeding.periods()]
        periods.append(self.loop.validate_every)
        ends = [total, *self.revising.ends()] + [(self.step // p + 1) * p for p in periods if p]
        return min(self.limit, min(ends) - self.step)

    def _fetch(self, leave: int, total: int) -> None:
        """Wait until at most `leave` dispatches are under way; log what the others measured."""
        while len(self.pending) > leave:
            start, count, metrics, votes = self.pending.popleft()
            self.agreement.count(votes)
            stopped = bool(first_to_host(metrics.pop("stopped")))
            last = start + count
            logged = [s for s in range(start + 1, last + 1)
                      if s == 1 or s % self.loop.log_every == 0]  # fmt: skip
            if stopped:
                self._stop(start, first_to_host(metrics))
            if logged or not self.pending:
                values = first_to_host(metrics)
                self.loss = float(values["loss"][count - 1])
                for step in logged:
                    row = {name: float(v[step - 1 - start]) for name, v in values.items()}
                    self.log.metrics(step, ordered(row))
            self._pace(last, count, total, bool(logged))

    def _pace(self, step: int, count: int, total: int, logged: bool) -> None:
        """Times for the log and the person, and a bound on the length of dispatches."""
        now = time.monotonic()
        self.per_step = (now - self.last_fetch) / count
        self.last_fetch = now
        slowest = self.agreement.pace(self.per_step)
        if slowest * self.limit > LONGEST_DISPATCH:
            self.limit = max(1, int(LONGEST_DISPATCH / slowest))
        elapsed = max(now - self.last_log, 1e-9)
        rate = (step - self.last_logged_step) / elapsed
        if logged and step > self.last_logged_step:
            self.log.times(step, {"seconds": round(elapsed, 4), "steps_per_second": round(rate, 3)})
            self.last_log, self.last_logged_step = now, step
        self.progress.update(step, total, rate, self.loss)

    def _stop(self, start: int, values: dict[str, np.ndarray]) -> None:
        """Raise for the step that was not finite; leave a note of it in the run."""
        step = self.stepper.step() + 1
        row = {name: float(v[step - 1 - start]) for name, v in values.items()}
        name = nonfinite.first_bad(row)
        self.log.flush()
        if self.first:
            nonfinite.dump(
                self.run, self.stage.name, step, row,
                positions=self.feeding.positions(), layout=self.layout,
            )  # fmt: skip
        self.writer.wait()
        kept = checkpoints.steps_in(self.folder)
        raise NonFiniteError(
            f"{self.run.path}: {self.stage.name}: {name} is not finite at step {step}; nothing "
            f"of that step was applied; last checkpoint: {f'step {kept[-1]}' if kept else 'none'}; "
            "--replay looks at it again"
        )

    def _revise(self, total: int) -> None:
        """Measure anew what is due now; cut short by a signal, the next start does it."""
        if not self.revising.due(self.step) or self.agreement.signal:
            return
        self._fetch(0, total)
        now = time.monotonic()
        cut = self.revising.revise(self.stepper.variables, lambda: self.agreement.own)
        if cut is not None:
            self.agreement.stop(cut)
        self._exclude(now)

    def _exclude(self, since: float) -> None:
        """What was done since then is no time of stepping."""
        spent = time.monotonic() - since
        self.excluded += spent
        self.last_log += spent
        self.last_fetch += spent

    def _late(self) -> bool:
        every = self.loop.save_every_seconds
        return every > 0 and time.monotonic() - self.last_save >= every

    def _between(self, total: int) -> None:
        """Sample, validate and save where it is time to."""
        loop = self.loop
        sample = loop.sample_every and self.step % loop.sample_every == 0 and self.step < total
        score = (loop.validate_every and self.step % loop.validate_every == 0
                 and self.stepper.validates)  # fmt: skip
        save = loop.save_every_steps and self.step % loop.save_every_steps == 0
        late = self.agreement.late
        if not (sample or score or save or late):
            return
        self._fetch(0, total)
        now = time.monotonic()
        if score or save or late:
            self._save(self._validate() if score else None)
        if sample:
            self._sample()
        self._exclude(now)

    def _validate(self) -> float | None:
        """Log the validation's metrics; returns its score."""
        rows = self.feeding.validation_rows()
        values = self.stepper.validate(self.feeding.arrays["validate"], rows)
        self.log.metrics(self.step, {f"validate/{name}": v for name, v in values.items()})
        score = values.get("score", math.nan)
        return score if math.isfinite(score) else None

    def _sample(self) -> None:
        if self.on_sample is None or not self.first:
            return
        folder = self.run.path / "samples"
        folder.mkdir(exist_ok=True)
        self.on_sample(self.stage, self.step, self.stepper.variables(), folder)

    def _save(self, score: float | None = None) -> None:
        self.log.flush()
        state, positions = self.stepper.host_state(), self.feeding.positions()
        if jax.process_count() > 1:
            leaves = dict(zip(checkpoints.leaf_names(state), jax.tree.leaves(state)))
            digest = checkpoints.seal({"leaves": checkpoints.describe(leaves), "at": positions})
            what = f"{self.folder}: step {self.step}, digest of the state"
            processes.require_same(what, digest["crc32"])
        meta = {"stage": self.stage.name, "feeds": positions,
                "layout": self.layout, "code": jaxhead.__version__}  # fmt: skip
        self.writer.save(self.step, state, meta, score)
        self.agreement.saved()
        self.last_save = time.monotonic()

    def _close_writer(self) -> None:
        # A failure to write was reported by save, check or wait: this must not hide it.
        with contextlib.suppress(checkpoints.CheckpointError):
            self.writer.close()

    def _result(self, total: int, compile_seconds: float, seconds: float) -> TrainResult:
        return TrainResult(
            run=self.run, step=self.step, steps=total, interrupted=self.agreement.signal,
            loss=self.loss, compile_seconds=compile_seconds, seconds=seconds,
            steps_per_second=(self.step - self.first_step) / seconds if seconds > 0 else 0.0,
        )  # fmt: skip
