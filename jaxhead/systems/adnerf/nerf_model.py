"""AD-NeRF's forward pass: codes of frames, coarse and fine passes, the torso over the head.

Parameters of a run: {"audio", "attention", "coarse", "fine"} and the torso's {"coarse", "fine"}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxhead.encodings.frequency import frequency
from jaxhead.networks import nerf_mlp
from jaxhead.networks.audio_condition import AudioAttNet, AudioNet
from jaxhead.networks.nerf_mlp import FaceNeRF
from jaxhead.rendering.chunks import suited
from jaxhead.rendering.frames import render_in_chunks
from jaxhead.rendering.hierarchical import (
    FLOOR,
    Layers,
    background_layers,
    fine_depths,
    stratified_depths,
)
from jaxhead.rendering.marching import Marched, march
from jaxhead.systems.adnerf.nerf_config import NerfConfig, NerfFieldConfig
from jaxhead.systems.adnerf.rays import camera_rays, pose_code, torso_signal

HEAD, TORSO = "head", "torso"


class Rays(NamedTuple):
    """R rays of one frame.

    Attributes:
        origins, directions: (R, 3), see `rays.camera_rays`.
        bounds: (2,) depth of the first and of the last sample.
    """

    origins: jax.Array
    directions: jax.Array
    bounds: jax.Array


def audio_net(config: NerfConfig) -> AudioNet:
    """The encoder of audio windows."""
    return AudioNet(config.audio.codes, precision=precision_of(config.field))


def attention_net(config: NerfConfig) -> AudioAttNet:
    """The smoother of neighbouring frames' codes."""
    return AudioAttNet(config.audio.looked_at, precision=precision_of(config.field))


def field_net(config: NerfFieldConfig) -> FaceNeRF:
    """One of the four fields."""
    return FaceNeRF(config.depth, config.width, (config.skip,), precision=precision_of(config))


def signal_width(config: NerfConfig) -> int:
    """Width of the torso's condition."""
    return config.audio.codes + 6 * (1 + 2 * config.field.pose_bands)


def init_head(key: jax.Array, config: NerfConfig, rows: int, width: int) -> dict[str, Any]:
    """Parameters of the head and the audio networks, for audio windows (rows, width)."""
    keys = jax.random.split(key, 3)
    windows = jnp.zeros((config.audio.smoothed, rows, width))
    codes = jnp.zeros((config.audio.smoothed, config.audio.codes))
    return {
        "audio": audio_net(config).init(keys[0], windows)["params"],
        "attention": attention_net(config).init(keys[1], codes)["params"],
        **init_fields(keys[2], config.field, config.audio.codes),
    }


def init_torso(key: jax.Array, config: NerfConfig) -> dict[str, Any]:
    """Parameters of the torso's two fields."""
    return init_fields(key, config.field, signal_width(config))


def init_fields(key: jax.Array, config: NerfFieldConfig, code: int) -> dict[str, Any]:
    """Parameters of a coarse and a fine field whose condition has `code` numbers."""
    given = jnp.zeros(_encoded(config.point_bands)), jnp.zeros(code)
    given = (*given, jnp.zeros(_encoded(config.direction_bands)))
    net = field_net(config)
    coarse, fine = (net.init(k, *given)["params"] for k in jax.random.split(key))
    return {"coarse": coarse, "fine": fine}


