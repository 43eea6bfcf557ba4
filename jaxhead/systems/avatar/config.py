"""Configuration of the avatar: what a user may set with `--set`, and the presets."""

import dataclasses

from jaxhead.training.configuration import choice, number
from jaxhead.training.loop import LoopConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """The conditional hash field F(p', E, d) of the head (INSTA's sizes are the preset `insta`)."""

    encoding: str = choice("hash", ("hash", "dense", "triplane"))  # of points
    levels: int = number(16, 1, 32)  # of the hash grid, as the next two
    features: int = number(2, 1, 8)
    log2_size: int = number(15, 4, 24)
    base_resolution: int = number(16, 1, 1024)
    finest_resolution: int = number(256, 1, 1 << 16)
    rule: str = choice("instant-ngp", ("instant-ngp", "torch-ngp"))
    dense_resolution: int = number(64, 2, 512)  # finest dense grid; each doubles the one before
    plane_resolution: int = number(256, 2, 4096)  # finest tri-plane; each doubles the one before
    grid_features: int = number(4, 1, 64)  # of a dense grid, or of each plane
    hidden: int = number(64, 1, 1024)
    density_layers: int = number(2, 1, 12)  # linear layers, the last one included
    color_layers: int = number(2, 1, 12)
    geometry_features: int = number(15, 0, 255)  # outputs of the density net beside the density
    density_to_color: bool = False  # the color net sees the log density as well (INSTA)
    expression: str = choice("components", ("components", "coefficients"))  # or scores as they are
    expression_dims: int = number(10, 0, 256)  # how many of them
    expression_noise: float = number(0.4, 0.0, 10.0)  # in units of a component's deviation
    expression_region: str = choice("face", ("face", "lips", "everywhere"))
    pose: bool = True  # hair and neck hang on the head's pose as the face does on expressions
    pose_noise: float = number(0.5, 0.0, 10.0)  # in units of a number's deviation
    semantic_dims: int = number(0, 0, 64)  # of CLIP's code of the frame in its condition
    direction_noise: float = number(0.4, 0.0, 10.0)  # deviation per axis, before normalising
    direction_encoding: str = choice("spherical harmonics", ("spherical harmonics", "frequency"))
    direction_bands: int = number(4, 1, 10)  # frequencies of the latter, the patent's
    mapping: str = choice(
        "formula", ("formula", "nearest", "scaled", "program", "regions", "none")
    )
    beta: float = number(4.0, 0.0, 1000.0)  # 1/m, patent section 1
    cube: float = number(0.0, 0.0, 1e4)  # metres, side of the encoded cube about the origin; 0: box
    density: str = choice("cube", ("cube", "metre"))  # exp(0) per 1/64 of the box, or per metre
    dtype: str = choice("float32", ("float32", "bfloat16"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceConfig:
    """How a sample finds its triangle: a voxel volume per frame, or the exact tree."""

    nearest: str = choice("volume", ("volume", "bvh"))
    resolution: int = number(56, 4, 256)  # voxels along the longest side of the box
    margin: float = number(0.08, 0.0, 1.0)  # metres around the mesh in which the field may lie
    inflation: float = number(0.0, 0.0, 1.0)  # of the neutral box, share of its diagonal; 0: margin
    shell: bool = True  # the field stays near the tracked surface, see hull.py
    hull: bool = True  # and inside the silhouettes of the training frames
    sway: bool = True  # samples follow the capture's measured sway
    pool: int = number(512, 1, 1 << 20)  # frames resident on a device at a time
    rotate_every: int = number(500, 1, 1 << 30)  # steps between changes of a full pool


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Rays of a step and samples of a ray. The batch is global: it is split over the devices."""

    frames: int = number(8, 1, 4096)
    head_rays: int = number(128, 1, 1 << 20)  # per frame, through the head's region
    focus: float = number(0.15, 0.0, 0.8)  # share of them through eyes and mouth
    unseen: int = number(32, 1, 1 << 20)  # per frame, places near the guessed surface
    torso_rays: int = number(64, 0, 1 << 20)  # per frame, anywhere, torso and background alone
    uniform: bool = False  # head rays through any pixel alike, `focus` unread
    samples: int = number(12, 1, 1024)
    finer: int = number(2, 1, 64)  # times as many in pictures: from aside rays pass much hair
    step: float = number(0.0, 0.0, 1.0)  # metres between samples, see `place_by_step`; 0: by front
    front: float = number(0.02, 0.0, 10.0)  # metres after which samples are half as close; 0: even
    segments: int = number(48, 1, 4096)  # coarse pieces of a ray tested for occupancy
    occupancy_resolution: int = number(48, 4, 256)
    occupancy_every: int = number(16, 1, 1 << 20)
    occupancy_rule: str = choice("steady", ("steady", "instant-ngp"))  # an eighth a time, or theirs


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorsoConfig:
    """The 2D torso field, in the coordinates of the reference frame's torso."""

    shown: bool = True  # false: the head's field stands before the background alone
    levels: int = number(12, 1, 32)
    features: int = number(2, 1, 8)
    log2_size: int = number(14, 4, 24)
    base_resolution: int = number(8, 1, 1024)
    finest_resolution: int = number(256, 1, 1 << 16)
    hidden: int = number(64, 1, 1024)
    layers: int = number(3, 1, 12)
    motion_noise: float = number(0.3, 0.0, 10.0)
    deformation: float = number(0.05, 0.0, 1.0)  # largest residual shift, share of the picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss's terms."""

    delta: float = number(0.1, 1e-6, 10.0)  # Huber's bend, patent section 7
    color: float = number(1.0, 0.0, 1e6)
    opacity: float = number(0.005, 0.0, 1e6)  # head and person masks
    surface: float = number(0.001, 0.0, 1e6)  # distance from skin, per centimetre
    distortion: float = number(0.0005, 0.0, 1e6)  # spread along a ray, per centimetre
    hidden: float = number(0.001, 0.0, 1e6)  # unseen: solid inside the mesh, empty outside it
    unseen: float = number(0.003, 0.0, 1e6)  # opacity and colour of what is guessed (unseen.py)
    unseen_color: float = number(16.0, 0.0, 1e6)  # of the colour in it
    idle: float = number(0.005, 0.0, 1e6)  # opacity of the torso outside its mask
    rim: float = number(0.3, 0.0, 1e6)  # colour and opacity of the torso just under the head
    # Cosine of CLIP's codes; none: 0.1 where its weights are at hand, else 0 (docs/priors.md).
    semantic: float | None = number(None, 0.0, 1e6)
    region: float = number(1.0, 0.0, 1e6)  # of colour where parsing/ has mouth or lips (INSTA)
    region_from: int = number(0, 0, 1 << 40)  # steps before it counts
    depth: float = number(0.1, 0.0, 1e6)  # L1 of the distance along rays, per metre (INSTA)
    near: float = number(0.0, 0.0, 1e6)  # log density before `near_distance`, a ray's sum (INSTA)
    near_distance: float = number(0.2, 0.0, 1e3)  # metres from the camera
    thin: float = number(0.0, 0.0, 1e6)  # log density below 0 while all is thin, likewise
    depth_ordinal: float = number(0.0, 0.0, 1e6)  # order of pairs of depths, per centimetre
    depth_smoothness: float = number(0.0, 0.0, 1e6)  # neighbouring depths, per centimetre
    random_background: float = number(0.2, 0.0, 1.0)  # share of rays over a random colour
    table_decay: float = number(1e-6, 0.0, 1.0)  # L2 on hash tables
    network_decay: float = number(0.0, 0.0, 1.0)  # L2 on the head's networks (INSTA)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """Sway measured again with the trained head as the template, see motion.py."""

    again: float = number(0.6, 0.0, 1.0)  # until that share of the steps, 0: never, nor at the end
    times: int = number(2, 1, 16)  # so often until then, evenly; held-out frames at the end
    rounds: int = number(2, 1, 4)  # registrations, each with a new picture; at the end one more
    stiffness: float = number(0.2, 0.0, 1e3)  # of the lattice, beside a capture's own measurement
    skin: float = number(5.0, 0.0, 1e4)  # weight of a shift of skin that the mesh moves already
    frames: int = number(1000, 2, 1 << 20)  # looked at in all, others lie between them
    pose: float = number(1.0, 0.0, 1.0)  # share that stays of what follows the head's pose


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """What the priors look at (docs/priors.md); the weights are `loss.semantic` and `loss.depth_*`.
    """

    every: int = number(32, 1, 1 << 20)  # steps between pictures that CLIP looks at
    size: int = number(56, 8, 1024)  # side of these pictures in pixels, around the head
    unseen: float = number(0.5, 0.0, 1.0)  # share of them from a camera that turned
    turn: float = number(12.0, 0.0, 90.0)  # degrees, deviation of its yaw; of its pitch a half
    pose: bool = True  # compare [code, pose], the patent's prior vector, not codes alone
    distance: str = choice("skin", ("skin", "mesh", "capture"))  # what `loss.depth` compares with
    # What `loss.depth_ordinal` does.
    depth: str = choice("mesh", ("mesh", "skin", "capture", "folder", "depth anything"))
    inverse: bool = False  # in the folder's depth maps, larger is nearer
    pairs: int = number(64, 1, 1 << 20)  # of rays of a frame whose depths are ordered
    tie: float = number(0.02, 0.0, 1.0)  # share of a frame's range of depths that is none
    depth_size: int = number(266, 14, 2048)  # about the shorter side that Depth Anything sees


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam with a cosine schedule, and an average of the weights for rendering."""

    learning_rate: float = number(5e-3, 0.0, 10.0)
    table_rate: float = number(1e-2, 0.0, 10.0)
    final_share: float = number(0.03, 0.0, 1.0)  # of the rate, at the last step
    hold: float = number(0.3, 0.0, 0.99)  # share of the run before the rate falls
    ema: float = number(0.998, 0.0, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AvatarConfig:
    """Everything a run of the avatar is made of."""

    field: FieldConfig = FieldConfig()
    surface: SurfaceConfig = SurfaceConfig()
    sampling: SamplingConfig = SamplingConfig()
    torso: TorsoConfig = TorsoConfig()
    loss: LossConfig = LossConfig()
    motion: MotionConfig = MotionConfig()
    prior: PriorConfig = PriorConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    steps: int = number(6000, 1, 1 << 40)
    loop: LoopConfig = LoopConfig(sample_every=2000)


def of_pictures(config: AvatarConfig) -> AvatarConfig:
    """The configuration with as many samples of a ray as whole pictures take."""
    count = config.sampling.samples * config.sampling.finer
    return dataclasses.replace(
        config, sampling=dataclasses.replace(config.sampling, samples=count, finer=1)
    )


def default() -> AvatarConfig:
    """Two CPU cores, minutes: `may_5s`-like clips at 128 pixels in three minutes."""
    return AvatarConfig()


def insta() -> AvatarConfig:
    """INSTA's own recipe (configs/nerf/main.json), for one GPU; `experiments/insta.py` says more.

    The colour's mean over channels is thrice INSTA's weight of its sum, Huber's 1 / (5 delta); what
    INSTA adds to gradients per sample is in units of its loss scale of 128, here of a ray's mean.
    """
    frames, rays, samples = 16, 256, 64  # 4096 rays, 2^18 samples
    per_sample = 1e-4 / 128 * frames * rays
    return AvatarConfig(
        field=FieldConfig(
            features=8, log2_size=18, finest_resolution=2048, density_layers=3, color_layers=4,
            expression="coefficients", expression_dims=16, expression_noise=0.0,
            expression_region="lips", pose=False, pose_noise=0.0, direction_noise=0.0,
            mapping="regions", cube=1.0, density="metre", density_to_color=True,
        ),
        surface=SurfaceConfig(
            resolution=96, inflation=0.15, shell=False, hull=False, sway=False, pool=1700,
            rotate_every=375,  # a quarter of the pool changes: all of it in 1500 steps
        ),
        sampling=SamplingConfig(
            frames=frames, head_rays=rays, torso_rays=0, uniform=True, focus=0.0,
            samples=samples, segments=256, step=3**0.5 / 1024, occupancy_resolution=128,
            finer=1, front=0.0, occupancy_rule="instant-ngp",
        ),
        torso=TorsoConfig(shown=False),
        prior=PriorConfig(distance="mesh"),
        loss=LossConfig(
            color=0.6, region=40.0, region_from=500, depth=1.25, near=per_sample, thin=per_sample,
            opacity=0.0, surface=0.0, distortion=0.0, hidden=0.0, unseen=0.0, idle=0.0,
            rim=0.0, semantic=0.0, random_background=1.0, table_decay=0.0,
            network_decay=1e-6,
        ),
        optimiser=OptimiserConfig(
            learning_rate=1.75e-3, table_rate=1.75e-3, final_share=1.0, hold=0.0, ema=0.95
        ),
        steps=33000,
    )


PRESETS = {"default": default, "insta": insta}
