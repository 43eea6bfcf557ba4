"""Configuration of the fast variant: hash field, occupancy sampling, deforming torso."""

from __future__ import annotations

import dataclasses

from jaxhead.training.configuration import choice, number


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechConfig:
    """From windows of features to the condition of the face."""

    codes: int = number(64, 32, 1024)  # of the audio network, before and after smoothing
    dims: int = number(6, 1, 64)  # numbers that the face is told
    feature_noise: float = number(0.7, 0.0, 10.0)  # in units of a feature's deviation
    loudness_noise: float = number(0.5, 0.0, 10.0)  # the same shift of all features of a frame
    code_noise: float = number(0.3, 0.0, 10.0)  # in units of a measured number's deviation
    weight_decay: float = number(0.1, 0.0, 10.0)
    learning_rate: float = number(1e-3, 0.0, 10.0)
    rest_dims: int = number(4, 0, 64)  # components of the expression beside speech, training only
    rest_noise: float = number(0.3, 0.0, 10.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """The field in rigid head space."""

    levels: int = number(16, 1, 32)
    features: int = number(2, 1, 8)
    log2_size: int = number(15, 4, 24)
    base_resolution: int = number(16, 1, 1024)
    finest_resolution: int = number(256, 1, 1 << 16)
    rule: str = choice("instant-ngp", ("instant-ngp", "torch-ngp"))
    hidden: int = number(64, 1, 1024)
    density_layers: int = number(2, 1, 12)  # linear layers, the last one included
    color_layers: int = number(2, 1, 12)
    geometry_features: int = number(15, 0, 255)  # outputs of the density net beside the density
    pose: bool = True  # hair and neck hang on the head's pose as the face does on speech
    pose_noise: float = number(0.5, 0.0, 10.0)  # in units of a number's deviation
    direction_noise: float = number(0.2, 0.0, 10.0)  # deviation per axis, before normalising
    sway: bool = True  # measured on training frames, else guessed from the pose
    dtype: str = choice("float32", ("float32", "bfloat16"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Rays of a step and samples of a ray. The batch is global: it is split over the devices."""

    frames: int = number(8, 1, 4096)
    head_rays: int = number(128, 1, 1 << 20)  # per frame, through the head's region
    mouth: float = number(0.15, 0.0, 0.8)  # share of them through the mouth's rectangle
    eyes: float = number(0.05, 0.0, 0.8)  # share of them through those of the eyes
    torso_rays: int = number(64, 0, 1 << 20)  # per frame, anywhere, torso and background alone
    samples: int = number(12, 1, 1024)
    segments: int = number(48, 1, 4096)  # coarse pieces of a ray tested for occupancy
    resolution: int = number(48, 4, 256)  # of the occupancy grid
    margin: float = number(0.08, 0.0, 10.0)  # around the mesh, as a share of a metre
    refresh_every: int = number(16, 1, 1 << 20)  # steps between looks of the occupancy grid
    pool: int = number(512, 1, 1 << 20)  # frames resident on a device at a time
    rotate_every: int = number(500, 1, 1 << 30)  # steps between changes of a full pool


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorsoConfig:
    """The torso: a picture that deforms with the head's pose (RAD-NeRF's pseudo-3D torso)."""

    levels: int = number(12, 1, 32)
    features: int = number(2, 1, 8)
    log2_size: int = number(14, 4, 24)
    base_resolution: int = number(8, 1, 1024)
    finest_resolution: int = number(256, 1, 1 << 16)
    hidden: int = number(64, 1, 1024)
    layers: int = number(3, 1, 12)
    motion: bool = True  # the capture's affine motion, guessed from the pose when rendered
    motion_noise: float = number(0.3, 0.0, 10.0)
    deformation: float = number(0.05, 0.0, 1.0)  # largest residual shift, share of the picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss's terms."""

    delta: float = number(0.1, 1e-6, 10.0)  # Huber's bend
    color: float = number(1.0, 0.0, 1e6)
    speech: float = number(0.01, 0.0, 1e6)  # condition against the measured mouth
    opacity: float = number(0.005, 0.0, 1e6)  # head and person masks
    surface: float = number(0.001, 0.0, 1e6)  # distance from skin, per centimetre
    distortion: float = number(0.0005, 0.0, 1e6)  # spread along a ray, per centimetre
    hidden: float = number(0.001, 0.0, 1e6)  # unseen: solid inside the mesh, empty outside it
    idle: float = number(0.005, 0.0, 1e6)  # opacity of the torso outside its mask
    random_background: float = number(0.2, 0.0, 1.0)  # share of rays over a random colour
    table_decay: float = number(1e-6, 0.0, 1.0)  # L2 on hash tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam with a schedule, and an average of the weights for rendering."""

    learning_rate: float = number(5e-3, 0.0, 10.0)
    table_rate: float = number(1e-2, 0.0, 10.0)
    final_share: float = number(0.03, 1e-6, 1.0)  # of the rate, at the last step
    hold: float = number(0.3, 0.0, 0.99)  # share of the run before the rate falls
    ema: float = number(0.998, 0.0, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashConfig:
    """Everything that is the fast variant's own."""

    speech: SpeechConfig = SpeechConfig()
    field: FieldConfig = FieldConfig()
    sampling: SamplingConfig = SamplingConfig()
    torso: TorsoConfig = TorsoConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    steps: int = number(6000, 1, 1 << 40)
