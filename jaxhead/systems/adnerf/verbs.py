"""AD-NeRF's verbs: what the command line calls, for either field."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxhead.captures.format import Capture, load_capture
from jaxhead.files.errors import InputError
from jaxhead.files.images import write_image
from jaxhead.rendering.in_order import in_order
from jaxhead.rendering.requests import RenderOptions, RenderStream, audio_of_frames
from jaxhead.systems.adnerf import config as configs
from jaxhead.systems.adnerf import hash_verbs, nerf_verbs
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.inputs import AdnerfSpec, prepare
from jaxhead.systems.adnerf.nerf_stages import last_stage
from jaxhead.systems.adnerf.requests import RATE, Clip, make_clip, refuse_options
from jaxhead.training import loop, processes
from jaxhead.training.configuration import to_document
from jaxhead.training.progress import Progress
from jaxhead.training.runs import Run, create_run, is_run, load_run
from jaxhead.training.sources import capture_at_hand, open_capture, refuse_contradiction
from jaxhead.training.system import Variables

presets = configs.PRESETS


def evaluation_modes(run: pathlib.Path) -> tuple[tuple[str, str], ...]:
    """How held-out frames are rendered for scores: from their speech and head pose alone."""
    del run
    return (("speech", "predicted"),)


def field_of(config: AdnerfConfig) -> ModuleType:
    """The module with `stages`, `renderer` and `requests` of a run's field."""
    return {"hash": hash_verbs, "nerf": nerf_verbs}[config.field]


def train(
    captures: list[pathlib.Path],
    out: pathlib.Path,
    *,
    config: AdnerfConfig,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    devices: int | None = None,
    progress: Progress | None = None,
    replay: bool = False,
) -> loop.TrainResult | loop.Replayed:
    """Trains on one capture in the folder `out`, or goes on with the run that is there.

    Args:
      captures: one capture folder; none for a run that goes on and whose capture has not moved.
      out: the run.
      config: the run's configuration.
      seed, steps, minutes, progress: see `training.loop.train`.
      devices: how many local devices to use, None for all.
      replay: instead repeat the step that was not finite, see `training.replay`.

    Raises:
      InputError: no or several captures, a silent one, another capture or configuration than the
        run's.
    """
    if len(captures) > 1:
        raise InputError(f"one run trains on one capture, {len(captures)} were given")
    run, capture = _opened(captures, out, config, seed)
    spec, inputs = run.spec_as(AdnerfSpec), run.inputs()
    stages = field_of(config).stages(config, spec, inputs, capture)
    local = None if devices is None else jax.local_devices()[:devices]
    if replay:
        return loop.replay(stages, out, devices=local, loop=config.loop, progress=progress)
    return loop.train(
        stages, out, seed=seed, steps=steps, minutes=minutes, loop=config.loop, devices=local,
        on_sample=_sampler(capture, spec, inputs, config), progress=progress,
    )  # fmt: skip


