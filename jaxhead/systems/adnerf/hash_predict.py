"""Whole pictures of the fast variant: static shapes, work only where the head can be seen."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import pixel_centres, pixel_rays
from jaxhead.networks.torso_field import torso_field
from jaxhead.rendering.hits import CHUNK, may_hit, render_hits
from jaxhead.rendering.integrate import Rendered
from jaxhead.rendering.rays import Rays, cell_kinds, ray_shift
from jaxhead.rendering.torso import layered, torso_points
from jaxhead.systems.adnerf.hash_config import HashConfig
from jaxhead.systems.adnerf.hash_model import speech_numbers
from jaxhead.systems.adnerf.hash_rays import Frames, render_head


def predict(
    params: Any, state: Any, frozen: dict[str, jax.Array], request: dict[str, jax.Array],
    *, size: tuple[int, int], rest: int, config: HashConfig,
) -> dict[str, jax.Array]:
    """One picture. Not differentiable: the number of chunks depends on the data.

    Args:
      params: {"head", "torso", "speech"}; state: {"occupancy"}; frozen: the run's arrays.
      request: "K" (3, 3) pixels of the picture, "head_to_camera" (4, 4), "pose" (6,) and "windows"
        (8, T, F) normalised, "sway" (G, G, 2) metres, "torso_motion" (2, 3) in pixels of the
        picture, "torso_condition" (12,), "background" (H, W, 3) in [0, 1].
      size: (H, W).
      rest: numbers of the expression beside speech: they stand at the training frames' median.
      config: the run's.

    Returns:
      {"rgb" (H, W, 3), "alpha" (H, W), "depth" (H, W) along the camera's z axis, 0 where the head's
      field is thin}.
    """
    height, width = size
    count = height * width
    pixels = pixel_centres(size).reshape(-1, 2).astype(jnp.float32)
    origins, directions = pixel_rays(request["K"], request["head_to_camera"], pixels)
    spoken = speech_numbers(params["speech"], request["windows"], config=config.speech)
    pose = request["pose"] if config.field.pose else request["pose"][:0]
    condition = jnp.concatenate([spoken, jnp.zeros(rest), pose])
    frames = Frames(condition[None], request["sway"][None])
    head = _head_picture(
        params["head"], state, frozen, frames, origins, directions, config=config
    )
    reference = torso_points(pixels, request["torso_motion"], size)
    torso, torso_alpha = jax.lax.map(
        lambda points: torso_field(
            params["torso"], points,
            jnp.broadcast_to(
                request["torso_condition"], (len(points), len(request["torso_condition"]))
            ),
            config=config.torso,
        ),
        _chunks(reference),
    )
    torso, torso_alpha = torso.reshape(-1, 3)[:count], torso_alpha.reshape(-1)[:count]
    rgb, person = layered(
        head.rgb, head.alpha, torso, torso_alpha, request["background"].reshape(-1, 3)
    )
    forward = jnp.abs(directions @ request["head_to_camera"][2, :3])
    depth = jnp.where(
        head.alpha > 0.5, head.depth / jnp.maximum(head.alpha, 1e-3) * forward, 0.0
    )
    return {
        "rgb": jnp.clip(rgb, 0.0, 1.0).reshape(height, width, 3),
        "alpha": person.reshape(height, width),
        "depth": depth.reshape(height, width),
    }


def _chunks(x: jax.Array) -> jax.Array:
    """(c, CHUNK, ...) of (n, ...), the last chunk padded with zeros."""
    pad = -len(x) % CHUNK
    return jnp.pad(x, ((0, pad),) + ((0, 0),) * (x.ndim - 1)).reshape(-1, CHUNK, *x.shape[1:])


def _head_picture(params, state, frozen, frames, origins, directions, *, config) -> Rendered:
    cells = cell_kinds(state["occupancy"], frozen["solid"])
    rays = Rays(origins, directions, jnp.zeros((len(origins),), jnp.int32))
    shift = ray_shift(rays, frames.sway, frozen["sway_box"], frozen["box"])
    return render_hits(
        lambda part: render_head(params, part, frames, cells, frozen, None, config=config)[0],
        rays, may_hit(rays, shift, cells, frozen["box"], config.sampling.segments),
    )  # fmt: skip
