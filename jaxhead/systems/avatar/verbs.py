"""The avatar's verbs: what the command line calls."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from jaxhead.captures.format import Capture, load_capture
from jaxhead.files.errors import InputError
from jaxhead.files.images import write_image
from jaxhead.heads.model import HeadModel, head_from_arrays
from jaxhead.rendering.in_order import in_order
from jaxhead.rendering.requests import RenderOptions, RenderStream, audio_of_frames
from jaxhead.systems.avatar import config as configs
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.data import loss_layers, make_feed
from jaxhead.systems.avatar.inputs import AvatarSpec, prepare
from jaxhead.systems.avatar.motion import revised_inputs, revision
from jaxhead.systems.avatar.pictures import renderer
from jaxhead.systems.avatar.priors import Priors, open_priors
from jaxhead.systems.avatar.requests import Requests, make_requests
from jaxhead.systems.avatar.semantic import code_components, frame_codes
from jaxhead.systems.avatar.surface import (
    GeometryCache,
    geometry_digest,
    surface_arrays,
)
from jaxhead.systems.avatar.system import build
from jaxhead.training import loop, processes
from jaxhead.training.configuration import to_document
from jaxhead.training.pool import frame_order
from jaxhead.training.progress import Progress
from jaxhead.training.revising import FOLDER as REVISED
from jaxhead.training.revising import newest_revision
from jaxhead.training.runs import Run, create_run, is_run, load_run
from jaxhead.training.sources import capture_at_hand, open_capture, refuse_contradiction
from jaxhead.training.system import Stage, Variables

presets = configs.PRESETS
_FROZEN = (
    "K", "box", "surface_box", "background", "occupancy", "neighbours", "template_index",
    "skin", "reach", "solid", "sway_box", "body", "body_place",
    "rules", "unseen_points", "unseen_normals", "unseen_colors", "unseen_hidden",
)


def train(
    captures: list[pathlib.Path],
    out: pathlib.Path,
    *,
    config: AvatarConfig,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    devices: int | None = None,
    progress: Progress | None = None,
    replay: bool = False,
    assets: pathlib.Path | None = None,
) -> loop.TrainResult | loop.Replayed:
    """Trains an avatar of one capture in the folder `out`, or goes on with the one that is there.

    Args:
      captures: one capture folder; none for a run that goes on and whose capture has not moved.
      out: the run.
      config: the run's configuration.
      seed, steps, minutes, progress: see `training.loop.train`.
      devices: how many local devices to use, None for all.
      replay: instead repeat the step that was not finite, see `training.replay`.
      assets: folder of weights that the priors need.

    Raises:
      InputError: no or several captures, another capture or configuration than the run's, weights
        that a prior needs are missing.
    """
    if len(captures) > 1:
        raise InputError(f"one run trains on one capture, {len(captures)} were given")
    progress = progress or Progress()
    opened = opened_recipe(captures, out, config, seed, assets=assets, say=progress.say)
    with opened as (stages, sampler):
        local = None if devices is None else jax.local_devices()[:devices]
        if replay:
            return loop.replay(stages, out, devices=local, loop=config.loop, progress=progress)
        return loop.train(
            stages, out, seed=seed, steps=steps, minutes=minutes, loop=config.loop,
            devices=local, on_sample=sampler, progress=progress,
        )  # fmt: skip


@contextlib.contextmanager
def opened_recipe(
    captures: list[pathlib.Path], out: pathlib.Path, config: AvatarConfig, seed: int,
    *, counted: bool = False, assets: pathlib.Path | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[tuple[Stage, ...], loop.OnSample]]:
    """The recipe of a run, made where there is none yet, and what draws its sample pictures.

    Args:
      captures, out, config, seed: see `train`.
      counted: whether the volumes may stand beside larger ones: "surface_box" then says how many
        voxels it spans, see `geometry.volume.lookup`.
      assets: folder of weights that the priors need; say: gets lines for the person.
    """
    priors = open_priors(config, out, assets, say)
    config = priors.config
    run, capture = _opened(captures, out, config, seed, priors)
    priors.check(run)
    spec, inputs = run.spec_as(AvatarSpec), run.inputs()
    frozen = frozen_arrays(inputs)
    train_ids = inputs["train"]
    geometry = GeometryCache(
        inputs["vertices"], train_ids[frame_order(len(train_ids))], frozen, config=config,
        file=out / "geometry.npz", digest=geometry_digest(capture.digest, config, spec),
    )
    try:
        feed = make_feed(capture, spec, inputs, geometry, config, priors.depths(capture))
        seen = dict(frozen)
        if counted:
            seen["surface_box"] = np.array(
                [*frozen["surface_box"], spec.shape[::-1]], np.float32
            )
        stages = build(
            config, spec, seen, feed, priors.clip if config.loss.semantic else None,
            revision(capture, spec, inputs, frozen, head_of(inputs), config),
        )
        yield stages, _sampler(capture, spec, inputs, frozen, config)
    finally:
        geometry.close()


def _opened(
    captures: list[pathlib.Path], out: pathlib.Path, config: AvatarConfig, seed: int,
    priors: Priors | None = None,
) -> tuple[Run, Capture]:
    if not processes.from_first(lambda: is_run(out)):
        if not captures:
            raise InputError(f"{out}: no run there yet, expected a capture to train on")
        capture = load_capture(captures[0])
        priors = priors or Priors(config)
        # What is missing is said before anything is made.
        loss_layers(capture, config, priors.depths(capture))

        def create() -> None:
            codes = None
            if config.field.semantic_dims:
                assert priors.clip is not None
                codes = code_components(
                    frame_codes(priors.clip, capture), capture.train, config.field.semantic_dims
                )
            spec, inputs = prepare(capture, config, codes)
            inputs |= surface_arrays(spec, capture.head, config=config)
            source = {"path": str(captures[0].absolute()), "digest": capture.digest}
            create_run(
                out, system="avatar", config=to_document(config), seed=seed,
                spec=dataclasses.asdict(spec), sources=(source, *priors.sources),
                inputs=inputs,
            )

        processes.from_first(create)
        # Both ways to here see the spec as JSON gives it back.
        return load_run(out), capture
    run = load_run(out)
    refuse_contradiction(out, run.config_as(AvatarConfig), config)
    return run, open_capture(run, captures[0] if captures else None)


def frozen_arrays(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that are arguments of the step and of rendering."""
    return {name: inputs[name] for name in _FROZEN} | {
        "template": inputs["head/template"], "faces": inputs["head/faces"]
    }


