"""The loop: build, restore, step, log, sample, save, stop."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

import jaxhead
from jaxhead.files import atomic
from jaxhead.files.errors import InputError
from jaxhead.training import checkpoints as ckpt
from jaxhead.training import runs
from jaxhead.training.devices import first, first_to_host, replicate
from jaxhead.training.feeding import Feeding
from jaxhead.training.interrupts import Interrupts
from jaxhead.training.metrics_log import MetricsLog
from jaxhead.training.progress import Progress, duration
from jaxhead.training.state import (
    TrainState,
    create_state,
    parameter_count,
    root_key,
    stream,
    variables_of,
)
from jaxhead.training.step import build_step, build_validate
from jaxhead.training.system import Carry, Stage, Variables

Tree = Any
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
      ahead: dispatches that may be under way while the host prepares the next.
    """

    steps_per_dispatch: int = dataclasses.field(default=8, metadata={"minimum": 1, "maximum": 4096})
    log_every: int = dataclasses.field(default=50, metadata={"minimum": 1})
    save_every_seconds: float = dataclasses.field(default=60.0, metadata={"minimum": 0.0})
    save_every_steps: int = dataclasses.field(default=0, metadata={"minimum": 0})
    keep: int = dataclasses.field(default=2, metadata={"minimum": 1})
    sample_every: int = dataclasses.field(default=0, metadata={"minimum": 0})
    validate_every: int = dataclasses.field(default=0, metadata={"minimum": 0})
    ahead: int = dataclasses.field(default=1, metadata={"minimum": 0, "maximum": 16})


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
      run: the run with its fixed lengths.
      step, steps: finished and planned steps of the last stage that ran.
      interrupted: name of the signal that stopped it, or None.
      loss: the last fetched loss, NaN when no step ran.
      compile_seconds: time until the first step could run.
      seconds: time in the loop; steps_per_second: over the loop, pictures and saves excluded.
    """

    run: runs.Run
    step: int
    steps: int
    interrupted: str | None
    loss: float
    compile_seconds: float
    seconds: float
    steps_per_second: float


def checkpoint_folder(run: str | pathlib.Path, stage: str) -> pathlib.Path:
    """Where a run keeps the checkpoints of a stage."""
    return pathlib.Path(run).absolute() / "checkpoints" / stage


def train(
    stages: Sequence[Stage],
    run_dir: str | pathlib.Path,
    *,
    seed: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    loop: LoopConfig | None = None,
    devices: Sequence[jax.Device] | None = None,
    on_sample: OnSample | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a recipe in a run folder, or go on with the training that the folder holds.

    Args:
      stages: run one after the other; names must differ.
      run_dir: the run (`runs.create_run`); one with an empty description is made if there is none.
      seed: of all randomness; on a run that exists it must be that run's, or None.
      steps: length over all stages, shared out by `Stage.steps`; None keeps the run's, else the
        recipe's.
      minutes: length in minutes of stepping (compilation, pictures and saves come on top): measured
        after compiling, then written to run.json as a number of steps.
      loop: how to drive it.
      devices: local devices to use, all by default.
      on_sample: (stage, step, variables, folder) called every `loop.sample_every` steps and at the
        end with the variables that rendering would use (moving averages, on one device).
      progress: where lines go; `Progress(quiet=True)` for none.

    Returns:
      A `TrainResult`; `interrupted` is set when SIGTERM or SIGINT ended the run after a save.

    Raises:
      InputError: the folder is at fault, a batch cannot be split, a checkpoint cannot be written
        or read (`CheckpointError`), or a loss was not finite (`NonFiniteError`).
    """
    loop = loop or LoopConfig()
    progress = progress or Progress()
    stages = tuple(stages)
    path = pathlib.Path(run_dir).absolute()
    if steps is not None and minutes is not None:
        raise InputError("give steps or minutes, not both")
    if len({stage.name for stage in stages}) != len(stages):
        raise ValueError("two stages have one name")
    if not runs.is_run(path):
        runs.create_run(path, system="", config={}, seed=seed or 0)
    with _lock(path), Interrupts() as interrupts:
        run = _planned(runs.load_run(path), stages, seed, steps, minutes)
        devices = list(devices or jax.local_devices())
        result = None
        try:
            for index in range(len(stages)):
                session = _Session(stages, index, run, loop, devices, progress, interrupts)
                result = session.run_stage(on_sample)
                run = result.run
                if result.interrupted:
                    break
        finally:
            progress.stop()
    assert result is not None
    return result


