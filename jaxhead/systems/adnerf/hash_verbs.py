"""What the verbs do with a run whose field is the hash field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.hash_feed import make_feed
from jaxhead.systems.adnerf.hash_model import SMOOTHED
from jaxhead.systems.adnerf.hash_predict import predict
from jaxhead.systems.adnerf.hash_system import PLAYER, build
from jaxhead.systems.adnerf.inputs import AdnerfSpec
from jaxhead.systems.adnerf.requests import Clip, hash_requests
from jaxhead.training.system import Stage, Variables

_FROZEN = (
    "K", "box", "surface_box", "background", "occupancy", "solid", "skin", "sway_box",
    "mouth_scale",
)  # fmt: skip


_picture = jax.jit(predict, static_argnames=("size", "rest", "config"))


def frozen_arrays(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that are arguments of the step and of rendering."""
    return {name: inputs[name] for name in _FROZEN}


def stages(
    config: AdnerfConfig, spec: AdnerfSpec, inputs: dict[str, np.ndarray], capture: Capture | None
) -> tuple[Stage, ...]:
    """The recipe; without a capture nothing can be trained."""
    feed = None if capture is None else make_feed(capture, spec, inputs, config)
    return build(config, spec, frozen_arrays(inputs), feed)


def renderer(
    variables: Variables, spec: AdnerfSpec, inputs: dict[str, np.ndarray], config: AdnerfConfig,
    size: tuple[int, int],
) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
    """A function from a request to the picture of `predict`, compiled once per size."""
    params, state = variables.params[PLAYER], variables.state
    frozen = {name: jnp.asarray(value) for name, value in frozen_arrays(inputs).items()}

    def render(request: dict[str, np.ndarray]) -> dict[str, Any]:
        arrays = {name: jnp.asarray(value, jnp.float32) for name, value in request.items()}
        return _picture(
            params, state, frozen, arrays, size=size, rest=spec.rest, config=config.hash
        )

    return render


def requests(
    clip: Clip, spec: AdnerfSpec, inputs: dict[str, np.ndarray], config: AdnerfConfig
) -> Iterator[dict[str, np.ndarray]]:
    """One request per picture of a clip."""
    return hash_requests(
        clip, spec, inputs, window=config.audio.window, smoothed=SMOOTHED
    )
