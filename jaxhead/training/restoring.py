"""Where a stage begins: at its newest good checkpoint, at an earlier stage's end, or from nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxhead.files.errors import InputError
from jaxhead.training import checkpoints, processes
from jaxhead.training.state import TrainState, create_state, root_key, stream, variables_of
from jaxhead.training.system import Carry, Stage, Variables

Tree = Any
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Beginning:
    """Where a stage begins.

    Attributes:
      state, frozen: host arrays.
      positions: {feed: position} of the streams.
      layout: {"devices", "processes"} that wrote the checkpoint, None when there was none.
    """

    state: TrainState
    frozen: Tree
    positions: Mapping[str, Any]
    layout: Mapping[str, int] | None

    @property
    def restored(self) -> bool:
        """Whether there was a checkpoint."""
        return self.layout is not None


def checkpoint_folder(run: str | pathlib.Path, stage: str) -> pathlib.Path:
    """Where a run keeps the checkpoints of a stage."""
    return pathlib.Path(run).absolute() / "checkpoints" / stage


def initial_variables(stage: Stage, seed: int) -> Variables:
    """The variables that a stage has before any training."""
    return stage.system.init(stream(root_key(seed, stage.name), "init"))


def begin(
    stage: Stage, run: pathlib.Path, *, seed: int, say: Say, aside: bool = True
) -> Beginning:
    """The newest good checkpoint of a stage, else the initial state with what it carries over.

    Damaged newer checkpoints are moved to CHECKPOINTS.damaged, with a line each; they stay where
    they are without `aside`.

    Raises:
      CheckpointError: there are checkpoints, and none is good.
      InputError: an earlier stage has nothing that fits.
    """
    variables = initial_variables(stage, seed)
    state = create_state(stage, variables)
    folder = checkpoint_folder(run, stage.name)
    found = _newest(folder, state, say, aside=aside)
    if found is not None:
        return Beginning(found.state, variables.frozen, found.meta["feeds"], found.meta["layout"])
    for part, carry in stage.initialise_from.items():
        state = _carried(stage, state, part, carry, run, say)
    return Beginning(state, variables.frozen, {}, None)


def _newest(
    folder: pathlib.Path, template: Tree | None, say: Say, *, aside: bool = False
) -> checkpoints.Restored | None:
    """The newest checkpoint that process 0 finds good, in every process; with `aside` the damaged
    ones are moved away.
    """
    here: list[checkpoints.Restored | None] = []

    def look() -> int | None:
        found, damaged = checkpoints.newest_good(folder, template, say)
        if aside:
            checkpoints.set_aside(folder, damaged)
        here.append(found)
        return found.step if found else None

    step = processes.from_first(look)
    if here or step is None:
        return here[0] if here else None
    return checkpoints.read_checkpoint(folder, step, template)


def _carried(
    stage: Stage, state: TrainState, part: str, carry: Carry, run: pathlib.Path, say: Say
) -> TrainState:
    """The state with one part taken from the last checkpoint of an earlier stage."""
    folder = checkpoint_folder(run, carry.stage)
    found = _newest(folder, None, say)
    if found is None:
        raise InputError(f"{folder}: no checkpoint for stage {stage.name} to start from")
    leaves = found.state

    def take(prefix: str, template: Tree) -> Tree:
        names = [f"{prefix}.{n}" if n else prefix for n in checkpoints.leaf_names(template)]
        for name, leaf in zip(names, jax.tree.leaves(template)):
            there = leaves.get(name)
            if there is None or there.shape != leaf.shape or there.dtype != leaf.dtype:
                raise InputError(f"{folder}: {name} does not fit stage {stage.name}")
        return jax.tree.unflatten(jax.tree.structure(template), [leaves[n] for n in names])

    if part == "state":
        return state.replace(state=take("state", state.state))
    source = carry.source or part
    params = take(f"params.{source}", state.params[part])
    state = state.replace(params={**state.params, part: params})
    if part in state.ema:
        averaged = any(f"{name}.".startswith(f"ema.{source}.") for name in leaves)
        ema = take(f"ema.{source}", state.ema[part]) if averaged else params
        state = state.replace(ema={**state.ema, part: ema})
    if carry.optimizer:
        moments = take(f"opt_state.{source}", state.opt_state[part])
        state = state.replace(opt_state={**state.opt_state, part: moments})
    return state


def load_variables(
    stage: Stage,
    run_dir: str | pathlib.Path,
    *,
    seed: int,
    checkpoint: int | str = "latest",
    ema: bool = True,
    say: Say | None = None,
) -> tuple[Variables, int]:
    """The variables of a trained stage for rendering, and their step.

    Args:
      stage: the recipe that was trained; its `system.init` gives frozen arrays and shapes.
      run_dir: the run.
      seed: of the run.
      checkpoint: a step, "latest" (the newest good one) or "best" (by the validation's score,
        else the latest).
      ema: averaged params where there are any.
      say: gets a line for every damaged checkpoint; standard error by default.

    Raises:
      InputError: there is no such checkpoint, or no good one.
    """
    say = say or functools.partial(print, file=sys.stderr)
    folder = checkpoint_folder(run_dir, stage.name)
    variables = initial_variables(stage, seed)
    template = jax.eval_shape(lambda v: create_state(stage, v), variables)
    if checkpoint == "best":
        checkpoint = checkpoints.best_step(folder) or "latest"
    if checkpoint == "latest":
        found, _ = checkpoints.newest_good(folder, template, say)
        if found is None:
            raise InputError(f"{folder}: no checkpoint yet")
        return variables_of(found.state, variables.frozen, ema=ema), found.step
    try:
        found = checkpoints.read_checkpoint(folder, int(checkpoint), template)
    except Exception as error:  # every reader below raises its own kinds for damaged files
        raise InputError(f"{folder / str(checkpoint)}: cannot be used: {error}") from error
    return variables_of(found.state, variables.frozen, ema=ema), found.step