def _lock(path: pathlib.Path):
    try:
        from jaxhead.files.locks import RunLock
    except ImportError:
        return contextlib.nullcontext()
    return RunLock(path)


def _planned(run: runs.Run, stages, seed, steps, minutes) -> runs.Run:
    """The run with its lengths as far as they are known, written back."""
    if seed is not None and seed != run.seed:
        raise InputError(f"{run.path}: was begun with seed {run.seed}, not {seed}")
    if minutes is not None:
        if minutes == run.minutes:
            return run
        return dataclasses.replace(run, minutes=minutes, steps={}).write()
    if steps is None and (run.steps or run.minutes is not None):
        return run
    total = sum(stage.steps for stage in stages)
    share = {s.name: s.steps if steps is None else max(1, round(steps * s.steps / total))
             for s in stages}
    if share == dict(run.steps):
        return run
    return dataclasses.replace(run, minutes=None, steps=share).write()


def load_variables(
    stage: Stage,
    run_dir: str | pathlib.Path,
    *,
    seed: int,
    checkpoint: int | str = "latest",
    ema: bool = True,
    say: Callable[[str], None] = print,
) -> tuple[Variables, int]:
    """The variables of a trained stage for rendering, and their step.

    Args:
      stage: the recipe that was trained (its `system.init` gives the frozen arrays and the
        template).
      run_dir: the run.
      seed: of the run.
      checkpoint: a step, "latest" (the newest good one) or "best" (by validation score, else the
        latest).
      ema: averaged params where there are any.

    Raises:
      InputError: there is no such checkpoint, or no good one.
    """
    folder = checkpoint_folder(run_dir, stage.name)
    variables = stage.system.init(stream(root_key(seed, stage.name), "init"))
    template = jax.eval_shape(lambda v: create_state(stage, v), variables)
    if checkpoint == "best":
        checkpoint = ckpt.best_step(folder) or "latest"
    if checkpoint == "latest":
        restored, _ = ckpt.newest_good(folder, template, say)
        if restored is None:
            raise InputError(f"{folder}: no checkpoint yet")
    else:
        try:
            restored = ckpt.read_checkpoint(folder, int(checkpoint), template)
        except Exception as error:
            raise InputError(f"{folder / str(checkpoint)}: {error}") from error
    return variables_of(restored.state, variables.frozen, ema=ema), restored.step