def audio_code(
    params: Mapping[str, Any], windows: jax.Array, config: NerfConfig, *, attention: bool
) -> jax.Array:
    """The code (C,) of a frame.

    Args:
        params: of `init_head`.
        windows: audio windows (S, T, F) of the frames i - S // 2 .., zero where there is no frame.
        config: the run's.
        attention: whether the codes of neighbours are smoothed, or the frame's own is taken.
    """
    encode = audio_net(config)
    code: Any
    if not attention:
        code = encode.apply({"params": params["audio"]}, windows[windows.shape[0] // 2])
    else:
        codes = encode.apply({"params": params["audio"]}, windows)
        code = attention_net(config).apply({"params": params["attention"]}, codes)
    return code


def torso_code(audio: jax.Array, camera_to_world: jax.Array, config: NerfConfig) -> jax.Array:
    """The torso's condition from the audio code and the pose (4, 4) of the current frame."""
    code = pose_code(camera_to_world, kind=config.field.pose_code)
    return torso_signal(audio, code, bands=config.field.pose_bands)


def render_rays(
    fields: Mapping[str, Any], code: jax.Array, rays: Rays, config: NerfConfig,
    *, key: jax.Array | None = None,
) -> tuple[Layers, Layers, jax.Array, jax.Array]:
    """What a pair of fields shows along rays.

    Args:
        fields: {"coarse", "fine"} parameters.
        code: condition of the frame.
        rays: R rays.
        config: the run's.
        key: of the jitter; None for none.

    Returns:
        Layers of the coarse and of the fine pass, depths of both [R, samples].
    """
    keys = (None, None) if key is None else jax.random.split(key)
    depths = coarse_depths(keys[0], rays, config)
    coarse = _pass(fields["coarse"], code, rays, depths, config)
    weights = jax.lax.stop_gradient(coarse.weights)
    further = fine_depths(keys[1], depths, weights, config.sampling.fine)
    return coarse, _pass(fields["fine"], code, rays, further, config), depths, further


def render_frame(
    variables: Any, request: dict[str, jax.Array], size: tuple[int, int], config: NerfConfig
) -> dict[str, jax.Array]:
    """A whole frame, without jitter, in memory that does not grow with its size.

    Args:
        variables: of a stage; with the player "torso" the torso is put over the head. Codes are
            smoothed as soon as the stage that learns how has begun; the released code's pictures
            during training never smooth them, unlike its tests.
        request: "audio" (S, T, F) windows around the frame (`window_rows`), "camera_to_world"
            (4, 4) of the head, "torso_camera_to_world" (4, 4) of the torso (the same in all
            frames), "camera" (3,), "bounds" (2,), "background" (H, W, 3) in [0, 1]; zeros give
            premultiplied colours.
        size: (H, W), static.
        config: the run's, static.

    Returns:
        "rgb" (H, W, 3) in [0, 1], "alpha" (H, W) opacity of the person.
    """
    head, torso = variables.params[HEAD], variables.params.get(TORSO)
    own = audio_code(head, request["audio"], config, attention=False)
    smoothed = audio_code(head, request["audio"], config, attention=True)
    code = jnp.where(variables.state["smoothing"] > 0, smoothed, own)
    rows, columns = jnp.meshgrid(jnp.arange(size[0]), jnp.arange(size[1]), indexing="ij")
    given = {
        "pixels": jnp.stack([rows, columns], -1),
        "behind": jnp.broadcast_to(request["background"], (*size, 3)),
    }

    def chunk(given):
        def seen(fields, code, pose):
            rays = camera_rays(request["camera"], pose, given["pixels"])
            return shown_layers(fields, code, Rays(*rays, request["bounds"]), config)

        shown = seen(head, code, request["camera_to_world"])
        rgb, clear = shown.foreground + shown.left[:, None] * given["behind"], shown.left
        if torso is not None:
            signal = torso_code(code, request["camera_to_world"], config)
            front = seen(torso, signal, request["torso_camera_to_world"])
            rgb, clear = front.foreground + front.left[:, None] * rgb, clear * front.left
        return {"rgb": rgb, "alpha": 1 - clear}

    return render_in_chunks(chunk, given, rays_together(config, pictures=True), axes=2)


def shown_layers(
    fields: dict[str, Any], code: jax.Array, rays: Rays, config: NerfConfig
) -> Marched:
    """The fine pass of `render_rays` without jitter, for pictures: see `march`."""
    depths = coarse_depths(None, rays, config)
    weights = _marched(fields["coarse"], code, rays, depths, config, coloured=False).weights
    further = fine_depths(None, depths, weights, config.sampling.fine)
    return _marched(fields["fine"], code, rays, further, config, coloured=True)


def _marched(params, code, rays: Rays, depths, config: NerfConfig, *, coloured: bool) -> Marched:
    precision, dtype = precision_of(config.field), jnp.dtype(config.field.picture_dtype)
    field, views = jax.tree.map(
        lambda x: x.astype(dtype), conditioned_field(params, code, rays, config)
    )

    def density(depths):
        points = rays.origins[:, None] + depths[..., None] * rays.directions[:, None]
        encoded = frequency(points.reshape(-1, 3), bands=config.field.point_bands).astype(dtype)
        hidden = nerf_mlp.trunk_values(field, encoded, precision=precision)
        sigma = nerf_mlp.densities(field, hidden, precision=precision)
        return jax.nn.relu(sigma).reshape(depths.shape), hidden

    def colour(hidden):
        each = hidden.shape[0] // views.shape[0]
        along = jnp.broadcast_to(views[:, None], (len(views), each, views.shape[-1]))
        logits = nerf_mlp.colour_logits(
            field, hidden, along.reshape(len(hidden), -1), precision=precision
        )
        return jax.nn.sigmoid(logits.astype(depths.dtype)).reshape(len(views), each, 3)

    # The last sample is the background: what is left is its weight.
    steps = jnp.diff(depths, axis=-1, append=depths[:, -1:]) * ray_lengths(rays.directions)[:, None]
    if coloured:
        return march(density, colour, depths, steps, floor=FLOOR)
    # Fine depths come from weights over 1e-5: their sums must be closer than pictures need.
    return march(density, None, depths, steps, floor=FLOOR, unseen=1e-10)


def coarse_depths(key: jax.Array | None, rays: Rays, config: NerfConfig) -> jax.Array:
    """Depths (R, samples) of the coarse pass; without a key they are even."""
    near, far = (jnp.broadcast_to(b, rays.origins.shape[:1]) for b in rays.bounds)
    return stratified_depths(key, near, far, config.sampling.coarse)


def conditioned_field(
    params: dict[str, Any], code: jax.Array, rays: Rays, config: NerfConfig
) -> tuple[nerf_mlp.Conditioned, jax.Array]:
    """A field for one frame's code, and its parts per ray, see `nerf_mlp.conditioned`."""
    shown = rays.directions / ray_lengths(rays.directions)[:, None]
    return nerf_mlp.conditioned(
        params, code, frequency(shown, bands=config.field.direction_bands),
        points=_encoded(config.field.point_bands), precision=precision_of(config.field),
    )


def _layers(field, views, origins, directions, depths, config: NerfConfig) -> Layers:
    """The rays' layers for a field and its parts per ray, see `nerf_mlp.conditioned`."""
    points = origins[:, None] + depths[..., None] * directions[:, None]
    encoded = frequency(points, bands=config.field.point_bands)
    logits, sigma = nerf_mlp.raw_values(
        field, encoded, views, precision=precision_of(config.field)
    )
    return background_layers(
        jax.nn.sigmoid(logits), jax.nn.relu(sigma), depths, ray_lengths(directions)
    )


def _pass(params, code: jax.Array, rays: Rays, depths: jax.Array, config: NerfConfig) -> Layers:
    field, views = conditioned_field(params, code, rays, config)
    return _layers(field, views, rays.origins, rays.directions, depths, config)


def ray_lengths(directions: jax.Array) -> jax.Array:
    """Lengths [...] of directions [..., 3]: of a step of depth one."""
    return jnp.sqrt(jnp.sum(directions**2, -1))


def _encoded(bands: int) -> int:
    return 3 * (1 + 2 * bands)


def rays_together(config: NerfConfig, *, pictures: bool = False) -> int:
    """How many rays go through the networks at a time: the fine one in training, or pictures."""
    if config.sampling.chunk:
        return 4 * config.sampling.chunk if pictures else config.sampling.chunk
    if pictures:
        return suited(cpu=64, accelerator=16384)
    return suited(cpu=16, accelerator=1024)


def precision_of(config: NerfFieldConfig) -> str | None:
    """The precision of the networks' products, as `jax.numpy.matmul` takes it."""
    return None if config.precision == "default" else config.precision
