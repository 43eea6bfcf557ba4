"""The step that was not finite, once more: which number of it went wrong first."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxhead.files.errors import InputError
from jaxhead.training import nonfinite, runs
from jaxhead.training.checkpoints import leaf_names
from jaxhead.training.devices import Device, replicate
from jaxhead.training.driving import LoopConfig
from jaxhead.training.feeding import Feeding
from jaxhead.training.progress import Progress
from jaxhead.training.restoring import begin
from jaxhead.training.revising import Revising
from jaxhead.training.state import TrainState, root_key, stream, variables_of
from jaxhead.training.step import (
    player_gradient,
    player_update,
    refreshed,
    sample_batch,
    shared_forward,
)
from jaxhead.training.stepping import Stepper
from jaxhead.training.system import AXIS_NAME, Stage

Tree = Any


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What the replay of a step found.

    Attributes:
      stage: its name; step: the one that was not finite, from 1.
      start: step of the checkpoint that the replay began at, 0 for the initial state.
      bad: names of what was not finite, in the order in which a step computes them: arrays of the
        batch, parameters and state, outputs of the shared forward pass, then the terms of each
        player's loss, the loss and the gradient per leaf. Empty where the step is finite now.
      terms: {metric: value}, the mean over the devices.
    """

    stage: str
    step: int
    start: int
    bad: tuple[str, ...]
    terms: Mapping[str, float]

    def text(self) -> str:
        """Lines for a person."""
        head = f"{self.stage}: step {self.step}, from the state of step {self.start}: "
        if not self.bad:
            return head + "everything is finite now; replay it on the layout that the dump names"
        lines = [head + f"first not finite: {self.bad[0]}"]
        lines += [f"  then: {name}" for name in self.bad[1:12]]
        if len(self.bad) > 12:
            lines.append(f"  and {len(self.bad) - 12} more")
        return "\n".join(lines + [f"  {name} = {value:.6g}" for name, value in self.terms.items()])


def read_dump(run: pathlib.Path) -> dict[str, Any]:
    """The note that a step which was not finite left in a run.

    Raises:
      InputError: there is none, or it is damaged.
    """
    file = run / nonfinite.FILE
    if not file.is_file():
        raise InputError(f"{run}: no step of this run was not finite ({nonfinite.FILE} is missing)")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return {"stage": str(document["stage"]), "step": int(document["step"]),
                "layout": dict(document["layout"])}  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error!r})") from error


