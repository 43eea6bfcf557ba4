"""What the benchmarks measure on: a capture with everything that training makes of it."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.synthetic import synthesize
from jaxhead.systems.avatar import verbs
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.data import make_feed
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.systems.avatar.surface import GeometryCache
from jaxhead.systems.avatar.system import build
from jaxhead.training.state import TrainState, create_state, root_key
from jaxhead.training.stepping import Stepper
from jaxhead.training.system import Stage, Variables


@dataclasses.dataclass(eq=False)
class Subject:
    """A capture ready to train on.

    capture, config, spec, inputs, frozen: as `systems.avatar.verbs.train` has them.
    geometry: cache of the frames' surfaces; close it.
    stage: the recipe.
    arrays: the feed's arrays at step 0.
    """

    capture: Capture
    config: AvatarConfig
    spec: AvatarSpec
    inputs: dict[str, np.ndarray]
    frozen: dict[str, np.ndarray]
    geometry: GeometryCache
    stage: Stage
    arrays: dict[str, Any]

    def variables(self) -> Variables:
        """Those of an untrained avatar."""
        return self.stage.system.init(jax.random.key(0))

    def state(self) -> TrainState:
        """The state before the first step."""
        return create_state(self.stage, self.variables())

    def root(self) -> jax.Array:
        """The key that the training's randomness follows from."""
        return root_key(0, self.stage.name)

    def stepper(self, length: int) -> Stepper:
        """The pmapped step on the first device, at the beginning, `length` steps a dispatch."""
        variables = self.variables()
        return Stepper(
            self.stage,
            seed=0,
            devices=jax.local_devices()[:1],
            length=length,
            state=create_state(self.stage, variables),
            frozen=variables.frozen,
        )


def open_subject(
    path: str | pathlib.Path, folder: pathlib.Path, config: AvatarConfig
) -> Subject:
    """The subject of a capture.

    Args:
      path: the capture folder.
      folder: where a run without training may be made.
      config: what to measure.

    Raises:
      InputError: the capture is at fault.
    """
    run, capture = verbs._opened([pathlib.Path(path)], folder / "run", config, 0)
    spec, inputs = run.spec_as(AvatarSpec), run.inputs()
    frozen = verbs.frozen_arrays(inputs)
    geometry = GeometryCache(inputs["vertices"], inputs["train"], frozen, config=config)
    feed = make_feed(capture, spec, inputs, geometry, config)
    (stage,) = build(config, spec, frozen, feed)
    assert feed.refresh is not None
    return Subject(
        capture=capture,
        config=config,
        spec=spec,
        inputs=inputs,
        frozen=frozen,
        geometry=geometry,
        stage=stage,
        arrays=feed.refresh(feed.arrays, 0),
    )


def small_capture(folder: pathlib.Path, *, frames: int, size: int) -> pathlib.Path:
    """A synthetic capture made on the fly, for where no capture was given."""
    return synthesize(folder / "capture", frames=frames, size=size, novel_frames=0)