def _opened(
    captures: list[pathlib.Path], out: pathlib.Path, config: AdnerfConfig, seed: int
) -> tuple[Run, Capture]:
    if not processes.from_first(lambda: is_run(out)):
        if not captures:
            raise InputError(f"{out}: no run there yet, expected a capture to train on")
        capture = load_capture(captures[0])

        def create() -> None:
            spec, inputs = prepare(capture, config)
            source = {"path": str(captures[0].absolute()), "digest": capture.digest}
            create_run(
                out, system="adnerf", config=to_document(config), seed=seed,
                spec=dataclasses.asdict(spec), sources=(source,), inputs=inputs,
            )

        processes.from_first(create)
        # Both ways to here see the spec as JSON gives it back.
        return load_run(out), capture
    run = load_run(out)
    refuse_contradiction(out, run.config_as(AdnerfConfig), config)
    return run, open_capture(run, captures[0] if captures else None)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run that can render.

    Attributes:
      run, config, spec, inputs: of the folder.
      variables: of the last checkpoint, moving averages where there are any.
      capture: the run's, None where it is not at hand; notes: remarks on that.
    """

    run: Run
    config: AdnerfConfig
    spec: AdnerfSpec
    inputs: dict[str, np.ndarray]
    variables: Variables
    capture: Capture | None
    notes: tuple[str, ...]

    def renderer(self, size: tuple[int, int]) -> Callable[[dict], dict[str, jax.Array]]:
        """A function from a request to a picture of (H, W)."""
        return field_of(self.config).renderer(
            self.variables, self.spec, self.inputs, self.config, size
        )

    def requests(self, clip: Clip) -> Iterator[dict[str, np.ndarray]]:
        """One request per picture of a clip."""
        return field_of(self.config).requests(clip, self.spec, self.inputs, self.config)


def open_run(run: str | pathlib.Path, capture: str | None = None) -> Opened:
    """A run with its weights.

    Args:
      run: the folder.
      capture: path of the run's capture, where it has moved.

    Raises:
      InputError: not a run, of another system, without a checkpoint; another capture.
    """
    loaded = load_run(run)
    if loaded.system != "adnerf":
        raise InputError(f"{run}: is a run of the system {loaded.system}, not of adnerf")
    config = loaded.config_as(AdnerfConfig)
    spec, inputs = loaded.spec_as(AdnerfSpec), loaded.inputs()
    stage = last_stage(loaded.path, field_of(config).stages(config, spec, inputs, None))
    variables, _ = loop.load_variables(stage, loaded.path, seed=loaded.seed)
    at_hand, notes = capture_at_hand(loaded, capture)
    return Opened(loaded, config, spec, inputs, variables, at_hand, notes)


def render_stream(run: str | pathlib.Path, options: RenderOptions) -> RenderStream:
    """The pictures of a run that `options` ask for.

    Raises:
      InputError: the run, a driving capture or sound, or an option is at fault.
    """
    refuse_options(options)
    opened = open_run(run, options.capture)
    clip = make_clip(
        options, opened.spec, opened.inputs, opened.config.audio,
        own=opened.run.sources[0]["digest"],
    )  # fmt: skip
    return RenderStream(
        frames=in_order(opened.renderer(clip.size), opened.requests(clip)),
        frame_ids=[int(frame) for frame in clip.frame_ids],
        fps=opened.spec.fps,
        size=clip.size,
        count=len(clip),
        audio=_sound(clip, opened.capture, opened.spec),
        audio_rate=RATE,
        follows_audio=clip.samples is not None,
        capture=opened.capture,
        notes=(*clip.notes, *opened.notes),
    )


def _sound(clip: Clip, capture: Capture | None, spec: AdnerfSpec) -> np.ndarray | None:
    if clip.samples is not None:
        return clip.samples[: round(len(clip) * RATE / spec.fps)]
    if capture is None:
        return None
    return audio_of_frames(
        capture.audio(), [int(i) for i in clip.heard], fps=spec.fps, rate=capture.audio_rate
    )


def _sampler(
    capture: Capture, spec: AdnerfSpec, inputs: dict[str, np.ndarray], config: AdnerfConfig
) -> loop.OnSample:
    """Called by the loop: two training and two held-out frames, truth above render."""
    field = field_of(config)

    def sample(stage: Any, step: int, variables: Variables, folder: pathlib.Path) -> None:
        del stage
        render, columns = field.renderer(variables, spec, inputs, config, spec.size), []
        for split in ("train", "test"):
            ids: np.ndarray = inputs[split]
            if not len(ids):
                continue
            clip = make_clip(RenderOptions(split=split), spec, inputs, config.audio)
            wanted = {len(ids) // 3, (2 * len(ids)) // 3}
            for index, request in enumerate(field.requests(clip, spec, inputs, config)):
                if index in wanted:
                    picture = np.asarray(render(request)["rgb"])
                    picture = np.round(picture * 255).astype(np.uint8)
                    columns.append(np.concatenate([capture.frame(int(ids[index])), picture]))
        write_image(folder / f"step_{step:06d}.png", np.concatenate(columns, axis=1))

    return sample