def replay(
    stages: Sequence[Stage],
    run_dir: str | pathlib.Path,
    *,
    devices: Sequence[Device] | None = None,
    loop: LoopConfig | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Repeat the step that stopped a run, from its newest good checkpoint; writes nothing.

    Args:
      stages: the run's recipe.
      run_dir: the run.
      devices: local devices; bit for bit the same step only on as many as the run had.
      loop: how the run was driven.
      progress: where lines go.

    Raises:
      InputError: no step of the run was not finite, or it does not fit the recipe.
    """
    if jax.process_count() > 1:
        raise InputError("a replay runs in one process")
    path, progress = pathlib.Path(run_dir).absolute(), progress or Progress()
    devices = list(devices or jax.local_devices())
    run, note = runs.load_run(path), read_dump(path)
    found = [stage for stage in stages if stage.name == note["stage"]]
    if not found:
        raise InputError(f"{path / nonfinite.FILE}: no stage {note['stage']!r} in this recipe")
    stage, last = found[0], note["step"] - 1
    if note["layout"] != {"devices": len(devices), "processes": 1}:
        progress.say(f"the run had {note['layout']}: equal within rounding only")
    beginning = begin(stage, path, seed=run.seed, say=progress.say, aside=False)
    start = int(beginning.state.step)
    if start > last:
        raise InputError(f"{path}: the checkpoint of step {start} is past step {note['step']}")
    length = (loop or LoopConfig()).steps_per_dispatch
    total = run.steps[stage.name]
    feeding = Feeding(stage, devices, length, start, beginning.positions)
    try:
        stepper = Stepper(
            stage, seed=run.seed, devices=devices, length=length, state=beginning.state,
            frozen=beginning.frozen,
        )
        revising = Revising(stage, path, feeding, start, total, progress.say)
        feeding.open()
        step = start
        while step < last:
            if revising.due(step):
                revising.follow()
            feeding.refresh(step)
            ends = [last, *revising.ends()] + [(step // p + 1) * p for p in feeding.periods()]
            count = min(length, min(ends) - step)
            stepper.dispatch(feeding.arrays, feeding.rows(count), count, total)
            stepper.wait()
            step += count
        if revising.due(step):
            revising.follow()
        feeding.refresh(step)
        rows = jax.tree.map(lambda x: np.asarray(x)[:, 0], feeding.rows(1))
        bad, terms = _look(stage, run.seed, devices, stepper.host_state(), beginning.frozen,
                           feeding.arrays, rows, total)  # fmt: skip
    finally:
        feeding.close()
    return Replayed(stage.name, note["step"], start, bad, terms)


def _look(stage, seed, devices, state, frozen, arrays, rows, total):
    """Names of what is not finite in the next step, in order, and the mean of its metrics."""
    count, names = len(devices), []
    root = jax.random.key_data(root_key(seed, stage.name))

    def look(state, frozen, arrays, rows, root):
        names.clear()
        flags, terms = [], {}

        def note(what: str, tree: Tree) -> None:
            for name, leaf in zip(leaf_names(tree), jax.tree.leaves(tree)):
                if jnp.issubdtype(leaf.dtype, jnp.inexact):
                    names.append(f"{what} {name}".strip())
                    flags.append(jnp.all(jnp.isfinite(leaf)))

        key = jax.random.fold_in(jax.random.wrap_key_data(root), state.step)
        batch = sample_batch(stage, arrays, rows, key, state.step, count)
        note("batch", batch)
        note("params", state.params)
        note("state", state.state)
        _follow(stage, state, frozen, batch, key, total, count, note, terms)
        mean = lax.pmean({name: jnp.float32(value) for name, value in terms.items()}, AXIS_NAME)
        return jnp.stack(flags), mean

    mapped = jax.pmap(look, axis_name=AXIS_NAME, devices=list(devices))
    placed = [replicate(tree, devices) for tree in (state, frozen, root)]
    flags, terms = mapped(placed[0], placed[1], arrays, rows, placed[2])
    finite = np.min(np.asarray(flags), axis=0).tolist()
    bad = tuple(name for name, good in zip(names, finite) if not good)
    return bad, {name: float(np.asarray(value)[0]) for name, value in terms.items()}


def _follow(stage: Stage, state: TrainState, frozen, batch, key, total, count, note, terms):
    """The parts of a step one after the other, each noted."""
    state = refreshed(stage, state, batch, key, frozen, count)
    note("refreshed state", state.state)
    before = state
    state, forward = shared_forward(stage, state, batch, key, frozen, count)
    note("shared outputs", forward[0])
    several = len(stage.system.updates) > 1
    for index, update in enumerate(stage.system.updates):
        number = before.step + 1
        due = (number > update.start) & (number % update.every == 0)
        prefix = f"{update.player}/" if several else ""
        update_key = stream(key, f"update/{index}")
        loss, (metrics, _), gradient = player_gradient(
            update, variables_of(state, frozen), *forward, batch, update_key, state.step
        )
        values = {f"{prefix}{name}": jnp.float32(value) for name, value in metrics.items()}
        values[f"{prefix}loss"] = jnp.float32(loss)
        # A player that is not due computes numbers that nobody uses.
        values, gradient = _where(due, (values, gradient), jax.tree.map(jnp.zeros_like, (
            values, gradient)))  # fmt: skip
        terms |= values
        for name in sorted(values, key=lambda name: name == f"{prefix}loss"):  # noqa: B023
            note(name, {"": values[name]})
        note(f"gradient of {update.player}", gradient)
        run = player_update(stage, update, prefix, total, count, frozen)
        state = _where(due, run(state, forward, batch, update_key)[0], state)


def _where(which: jax.Array, a: Tree, b: Tree) -> Tree:
    return jax.tree.map(lambda x, y: jnp.where(which, x, y), a, b)
