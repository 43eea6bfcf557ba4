"""Many subjects at once: several runs of one recipe, trained by one program.

Every subject keeps a run of its own, with its own randomness, logs and checkpoints, that is what
training it alone would have made: one can go on alone, and ones that were trained alone can go on
together. A device trains its subjects side by side (`vmap`), or one after the other a few steps
each, which is what suits a CPU (`LoopConfig.together`); several devices share the subjects out and
exchange nothing. In turns, a dispatch runs one subject's own arrays: a loop over stacked subjects
inside the program (`lax.map`) would copy each one's frames at every dispatch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import jax

from jaxhead.files import atomic
from jaxhead.files.errors import InputError
from jaxhead.files.locks import RunLock
from jaxhead.training import runs
from jaxhead.training.devices import Device
from jaxhead.training.driving import LoopConfig, TrainResult
from jaxhead.training.interrupts import Interrupts
from jaxhead.training.lengths import check_lengths, planned
from jaxhead.training.many_session import ManySession
from jaxhead.training.members import Member, Subject
from jaxhead.training.progress import Progress

__all__ = ["Subject", "require_one_process", "train_many"]


def train_many(
    subjects: Sequence[Subject],
    *,
    seed: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    loop: LoopConfig | None = None,
    devices: Sequence[Device] | None = None,
    progress: Progress | None = None,
) -> tuple[TrainResult, ...]:
    """Train several subjects together, each in its run folder, or go on with them.

    Each is trained with its whole batch on one device. Those that are finished are left alone, and
    those that are behind catch up first: what a killed training has saved of each is used.

    Args:
      subjects: at least one, with different runs.
      seed: of all of them; None for the seeds of the runs that exist, and 0.
      steps, minutes: see `training.loop.train`; the minutes are those in which all are trained.
      loop: how to drive it.
      devices: local devices to use, all by default.
      progress: where lines go.

    Returns:
      A `TrainResult` per subject.

    Raises:
      InputError: as `training.loop.train`, naming the run of the subject at fault; several
        processes. When a step of one subject is not finite (`NonFiniteError`) all stop, with their
        checkpoints.
      ValueError: recipes or learned states that are not alike.
    """
    loop, progress = loop or LoopConfig(), progress or Progress()
    check_lengths(steps, minutes)
    _check(subjects)
    devices = list(devices or jax.local_devices())
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(_opened(s, seed, steps, minutes)) for s in subjects]
        interrupts = stack.enter_context(Interrupts())
        results: list[TrainResult] = []
        try:
            for index in range(len(subjects[0].stages)):
                members = [
                    Member(subject, index, run, loop, progress.say)
                    for subject, run in zip(subjects, opened)
                ]
                session = ManySession(members, loop, devices, progress, interrupts)
                results = session.run_stage()
                opened = [result.run for result in results]
                if interrupts.name:
                    break
        finally:
            progress.stop()
    return tuple(results)


def require_one_process(subjects: int) -> None:
    """InputError where several processes would train the subjects."""
    if jax.process_count() > 1:
        raise InputError(
            f"{subjects} subjects in {jax.process_count()} processes: several subjects train in "
            "one process, on its devices; start a job for each part of them"
        )


def _check(subjects: Sequence[Subject]) -> None:
    require_one_process(len(subjects))
    names = [[stage.name for stage in subject.stages] for subject in subjects]
    if not names or not names[0] or any(n != names[0] for n in names):
        raise ValueError("subjects need one recipe")
    paths = [subject.run.absolute() for subject in subjects]
    twice = sorted({str(p) for p in paths if paths.count(p) > 1})
    if twice:
        raise InputError(f"{twice[0]}: two subjects in one run")


@contextlib.contextmanager
def _opened(subject: Subject, seed: int | None, steps: int | None, minutes: float | None):
    """The run of a subject with its lengths, locked."""
    path = subject.run.absolute()
    with RunLock(path):
        if not runs.is_run(path):
            runs.create_run(path, system="", config={}, seed=seed or 0)
        atomic.clean_leftovers(path)
        yield planned(runs.load_run(path), subject.stages, seed, steps, minutes)
