"""A tiny synthetic capture and a tiny avatar of it, made once per test process."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.captures.format import Capture, load_capture
from jaxhead.captures.synthetic import synthesize
from jaxhead.heads.model import HeadModel
from jaxhead.systems.avatar import verbs
from jaxhead.systems.avatar.config import (
    AvatarConfig,
    FieldConfig,
    SamplingConfig,
    SurfaceConfig,
    TorsoConfig,
)
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.training.loop import LoopConfig
from jaxhead.training.runs import Run

CONFIG = AvatarConfig(
    field=FieldConfig(
        levels=4, log2_size=10, base_resolution=8, finest_resolution=64, hidden=16,
        density_layers=2, color_layers=2, geometry_features=7, expression_dims=4,
    ),
    surface=SurfaceConfig(resolution=24, pool=8, rotate_every=100),
    sampling=SamplingConfig(
        frames=4, head_rays=16, torso_rays=8, samples=8, segments=16, occupancy_resolution=16,
        occupancy_every=2,
    ),
    torso=TorsoConfig(levels=4, log2_size=8, base_resolution=4, finest_resolution=32, hidden=16),
    steps=8,
    loop=LoopConfig(steps_per_dispatch=2, log_every=1, save_every_seconds=0),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Small:
    """An untrained run of `CONFIG`.

    Attributes:
      folder: the capture's; run: the run that was made from it.
      frozen: arrays on the device.
    """

    folder: pathlib.Path
    capture: Capture
    config: AvatarConfig
    run: Run
    spec: AvatarSpec
    inputs: dict[str, np.ndarray]
    frozen: dict[str, jax.Array]
    head: HeadModel

    def stage(self, feed: Any = None, config: AvatarConfig | None = None, clip: Any = None):
        """The recipe's only stage."""
        frozen = verbs.frozen_arrays(self.inputs)
        (stage,) = verbs.build(config or self.config, self.spec, frozen, feed, clip)
        return stage


def open_run(folder: pathlib.Path, out: pathlib.Path, config: AvatarConfig) -> Small:
    run, capture = verbs._opened([folder], out, config, 0)
    inputs = run.inputs()
    return Small(
        folder=folder, capture=capture, config=config, run=run,
        spec=run.spec_as(AvatarSpec), inputs=inputs,
        frozen={k: jnp.asarray(v) for k, v in verbs.frozen_arrays(inputs).items()},
        head=capture.head,
    )  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A synthetic capture of 12 training and 3 held-out frames of 64 pixels."""
    path = tmp_path_factory.mktemp("capture") / "made"
    return synthesize(path, frames=15, size=64, seed=1, novel_frames=0)


@pytest.fixture(scope="session")
def capture(folder):
    return load_capture(folder)


@pytest.fixture(scope="session")
def config():
    return CONFIG


@pytest.fixture(scope="session")
def small(folder, tmp_path_factory):
    return open_run(folder, tmp_path_factory.mktemp("small") / "run", CONFIG)


@pytest.fixture(scope="session")
def variables(small):
    """An untrained avatar."""
    return small.stage().system.init(jax.random.key(0))
