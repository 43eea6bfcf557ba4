"""How long a run trains: what the user asks for, shared out over the stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxhead.files.errors import InputError
from jaxhead.training import runs
from jaxhead.training.system import Stage


def check_lengths(steps: int | None, minutes: float | None) -> None:
    """InputError where both are given, or one is not above 0."""
    if steps is not None and minutes is not None:
        raise InputError("give steps or minutes, not both")
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value}, expected more than 0")


def planned(
    run: runs.Run,
    stages: Sequence[Stage],
    seed: int | None,
    steps: int | None,
    minutes: float | None,
) -> runs.Run:
    """The run with its lengths as far as they are known, written back.

    Args:
      run: as it was.
      stages: the recipe, whose `steps` share a length out.
      seed: must be the run's, None for whichever it has.
      steps, minutes: the length that is asked for; neither keeps the run's, else the recipe's.

    Raises:
      InputError: another seed than the run's.
    """
    if seed is not None and seed != run.seed:
        raise InputError(f"{run.path}: was begun with seed {run.seed}, not {seed}")
    if minutes is not None:
        if minutes == run.minutes:
            return run
        return dataclasses.replace(run, minutes=minutes, steps={}).write()
    if steps is None and (run.steps or run.minutes is not None):
        return run
    total = sum(stage.steps for stage in stages)
    share = {
        stage.name: stage.steps if steps is None else max(1, round(steps * stage.steps / total))
        for stage in stages
    }
    if share == dict(run.steps) and run.minutes is None:
        return run
    return dataclasses.replace(run, minutes=None, steps=share).write()