def evaluation_modes(run: pathlib.Path) -> tuple[tuple[str, str], ...]:
    """The blocks of a run's evaluation; with the capture's sway too where it was measured again."""
    modes = (("test", "measured"), ("driven", "predicted"))
    return (*modes, ("captured", "captured")) if any((run / REVISED).glob("*.npz")) else modes


def render_stream(run: str | pathlib.Path, options: RenderOptions) -> RenderStream:
    """The pictures of a run that `options` ask for.

    Raises:
      InputError: the run, a driving capture or an option is at fault.
    """
    loaded = load_run(run)
    config = loaded.config_as(AvatarConfig)
    spec, inputs = loaded.spec_as(AvatarSpec), loaded.inputs()
    frozen = frozen_arrays(inputs)
    head = head_of(inputs)
    (stage,) = build(config, spec, frozen, None)
    variables, step = loop.load_variables(stage, loaded.path, seed=loaded.seed)
    if options.torso != "captured":
        inputs = revised_inputs(inputs, newest_revision(loaded.path, stage.name, step))
    requests = make_requests(options, spec, inputs, head, config)
    render = renderer(variables, frozen, requests.size, config)
    capture, notes = capture_at_hand(loaded, options.capture)
    audio, rate = _sound(options, capture, requests, spec)
    return RenderStream(
        frames=in_order(functools.partial(render, requests), range(len(requests.frame_ids))),
        frame_ids=[int(frame) for frame in requests.frame_ids],
        fps=spec.fps,
        size=requests.size,
        count=len(requests.frame_ids),
        audio=audio,
        audio_rate=rate,
        vertices=iter(requests.vertices),
        faces=np.asarray(head.faces),
        capture=capture,
        notes=(*requests.notes, *notes),
    )


def head_of(inputs: dict[str, np.ndarray]) -> HeadModel:
    """The run's head model."""
    prefix = "head/"
    return head_from_arrays(
        {name[len(prefix):]: value for name, value in inputs.items() if name.startswith(prefix)}
    )


def _sound(options: RenderOptions, capture: Capture | None, requests: Requests, spec: AvatarSpec):
    """The sound of the frames shown: the driving capture's where its expressions are played."""
    if options.expression_from is not None:
        driving = load_capture(options.expression_from)
        ids = np.sort(np.concatenate([driving.train, driving.test]))[: len(requests.frame_ids)]
        samples, rate = driving.audio(), driving.audio_rate
    elif capture is not None:
        ids, samples, rate = requests.frame_ids, capture.audio(), capture.audio_rate
    else:
        return None, 16000
    return audio_of_frames(samples, [int(i) for i in ids], fps=spec.fps, rate=rate), rate


def _sampler(capture: Capture, spec, inputs, frozen, config):
    """Called by the loop: two training and two held-out frames, truth above render."""
    head = head_of(inputs)

    def sample(stage, step: int, variables: Variables, folder: pathlib.Path) -> None:
        rows = []
        held = revised_inputs(inputs, newest_revision(folder.parent, stage.name, step))
        for split in ("train", "test"):
            requests = make_requests(RenderOptions(split=split), spec, held, head, config) if len(
                inputs[split]
            ) else None
            if requests is None:
                continue
            render = renderer(variables, frozen, spec.size, config)
            for index in {len(requests.frame_ids) // 3, (2 * len(requests.frame_ids)) // 3}:
                picture = np.asarray(render(requests, index)["rgb"])
                picture = np.round(picture * 255).astype(np.uint8)
                truth = capture.frame(int(requests.frame_ids[index]))
                rows.append(np.concatenate([truth, picture]))
        write_image(folder / f"step_{step:06d}.png", np.concatenate(rows, axis=1))

    return sample
