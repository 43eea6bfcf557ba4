"""`train`: lock the run, fix its length, and run its stages one after the other."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Sequence

import jax

from jaxhead.files import atomic
from jaxhead.files.locks import RunLock
from jaxhead.training import processes, runs
from jaxhead.training.devices import Device
from jaxhead.training.driving import LoopConfig, NonFiniteError, OnSample, TrainResult
from jaxhead.training.interrupts import Interrupts
from jaxhead.training.lengths import check_lengths, planned
from jaxhead.training.progress import Progress
from jaxhead.training.replay import Replayed, replay
from jaxhead.training.restoring import checkpoint_folder, load_variables
from jaxhead.training.session import Session
from jaxhead.training.system import Stage

__all__ = [
    "LoopConfig", "NonFiniteError", "OnSample", "TrainResult",
    "Replayed", "checkpoint_folder", "load_variables", "replay", "train",
]  # fmt: skip


def train(
    stages: Sequence[Stage],
    run_dir: str | pathlib.Path,
    *,
    seed: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    loop: LoopConfig | None = None,
    devices: Sequence[Device] | None = None,
    on_sample: OnSample | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a recipe in a run folder, or go on with the training that the folder holds.

    Under several processes (`training.processes`) all call this alike and are one training: process
    0 writes, the others take part in every step and compare their state with its at every save.

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
      on_sample: (stage, step, variables, folder) called every `loop.sample_every` steps and at
        the end with the variables that rendering would use (moving averages, on one device).
      progress: where lines go; `Progress(quiet=True)` for none.

    Returns:
      A `TrainResult`; `interrupted` is set when SIGTERM or SIGINT ended the run after a save.

    Raises:
      InputError: the folder is at fault or in use, a batch cannot be split, a checkpoint cannot be
        written or read (`CheckpointError`), or a loss was not finite (`NonFiniteError`).
    """
    loop, progress, stages = loop or LoopConfig(), progress or Progress(), tuple(stages)
    path = pathlib.Path(run_dir).absolute()
    check_lengths(steps, minutes)
    if not stages or len({stage.name for stage in stages}) != len(stages):
        raise ValueError("a recipe needs stages of different names")
    devices = list(devices or jax.local_devices())
    if not processes.is_first():
        progress = Progress(quiet=True)
    with contextlib.ExitStack() as stack:

        def open_run() -> None:
            stack.enter_context(RunLock(path))
            if not runs.is_run(path):
                runs.create_run(path, system="", config={}, seed=seed or 0)
            atomic.clean_leftovers(path)
            planned(runs.load_run(path), stages, seed, steps, minutes)

        processes.from_first(open_run)
        processes.require_same(f"{path}: devices per process", len(devices))
        run = runs.load_run(path)
        interrupts = stack.enter_context(Interrupts())
        result = None
        try:
            for index in range(len(stages)):
                session = Session(stages, index, run, loop, devices, progress, interrupts)
                result = session.run_stage(on_sample)
                run = result.run
                if result.interrupted:
                    break
        finally:
            progress.stop()
    assert result is not None
    return result
