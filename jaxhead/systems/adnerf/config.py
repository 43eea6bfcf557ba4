"""Configuration of AD-NeRF: what a user may set with `--set`, and the presets."""

from __future__ import annotations

import dataclasses

from jaxhead.systems.adnerf import nerf_config
from jaxhead.systems.adnerf.hash_config import HashConfig
from jaxhead.systems.adnerf.nerf_config import NerfConfig
from jaxhead.training.configuration import choice, number
from jaxhead.training.loop import LoopConfig

FIELDS = ("nerf", "hash")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """What a frame hears."""

    features: str = choice("mel", ("mel", "deepspeech", "hubert", "esperanto"))
    window: int = number(16, 1, 1024)  # rows of features around a frame
    scaled: bool = True  # features in deviations over the training frames; published runs: as is


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdnerfConfig:
    """Everything a run is made of; `field` says which of `nerf` and `hash` counts."""

    field: str = choice("nerf", FIELDS)
    audio: AudioConfig = AudioConfig()
    nerf: NerfConfig = NerfConfig()
    hash: HashConfig = HashConfig()
    loop: LoopConfig = LoopConfig(sample_every=2000)


def default() -> AdnerfConfig:
    """The published networks and sampling: days on one GPU, as published."""
    return AdnerfConfig()


def published() -> AdnerfConfig:
    """The oddities that the released checkpoints depend on, see `nerf_config.published`."""
    return AdnerfConfig(
        audio=AudioConfig(features="deepspeech", scaled=False), nerf=nerf_config.published()
    )


def small() -> AdnerfConfig:
    """The published recipe in sizes for a CPU, see `nerf_config.small`."""
    return AdnerfConfig(nerf=nerf_config.small())


def fast() -> AdnerfConfig:
    """The same conditions on a hash field: minutes on two CPU cores at 128 pixels."""
    return AdnerfConfig(field="hash")


PRESETS = {"default": default, "published": published, "small": small, "fast": fast}