class _Session:
    """One stage of one training: the compiled step, what lies on the devices, and the host's
    bookkeeping.
    """

    def __init__(self, stages, index, run, loop, devices, progress, interrupts):
        self.stages, self.stage = stages, stages[index]
        self.run, self.loop, self.devices = run, loop, devices
        self.progress, self.interrupts = progress, interrupts
        self.folder = checkpoint_folder(run.path, self.stage.name)
        self.pending: collections.deque = collections.deque()
        self.loss = math.nan
        self.limit = loop.steps_per_dispatch

    # -- before the first step ---------------------------------------------------------------------

    def run_stage(self, on_sample: OnSample | None) -> TrainResult:
        """Restore, compile, loop, close."""
        self.on_sample = on_sample
        begin = time.monotonic()
        restored = self._prepare()
        total = self.run.steps.get(self.stage.name)
        if total is not None and self.step >= total:
            if restored:
                self.progress.say(f"{self.stage.name}: finished at step {self.step}")
            return self._result(total, 0.0, 0.0)
        with contextlib.ExitStack() as stack:
            self.feeding = Feeding(
                self.stage, self.devices, self.loop.steps_per_dispatch, self.step, self.positions
            )
            stack.callback(self.feeding.close)
            compile_seconds = self._compile(begin)
            total = total or self._measure()
            self.writer = ckpt.Checkpoints(self.folder, keep=self.loop.keep)
            stack.callback(self._close_writer)
            self.log = MetricsLog(
                self.run.path, stage=self.stage.name,
                order=tuple(s.name for s in self.stages), step=self.step,
            )
            stack.callback(self.log.close)
            self.feeding.open()
            seconds = self._loop(total)
        return self._result(total, compile_seconds, seconds)

    def _prepare(self) -> bool:
        """Variables and state, from the newest good checkpoint where there is one."""
        stage = self.stage
        atomic.clean_leftovers(self.run.path)
        variables = stage.system.init(stream(root_key(self.run.seed, stage.name), "init"))
        state = create_state(stage, variables)
        restored, damaged = ckpt.newest_good(self.folder, state, self.progress.say)
        ckpt.set_aside(self.folder, damaged)
        self.positions: Mapping[str, Any] = {}
        if restored is not None:
            state, self.positions = restored.state, restored.meta["feeds"]
            self.progress.say(f"{stage.name}: goes on from the checkpoint of step {restored.step}")
            if restored.meta["layout"] != self._layout():
                self.progress.say(f"the checkpoint was written on {restored.meta['layout']}, this "
                                  f"is {self._layout()}: equal only within rounding")
        else:
            state = self._carry(state)
            self.progress.say(f"{stage.name}: {parameter_count(state.params):,} parameters")
        self.step = self.first_step = int(state.step)
        self.frozen = replicate(variables.frozen, self.devices)
        self.host_state = state
        return restored is not None

    def _layout(self) -> dict[str, int]:
        return {"devices": len(self.devices), "processes": jax.process_count()}

    def _carry(self, state: TrainState) -> TrainState:
        """What `Stage.initialise_from` names, taken from earlier stages' last checkpoints."""
        for part, carry in self.stage.initialise_from.items():
            state = self._carry_one(state, part, carry)
        return state

    def _carry_one(self, state: TrainState, part: str, carry: Carry) -> TrainState:
        folder = checkpoint_folder(self.run.path, carry.stage)
        restored, _ = ckpt.newest_good(folder, None, self.progress.say)
        if restored is None:
            raise InputError(f"{folder}: no checkpoint for stage {self.stage.name} to start from")

        def take(prefix: str, template: Tree) -> Tree:
            names = [f"{prefix}.{n}" if n else prefix for n in ckpt.leaf_names(template)]
            leaves = jax.tree.leaves(template)
            for name, leaf in zip(names, leaves):
                found = restored.state.get(name)
                if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
                    raise InputError(f"{folder}: {name} does not fit stage {self.stage.name}")
            return jax.tree.unflatten(
                jax.tree.structure(template), [restored.state[name] for name in names]
            )

        if part == "state":
            return state.replace(state=take("state", state.state))
        source = carry.source or part
        state = state.replace(
            params={**state.params, part: take(f"params.{source}", state.params[part])}
        )
        if part in state.ema:
            has = f"ema.{source}"
            there = any(name == has or name.startswith(f"{has}.") for name in restored.state)
            prefix = has if there else f"params.{source}"
            state = state.replace(ema={**state.ema, part: take(prefix, state.ema[part])})
        if carry.optimizer:
            moments = take(f"opt_state.{source}", state.opt_state[part])
            state = state.replace(opt_state={**state.opt_state, part: moments})
        return state

    def _compile(self, begin: float) -> float:
        """Compile by a dispatch of zero steps; returns the seconds since `begin`."""
        self.step_fn, root = build_step(
            self.stage, seed=self.run.seed, devices=self.devices,
            steps_per_dispatch=self.loop.steps_per_dispatch,
        )
        self.root = replicate(root, self.devices)
        self._place_state()
        self._dispatch(self.feeding.example_rows(), 0, 1)
        jax.block_until_ready(self.state)
        seconds = time.monotonic() - begin
        self.progress.say(f"{self.stage.name}: ready after {duration(seconds)} "
                          f"(compilation and loading), {len(self.devices)} device(s)")
        self.validate = None
        if self.loop.validate_every and self.stage.system.validate is not None:
            self.validate = build_validate(
                self.stage, seed=self.run.seed, devices=self.devices
            )
        return seconds

    def _place_state(self) -> None:
        self.state = replicate(self.host_state, self.devices)
        self.stopped = replicate(np.zeros((), np.bool_), self.devices)

    def _everywhere(self, value: int):
        return np.full((len(self.devices),), value, np.int32)

    def _dispatch(self, rows: Tree, count: int, total: int):
        self.state, self.stopped, metrics = self.step_fn(
            self.state, self.stopped, self.frozen, self.feeding.arrays, rows,
            self._everywhere(count), self._everywhere(total), self.root,
        )
        return metrics

    def _measure(self) -> int:
        """Steps that fit in the run's minutes, from a trial on a state that is thrown away; fixed
        in run.json.
        """
        assert self.run.minutes is not None
        weight = self.stage.steps / sum(stage.steps for stage in self.stages)
        budget = 60.0 * self.run.minutes * weight
        rows = self.feeding.example_rows()
        length = self.loop.steps_per_dispatch
        self._dispatch(rows, 1, 1000)
        jax.block_until_ready(self.state)
        times: list[float] = []
        begin = time.monotonic()
        while len(times) < 3 or time.monotonic() - begin < min(3.0, 0.03 * budget):
            start = time.monotonic()
            self._dispatch(rows, length, 1000)
            jax.block_until_ready(self.state)
            times.append((time.monotonic() - start) / length)
            if time.monotonic() - begin > 0.1 * budget:
                break
        per_step = sorted(times)[len(times) // 2]
        self._place_state()
        total = max(self.step + 1, int(budget / per_step))
        self.run = dataclasses.replace(
            self.run, steps={**self.run.steps, self.stage.name: total}
        ).write()
        self.progress.say(f"{self.stage.name}: {1e3 * per_step:.1f} ms per step, so "
                          f"{duration(budget)} are {total} steps (now part of the run)")
        return total

    # -- the loop ----------------------------------------------------------------------------------

    def _loop(self, total: int) -> float:
        begin = self.last_save = self.last_fetch = time.monotonic()
        self.last_fetched_step, self.excluded = self.step, 0.0
        self.progress.start(self.stage.name, self.step, total)
        self.host_state = None
        while self.step < total and self.interrupts.name is None:
            self.feeding.refresh(self.step)
            count = self._count(total)
            metrics = self._dispatch(self.feeding.rows(count), count, total)
            self.pending.append((self.step, count, metrics))
            self.step += count
            self._fetch(self.loop.ahead, total)
            self.writer.check()
            self._between(total)
        self._fetch(0, total)
        seconds = time.monotonic() - begin - self.excluded
        if self.interrupts.name:
            self.progress.say(f"{self.interrupts.name}: saving step {self.step}")
        self._save()
        self.writer.wait()
        if self.on_sample is not None and self.step >= total:
            self._sample()
        return seconds

    def _count(self, total: int) -> int:
        """Steps of the next dispatch: as many as fit before the next thing that the host has to do.
        """
        periods = [self.loop.sample_every, self.loop.save_every_steps, *self.feeding.periods()]
        periods.append(self.loop.validate_every if self.validate else 0)
        ends = [total] + [(self.step // p + 1) * p for p in periods if p]
        return min(self.limit, min(ends) - self.step)

    def _fetch(self, leave: int, total: int) -> None:
        """Wait until at most `leave` dispatches are under way; log what the others measured."""
        while len(self.pending) > leave:
            start, count, metrics = self.pending.popleft()
            if bool(first_to_host(metrics.pop("stopped"))):
                self._stop(start, first_to_host(metrics))
            logged = [s for s in range(start + 1, start + count + 1)
                      if s == 1 or s % self.loop.log_every == 0]
            if logged or not self.pending:
                values = first_to_host(metrics)
                self.loss = float(values["loss"][count - 1])
                for step in logged:
                    self._write(step, {k: v[step - 1 - start] for k, v in values.items()})
            self._pace(start + count, total, bool(logged))

    def _write(self, step: int, values: dict[str, Any]) -> None:
        absent = {k.removesuffix("ran") for k, v in values.items() if k.endswith("/ran") and not v}
        line = {"loss": values["loss"]}
        for name, value in values.items():
            skip = name == "loss" or name.endswith("/ran")
            if not skip and not any(name.startswith(prefix) for prefix in absent):
                line[name] = value
        self.log.metrics(step, line)

    def _pace(self, step: int, total: int, logged: bool) -> None:
        now = time.monotonic()
        elapsed = now - self.last_fetch
        rate = (step - self.last_fetched_step) / elapsed if elapsed > 0 else 0.0
        if logged:
            self.log.times(step, {"seconds": round(now - self.last_fetch, 4),
                                  "steps_per_second": round(rate, 3)})
            self.last_fetch, self.last_fetched_step = now, step
        self.progress.update(step, total, rate, self.loss)

    def _stop(self, start: int, values: dict[str, np.ndarray]) -> None:
        """Raise for the first step that was not finite; leave a note of it in the run."""
        step = int(first_to_host(self.state.step)) + 1
        row = {name: float(v[step - 1 - start]) for name, v in values.items()}
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        name = bad[0] if bad else "a gradient"
        note = {"stage": self.stage.name, "step": step, "seed": self.run.seed, "metric": name,
                "values": {k: v if math.isfinite(v) else str(v) for k, v in row.items()}}
        self.log.flush()
        atomic.write_json(self.run.path / "nonfinite.json", note)
        kept = ckpt.steps_in(self.folder)
        raise NonFiniteError(
            f"{self.run.path}: {self.stage.name}: {name} is not finite at step {step}; nothing of "
            f"that step was applied; the last checkpoint is {f'step {kept[-1]}' if kept else 'none'}"
        )

    def _between(self, total: int) -> None:
        """Sample, validate and save where it is time to."""
        loop, begin = self.loop, time.monotonic()
        sample = loop.sample_every and self.step % loop.sample_every == 0 and self.step < total
        score = self.validate is not None and self.step % loop.validate_every == 0
        save = loop.save_every_steps and self.step % loop.save_every_steps == 0
        save = save or (loop.save_every_seconds
                        and begin - self.last_save >= loop.save_every_seconds)
        if not (sample or score or save):
            return
        self._fetch(0, total)
        begin = time.monotonic()
        if score or save:
            self._save(self._validate() if score else None)
        if sample and self.on_sample is not None:
            self._sample()
        spent = time.monotonic() - begin
        self.excluded += spent
        self.last_fetch += spent

    def _validate(self) -> float | None:
        assert self.validate is not None
        if not hasattr(self, "validation_rows"):
            self.validation_rows = self.feeding.validation_rows()
        found = self.validate(
            self.state, self.frozen, self.feeding.arrays["validate"], self.validation_rows
        )
        values = {name: float(v) for name, v in first_to_host(found).items()}
        self.log.metrics(self.step, {f"validate/{name}": v for name, v in values.items()})
        return values.get("score")

    def _sample(self) -> None:
        folder = self.run.path / "samples"
        folder.mkdir(exist_ok=True)
        variables = variables_of(first(self.state), first(self.frozen), ema=True)
        assert self.on_sample is not None
        self.on_sample(self.stage, self.step, variables, folder)

    def _save(self, score: float | None = None) -> None:
        self.log.flush()
        meta = {"stage": self.stage.name, "feeds": self.feeding.positions(),
                "layout": self._layout(), "code": jaxhead.__version__}
        json.dumps(meta)
        self.writer.save(self.step, first_to_host(self.state), meta, score)
        self.last_save = time.monotonic()

    def _close_writer(self) -> None:
        with contextlib.suppress(ckpt.CheckpointError):
            self.writer.close()

    def _result(self, total: int, compile_seconds: float, seconds: float) -> TrainResult:
        done = self.step - self.first_step
        return TrainResult(
            run=self.run, step=self.step, steps=total, interrupted=self.interrupts.name,
            loss=self.loss, compile_seconds=compile_seconds, seconds=seconds,
            steps_per_second=done / seconds if seconds > 0 else 0.0,
        )
