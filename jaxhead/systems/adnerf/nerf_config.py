"""Configuration of the faithful variant: the published networks, sampling and schedule.

The defaults are the published ones except where the published code has an oddity that only its
checkpoints need; each of those is an option, all of them are on in the preset `published`.
"""

from __future__ import annotations

import dataclasses

from jaxhead.training.configuration import choice, number

POSE_CODES = ("angles", "published")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NerfFieldConfig:
    """The four networks (head and torso, coarse and fine); section 3.2 of the paper."""

    depth: int = number(8, 2, 64)  # layers of the trunk
    width: int = number(256, 4, 4096)
    skip: int = number(4, 0, 63)  # after this layer the input comes in again
    point_bands: int = number(10, 0, 16)
    direction_bands: int = number(4, 0, 16)
    pose_bands: int = number(3, 0, 16)  # of the torso's pose code
    pose_code: str = choice("angles", POSE_CODES)  # which angles the torso is told
    precision: str = choice("default", ("default", "high", "highest"))  # of the products
    # float16 keeps the digits that a GPU's float32 products (TF32) see of their operands.
    picture_dtype: str = choice("float32", ("float32", "float16", "bfloat16"))  # between layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class NerfSamplingConfig:
    """Rays of a step and samples of a ray. The batch of frames is split over the devices."""

    frames: int = number(1, 1, 4096)  # per step
    rays: int = number(2048, 2, 1 << 20)  # per frame, head stages ("N_rand")
    torso_rays: int = number(1024, 2, 1 << 20)  # per frame, torso stage
    rect_share: float = number(0.95, 0.0, 1.0)  # of rays in the face's box; 0: no box
    rect_transposed: bool = False  # published: rows are compared with x, columns with y
    coarse: int = number(64, 4, 1024)  # samples of a ray
    fine: int = number(128, 1, 1024)  # further ones, where the coarse field has weight
    jitter: bool = True  # in training; rendering has none
    near: float = number(0.0, 0.0, 1e6)  # depth of the first sample; 0 with far 0: from the poses
    far: float = number(0.0, 0.0, 1e6)  # depth of the background
    skip: bool = True  # samples without a share in the gradient are left out of its computation
    chunk: int = number(0, 0, 1 << 20)  # rays through the fine network together; 0: as suits


@dataclasses.dataclass(frozen=True, kw_only=True)
class NerfAudioConfig:
    """From windows of features to the audio code."""

    codes: int = number(64, 1, 4096)
    smoothed: int = number(8, 1, 256)  # neighbouring frames that the attention sees
    looked_at: int = number(32, 1, 4096)  # channels that decide on its weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class NerfOptimiserConfig:
    """Adam (betas 0.9, 0.999, epsilon 1e-8), its rate falling exponentially for ever."""

    learning_rate: float = number(5e-4, 0.0, 10.0)
    attention_factor: float = number(5.0, 0.0, 1000.0)  # its rate, in units of the others'
    decay: float = number(0.1, 1e-6, 1.0)  # of the rate in decay_steps
    decay_steps: int = number(250_000, 1, 1 << 40)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NerfConfig:
    """Everything that is the faithful variant's own."""

    field: NerfFieldConfig = NerfFieldConfig()
    sampling: NerfSamplingConfig = NerfSamplingConfig()
    audio: NerfAudioConfig = NerfAudioConfig()
    optimiser: NerfOptimiserConfig = NerfOptimiserConfig()
    head_steps: int = number(400_000, 2, 1 << 40)  # of both head stages together
    smooth_from: int = number(200_000, 1, 1 << 40)  # head step that switches the attention on
    torso_steps: int = number(400_000, 0, 1 << 40)  # 0: the torso is not learned


def paper() -> NerfConfig:
    """The published sizes without the published oddities: days on one GPU."""
    return NerfConfig()


def published() -> NerfConfig:
    """What the released checkpoints were trained with; `convert` makes runs of this."""
    return NerfConfig(
        field=NerfFieldConfig(pose_code="published"),
        sampling=NerfSamplingConfig(rect_transposed=True),
    )


def small() -> NerfConfig:
    """The same recipe small enough for a CPU: hours at 128 pixels, minutes to see it learn."""
    return NerfConfig(
        field=NerfFieldConfig(width=128),
        sampling=NerfSamplingConfig(rays=512, torso_rays=256, coarse=32, fine=32),
        optimiser=NerfOptimiserConfig(decay_steps=20_000),
        head_steps=20_000, smooth_from=10_000, torso_steps=10_000,
    )  # fmt: skip
