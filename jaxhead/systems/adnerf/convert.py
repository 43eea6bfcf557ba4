"""Released checkpoints become a run that renders and whose training goes on."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import jaxhead
from jaxhead.captures.format import Capture, load_capture
from jaxhead.files.atomic import new_folder
from jaxhead.files.errors import InputError
from jaxhead.files.torch_files import read_torch
from jaxhead.systems.adnerf import checkpoint as published
from jaxhead.systems.adnerf.config import PRESETS, AdnerfConfig
from jaxhead.systems.adnerf.inputs import AdnerfSpec, prepare
from jaxhead.systems.adnerf.nerf_config import NerfConfig
from jaxhead.systems.adnerf.nerf_feed import depth_bounds
from jaxhead.systems.adnerf.nerf_model import HEAD, TORSO
from jaxhead.systems.adnerf.nerf_stages import ATTENTION
from jaxhead.systems.adnerf.nerf_verbs import stages as recipe
from jaxhead.training.checkpoint_writer import Checkpoints
from jaxhead.training.configuration import to_document
from jaxhead.training.restoring import checkpoint_folder
from jaxhead.training.runs import create_run, load_run
from jaxhead.training.state import TrainState, create_state
from jaxhead.training.system import Stage


def convert(
    files: Sequence[pathlib.Path], out: pathlib.Path, *, capture: pathlib.Path, seed: int = 0
) -> str:
    """Makes a run of a head's checkpoint and, where it is given, the body's.

    A checkpoint holds no poses, depths, size, background or sound: they come from the capture,
    which is the data set that it was trained on, imported with its audio features.

    Args:
        files: `NNNNNN_head.tar` and `NNNNNN_body.tar` in any order, or the first alone.
        out: the run's folder, a new one.
        capture: the capture's folder.
        seed: of what training draws when it goes on.

    Returns:
        What was found, for the user.

    Raises:
        InputError: a file is not such a checkpoint or does not fit, or the capture lacks the
            features that it was trained with; nothing is written then.
    """
    contents = _contents(files)
    loaded = load_capture(capture)
    head_file, head_content = contents["head"]
    body_file, body_content = contents.get("body", (None, None))
    config, width = published.sizes(
        head_content, PRESETS["published"]().nerf, str(head_file), body_content
    )
    head = published.read_head(head_content, config, width, str(head_file))
    body = None
    if body_content is not None:
        body = published.read_body(body_content, config, str(body_file))
    name, windows = _windows(loaded, width)
    nerf = _lengths(_depths(config, loaded), head, body)
    base = PRESETS["published"]()
    audio = dataclasses.replace(base.audio, features=name, window=windows.shape[1])
    whole = dataclasses.replace(base, audio=audio, nerf=nerf)
    spec, inputs = prepare(loaded, whole)
    source = {"path": str(capture.absolute()), "digest": loaded.digest}
    with new_folder(out) as folder:
        create_run(
            folder, system="adnerf", config=to_document(whole), seed=seed,
            spec=dataclasses.asdict(spec), sources=(source,), inputs=inputs,
        )  # fmt: skip
        steps = _write(pathlib.Path(folder), whole, spec, inputs, head, body)
        dataclasses.replace(load_run(folder), steps=steps).write()
    parts = [f"head at step {head.steps}"] + ([f"torso at step {body.steps}"] if body else [])
    return f"{', '.join(parts)}, {name} features, depths {nerf.sampling.near:.4f} to " \
        f"{nerf.sampling.far:.4f}"  # fmt: skip


def _contents(files: Sequence[pathlib.Path]) -> dict[str, tuple[pathlib.Path, Any]]:
    found: dict[str, tuple[pathlib.Path, Any]] = {}
    for file in files:
        content = read_torch(file)
        kind = published.kind_of(content, str(file))
        if kind in found:
            raise InputError(f"{file}: a {kind}, as {found[kind][0]} is: expected one of each")
        found[kind] = (file, content)
    if "head" not in found:
        raise InputError(f"{files[0]}: a body without its head, expected the head's file too")
    return found


def _windows(capture: Capture, width: int) -> tuple[str, np.ndarray]:
    """The capture's audio windows (N, T, F) of the width that a checkpoint was trained with."""
    stored = capture.audio_features() if hasattr(capture, "audio_features") else {}
    for name, windows in stored.items():
        if windows.ndim == 3 and windows.shape[2] == width and windows.shape[1] % 2 == 0:
            return name, np.asarray(windows, np.float32)
    there = ", ".join(f"{k} {v.shape[1:]}" for k, v in stored.items()) or "none"
    raise InputError(
        f"{capture.path}: audio features {there}, expected windows of {width} features per row as "
        "the checkpoint was trained with: import the data set with its aud.npy"
    )


def _depths(config: NerfConfig, capture: Capture) -> NerfConfig:
    """The depths that the data set tells, else those of its published rule."""
    told = capture.info.get("convention", {})
    near, far = told.get("near"), told.get("far")
    if not (isinstance(near, float) and isinstance(far, float)):
        usable = np.concatenate([capture.train, capture.test])
        near, far = depth_bounds(capture.head_to_camera[usable])
    return dataclasses.replace(
        config, sampling=dataclasses.replace(config.sampling, near=near, far=far)
    )


def _lengths(
    config: NerfConfig, head: published.Published, body: published.Published | None
) -> NerfConfig:
    """A recipe in which the head is as far as it is; a torso means that it is finished."""
    steps = max(config.head_steps, head.steps + 1)
    if body is not None:
        steps = max(head.steps, config.smooth_from + 1)
        config = dataclasses.replace(config, torso_steps=max(config.torso_steps, body.steps))
    return dataclasses.replace(config, head_steps=steps)


def _write(
    folder: pathlib.Path, config: AdnerfConfig, spec: AdnerfSpec, inputs: dict[str, np.ndarray],
    head: published.Published, body: published.Published | None,
) -> dict[str, int]:
    """Writes the checkpoints of all stages that were begun; returns the stages' lengths."""
    nerf = config.nerf
    made = {stage.name: stage for stage in recipe(config, spec, inputs, None)}
    before = min(head.steps, nerf.smooth_from)
    lengths = {stage.name: stage.steps for stage in made.values()}
    _save(folder, made[HEAD], before, {HEAD: head})
    if head.steps > nerf.smooth_from or body is not None:
        after = max(head.steps - nerf.smooth_from, 0)
        lengths[HEAD] = before
        lengths[ATTENTION] = max(after, 1) if body is not None else lengths[ATTENTION]
        _save(folder, made[ATTENTION], lengths[ATTENTION] if body else after, {HEAD: head})
    if body is not None:
        _save(folder, made[TORSO], body.steps, {HEAD: head, TORSO: body})
    return lengths


def _save(
    folder: pathlib.Path, stage: Stage, step: int, players: dict[str, published.Published]
) -> None:
    import jax

    def arrays(tree):
        return jax.tree.map(np.asarray, tree)

    variables = stage.system.init(jax.random.key(0))
    state: TrainState = create_state(stage, variables)
    params, moments = dict(state.params), dict(state.opt_state)
    for player, given in players.items():
        params[player] = given.params
        if player in moments:
            moments[player] = given.adams
    state = state.replace(step=np.asarray(step, np.int32), params=params, opt_state=moments)
    writer = Checkpoints(checkpoint_folder(folder, stage.name))
    try:
        meta = {"stage": stage.name, "feeds": {}, "layout": {"devices": 1, "processes": 1},
                "code": jaxhead.__version__}  # fmt: skip
        writer.save(step, arrays(state), meta)
        writer.wait()
    finally:
        writer.close()
