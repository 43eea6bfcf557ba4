"""What the verbs do with a run of the published networks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.audio.windows import frame_windows
from jaxhead.captures.format import Capture
from jaxhead.networks.audio_condition import window_frames
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.inputs import AdnerfSpec
from jaxhead.systems.adnerf.nerf_feed import frozen_arrays, make_feeds
from jaxhead.systems.adnerf.nerf_model import render_frame
from jaxhead.systems.adnerf.nerf_stages import build
from jaxhead.systems.adnerf.rays import published_camera, published_poses
from jaxhead.systems.adnerf.requests import Clip, windows_of
from jaxhead.training.system import Stage, Variables


def stages(
    config: AdnerfConfig, spec: AdnerfSpec, inputs: dict[str, np.ndarray], capture: Capture | None
) -> tuple[Stage, ...]:
    """The recipe; without a capture nothing can be trained."""
    feeds = None
    if capture is not None:
        windows = frame_windows(
            inputs["speech"], np.arange(spec.frames), rate=spec.rate, fps=spec.fps,
            size=config.audio.window, beyond=inputs["speech_beyond"],
        )  # fmt: skip
        feeds = make_feeds(
            capture, inputs, np.asarray(windows), config.nerf,
            process=jax.process_index(), processes=jax.process_count(),
        )  # fmt: skip
    frozen = frozen_arrays(inputs, config.nerf)
    return build(config.nerf, (config.audio.window, spec.width), frozen, feeds)


def renderer(
    variables: Variables, spec: AdnerfSpec, inputs: dict[str, np.ndarray], config: AdnerfConfig,
    size: tuple[int, int],
) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
    """A function from a request to the picture of `render_frame`, compiled once."""
    del spec
    frozen = jax.tree.map(jnp.asarray, frozen_arrays(inputs, config.nerf))
    picture = jax.jit(functools.partial(render_frame, size=size, config=config.nerf))

    def render(request: dict[str, np.ndarray]) -> dict[str, Any]:
        arrays = {name: jnp.asarray(value, jnp.float32) for name, value in request.items()}
        return picture(variables, {**frozen, **arrays})

    return render


def requests(
    clip: Clip, spec: AdnerfSpec, inputs: dict[str, np.ndarray], config: AdnerfConfig
) -> Iterator[dict[str, np.ndarray]]:
    """One request of `render_frame` per picture, in order."""
    del inputs
    camera = published_camera(np.asarray(clip.K, np.float64))
    poses, count = published_poses(clip.poses), config.nerf.audio.smoothed
    frames = max(1, int(np.ceil(len(clip.speech) / clip.speech.rate * spec.fps)))
    for index in range(len(clip)):
        windows = windows_of(clip, index, spec, size=config.audio.window, count=count)
        heard = window_frames(int(clip.heard[index]), count)
        # Frames that are not there are zero before the network, as published.
        there = (heard >= 0) & (heard < frames)
        yield {
            "audio": np.where(there[:, None, None], windows, 0),
            "camera": camera,
            "camera_to_world": poses[clip.order[index]],
            "background": clip.background,
        }
