"""A checkpoint of INSTA-pytorch becomes a run that renders and whose training goes on."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

import jaxhead
from jaxhead.captures.format import Capture, load_capture
from jaxhead.files.arrays import digest
from jaxhead.files.atomic import new_folder
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar.checkpoint import InstaCheckpoint, occupied_at, read_insta
from jaxhead.systems.avatar.config import (
    AvatarConfig,
    OptimiserConfig,
    PriorConfig,
    SamplingConfig,
    insta,
)
from jaxhead.systems.avatar.inputs import AvatarSpec, prepare, require_mesh
from jaxhead.systems.avatar.surface import surface_arrays
from jaxhead.systems.avatar.system import PLAYER, build
from jaxhead.systems.avatar.verbs import frozen_arrays
from jaxhead.training.checkpoint_writer import Checkpoints
from jaxhead.training.configuration import check, to_document
from jaxhead.training.restoring import checkpoint_folder
from jaxhead.training.runs import create_run, load_run
from jaxhead.training.state import create_state
from jaxhead.training.system import Stage

NEAR = 0.01
"""Metres before the camera that the port leaves out; no head is so close."""
STEPS = 100_000
"""The port trains at most so long."""


def convert(
    files: Sequence[pathlib.Path], out: pathlib.Path, *, capture: pathlib.Path, seed: int = 0
) -> str:
    """Makes a run of a checkpoint of the port.

    A checkpoint holds no meshes, cameras or expressions: they come from the subject that it was
    trained on, imported from INSTA's layout. Its space is kept: metres of that layout, a cube of
    half side `bound` encoded, rays from the camera's centre through pixel centres.

    Args:
      files: one checkpoint, `ngp_epNNNN.pth` or `ngp.pth`.
      out: the run's folder, a new one.
      capture: the capture's folder.
      seed: of what training draws when it goes on; the optimiser starts anew then.

    Returns:
      What was found, for the user.

    Raises:
      InputError: the file is not such a checkpoint, or the capture has no mesh, is not INSTA's or
        has fewer expression coefficients than the checkpoint wants; nothing is written then.
    """
    if len(files) != 1:
        raise InputError(f"{files[1]}: one checkpoint makes a run, {len(files)} were given")
    found = read_insta(files[0])
    loaded = load_capture(capture)
    _require_subject(loaded, found)
    config = ported(found, loaded)
    spec, inputs = prepare(loaded, config)
    inputs |= surface_arrays(spec, loaded.head, config=config)
    sources = (
        {"path": str(capture.absolute()), "digest": loaded.digest},
        {"path": str(files[0].absolute()), "digest": digest(files[0]), "format": "INSTA-pytorch",
         "bound": found.bound, "near": NEAR, "averaged": found.averaged},
    )  # fmt: skip
    with new_folder(out) as folder:
        create_run(
            folder, system="avatar", config=to_document(config), seed=seed,
            spec=dataclasses.asdict(spec), sources=sources, inputs=inputs,
        )  # fmt: skip
        run = load_run(folder)
        stage = _stage(run.spec_as(AvatarSpec), inputs, config)
        _save(pathlib.Path(folder), stage, found)
        dataclasses.replace(run, steps={stage.name: config.steps}).write()
    weights = "running averages" if found.averaged else "weights"
    cells = "its grid of occupied cells" if found.occupied is not None else "no occupied cells yet"
    return (
        f"{weights} at step {found.step or 0}, {found.grid.levels} levels of "
        f"{found.grid.features} features, {found.components} coefficients, bound {found.bound:g}, "
        f"{cells}"
    )


def _require_subject(capture: Capture, found: InstaCheckpoint) -> None:
    require_mesh(capture)
    source = capture.info.get("source")
    kind = source.get("format") if isinstance(source, dict) else None
    if kind != "insta":
        raise InputError(
            f"{capture.path}: is {f'from {kind}' if kind else 'from a video'}, expected the "
            "subject that the checkpoint was trained on with INSTA's meshes: jaxhead capture "
            "SUBJECT --from insta"
        )
    if capture.expression.shape[1] < found.components:
        raise InputError(
            f"{capture.path}: {capture.expression.shape[1]} expression coefficients, the "
            f"checkpoint takes {found.components}"
        )


def ported(found: InstaCheckpoint, capture: Capture) -> AvatarConfig:
    """The port's field and its recipe, where that differs from the preset `insta`."""
    base, layers = insta(), capture.layers()
    config = dataclasses.replace(
        base,
        field=dataclasses.replace(
            found.field, expression="coefficients", cube=2 * found.bound, density="metre",
            pose_noise=0.0,
        ),
        surface=dataclasses.replace(base.surface, nearest="bvh"),
        # From one picture a step; its steps grow with the distance beyond 0.87 m, these do not.
        sampling=SamplingConfig(
            frames=1, head_rays=4096, torso_rays=0, uniform=True, focus=0.0, samples=64,
            segments=256, step=2 * 3**0.5 / 1024, front=0.0, occupancy_resolution=128,
            occupancy_rule="instant-ngp",
        ),
        loss=dataclasses.replace(
            base.loss, color=1.0, region=40.0 if "parsing" in layers else 1.0, region_from=0,
            near=0.0, thin=0.0, network_decay=0.0,
        ),
        prior=PriorConfig(distance="capture" if "depth" in layers else "mesh"),
        optimiser=OptimiserConfig(
            learning_rate=2.5e-3, table_rate=2.5e-3, final_share=1.0, hold=0.0, ema=0.95
        ),
        steps=max(STEPS, (found.step or 0) + 1),
    )  # fmt: skip
    check(config)
    return config


def _stage(spec: AvatarSpec, inputs: dict[str, np.ndarray], config: AvatarConfig) -> Stage:
    (stage,) = build(config, spec, frozen_arrays(inputs), None)
    return stage


def _save(folder: pathlib.Path, stage: Stage, found: InstaCheckpoint) -> None:
    """Writes the checkpoint: the weights, also as their averages, and the occupied cells."""
    variables = stage.system.init(jax.random.key(0))
    grid = variables.state["occupancy"]
    if found.occupied is not None:
        low, high = np.asarray(grid.low), np.asarray(grid.high)
        axis = (np.indices(grid.thickness.shape).reshape(3, -1).T + 0.5) / grid.thickness.shape[0]
        held = occupied_at(found.occupied, low + axis * (high - low), found.bound)
        if not held.any():
            raise InputError(
                "none of the cells that the checkpoint calls occupied lies around the capture's "
                "mesh: it was trained on another subject or in another space"
            )
        thickness = held.reshape(grid.thickness.shape).astype(np.float32)
        grid = grid._replace(thickness=thickness)
    params = {PLAYER: {"head": jax.tree.map(np.asarray, found.params)}}
    mine = jax.tree.map(np.shape, variables.params)
    if mine != jax.tree.map(np.shape, params):
        raise InputError("the checkpoint's parameters do not have the sizes that it tells")
    state = create_state(stage, variables.replace(params=params, state={"occupancy": grid}))
    step = found.step or 0
    state = state.replace(step=np.asarray(step, np.int32))
    writer = Checkpoints(checkpoint_folder(folder, stage.name))
    try:
        meta = {"stage": stage.name, "feeds": {}, "layout": {"devices": 1, "processes": 1},
                "code": jaxhead.__version__}  # fmt: skip
        writer.save(step, jax.tree.map(np.asarray, state), meta)
        writer.wait()
    finally:
        writer.close()
