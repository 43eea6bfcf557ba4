"""Avatars of several captures at once: a run per capture, trained by one program.

Captures differ in frames, meshes and voxels: their arrays are filled up to the largest
(`training/members.py`), and nothing reads what was filled. What cannot differ, since the program
depends on it, is the size of the pictures and the length of the expression condition.
"""

from __future__ import annotations

import contextlib
import pathlib

import jax

from jaxhead.captures.format import Capture, load_capture
from jaxhead.captures.sheet import NODES
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import (
    AvatarSpec,
    expression_arrays,
    require_mesh,
)
from jaxhead.systems.avatar.model import pose_numbers
from jaxhead.systems.avatar.verbs import opened_recipe
from jaxhead.training.driving import TrainResult
from jaxhead.training.many import Subject, require_one_process, train_many
from jaxhead.training.progress import Progress
from jaxhead.training.runs import is_run, load_run, runs_in


def train(
    captures: list[pathlib.Path],
    out: pathlib.Path,
    *,
    config: AvatarConfig,
    seed: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    devices: int | None = None,
    progress: Progress | None = None,
    assets: pathlib.Path | None = None,
) -> tuple[TrainResult, ...]:
    """Trains an avatar of each capture in the run OUT/NAME, or goes on with those that are there.

    Every run is what `verbs.train` would have made of its capture alone, bit for bit where subjects
    take turns and within rounding where they train side by side (`loop.together`).

    Args:
      captures: capture folders of different names; none for all the runs in `out`.
      out: the folder of the runs.
      config: of all runs.
      seed: of all runs; None for 0, and for what the runs that exist have.
      steps, minutes, progress: see `training.many.train_many`.
      devices: how many local devices to use, None for all.
      assets: folder of weights that the priors need.

    Raises:
      InputError: names or shapes that do not go together, a run or capture at fault; it names it.
    """
    chosen = _chosen(captures, out)
    require_one_process(len(chosen))
    _require_alike(chosen, config)
    with contextlib.ExitStack() as stack:
        subjects = []
        for run, capture in chosen.items():
            own = [] if capture is None else [capture]
            opened = opened_recipe(
                own, run, config, seed or 0, counted=True, assets=assets,
                say=(progress or Progress()).say,
            )
            stages, sampler = stack.enter_context(opened)
            subjects.append(Subject(stages, run, sampler))
        local = None if devices is None else jax.local_devices()[:devices]
        return train_many(
            subjects, seed=seed, steps=steps, minutes=minutes, loop=config.loop, devices=local,
            progress=progress,
        )  # fmt: skip


def _chosen(
    captures: list[pathlib.Path], out: pathlib.Path
) -> dict[pathlib.Path, pathlib.Path | None]:
    """{run: capture}, None for a run that knows its own."""
    if is_run(out):
        raise InputError(f"{out}: is a run, expected a folder for the runs of several captures")
    chosen: dict[pathlib.Path, pathlib.Path | None] = {}
    if not captures:
        chosen.update((run, None) for run in runs_in(out))
        if not chosen:
            raise InputError(f"{out}: no runs there yet, expected captures to train on")
        return chosen
    for capture in captures:
        run = out / capture.absolute().name
        if run in chosen:
            raise InputError(
                f"{capture}: another capture is called {run.name} too, each needs a name of its own"
            )
        chosen[run] = capture
    return chosen


def _require_alike(
    chosen: dict[pathlib.Path, pathlib.Path | None], config: AvatarConfig
) -> None:
    """InputError, before anything is made, where one program cannot train all."""
    first = None
    for run, path in chosen.items():
        found = _fixed(run, path, config)
        if first is None:
            first, example = found, path or run
        for what, value in found.items():
            if value != first[what]:
                raise InputError(
                    f"{path or run}: {value} {what}, {example} has {first[what]}; captures that "
                    f"train together agree in that{_ADVICE.get(what, '')}"
                )


_ADVICE = {
    "numbers in the condition": "; --set field.expression_dims makes them agree at the smallest",
    "pixels": "; train it apart, or capture it anew with that --size",
}


def _fixed(
    run: pathlib.Path, path: pathlib.Path | None, config: AvatarConfig
) -> dict[str, object]:
    """What of a subject the program depends on."""
    capture = load_capture(path or load_run(run).sources[0]["path"])
    size = " x ".join(str(n) for n in capture.size[::-1])
    if is_run(run):
        components = load_run(run).spec_as(AvatarSpec).components
    else:
        components = _components(capture, config)
    # Lattices that stand still are filled up with zeros, which is what they are.
    nodes = capture.sway.shape[1] if capture.sway.any() else NODES
    found: dict[str, object] = {
        "pixels": size, "numbers in the condition": components, "nodes of sway per side": nodes
    }
    if config.surface.nearest == "bvh":
        # The tree is built of all triangles: none can be filled up.
        found["triangles"] = len(capture.head.faces)
    return found


def _components(capture: Capture, config: AvatarConfig) -> int:
    require_mesh(capture)
    train = capture.train
    if len(train) == 0:
        raise InputError(f"{capture.path}: no usable training frame, expected at least one")
    found = expression_arrays(capture, config)
    # Codes span as many dimensions as frames allow; a capture has more of these than are wanted.
    codes = min(config.field.semantic_dims, len(train) - 1)
    return len(found["expression_scale"]) + codes + pose_numbers(config.field)
