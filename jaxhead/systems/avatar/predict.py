"""Whole pictures of an avatar: static shapes, work only where the head can be seen."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import pixel_rays
from jaxhead.rendering.hits import CHUNK, may_hit, render_hits
from jaxhead.rendering.integrate import Rendered
from jaxhead.rendering.torso import layered, torso_points
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.body import own_pixels
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.rays import (
    Frames,
    Rays,
    cell_kinds,
    ray_sway,
    render_head,
)


def predict(
    params: Any,
    state: Any,
    frozen: dict[str, jax.Array],
    request: dict[str, jax.Array],
    *,
    size: tuple[int, int],
    config: AvatarConfig,
) -> dict[str, jax.Array]:
    """One picture. Not differentiable: the number of chunks depends on the data.

    Args:
      params: {"head", "torso"}; state: {"occupancy"}; frozen: the run's arrays.
      request: "K" (3, 3) pixels of the picture, "head_to_camera" (4, 4), "geometry" of the frame,
        "condition" (k,), "sway" (G, G, 2) metres, "torso_motion" (2, 3) in pixels of the picture,
        "torso_condition" (6,), "camera_from_own" (4, 4) and "own_head" (3,) of `body.own_pixels`,
        "background" (H, W, 3) in [0, 1].
      size: (H, W).
      config: the run's.

    Returns:
      {"rgb" (H, W, 3), "alpha" (H, W), "depth" (H, W) metres along the camera's z axis, 0 where
      the head's field is thin}.
    """
    height, width = size
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    pixels = jnp.stack([x, y], -1).reshape(-1, 2).astype(jnp.float32) + 0.5
    origins, directions = pixel_rays(request["K"], request["head_to_camera"], pixels)
    head = _head_picture(
        params["head"], state, frozen, request, origins, directions, config=config
    )
    own, on_body = own_pixels(
        pixels, request["K"], request["camera_from_own"], request["own_head"]
    )
    reference = torso_points(own, request["torso_motion"], size)
    torso, torso_alpha = jax.lax.map(
        lambda points: model.torso_layer(
            params, points,
            jnp.broadcast_to(request["torso_condition"], (len(points), 6)), config=config.torso,
        ),
        _chunks(reference),
    )
    count = height * width
    torso, torso_alpha = torso.reshape(-1, 3)[:count], torso_alpha.reshape(-1)[:count]
    torso_alpha = torso_alpha * on_body
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


def _head_picture(params, state, frozen, request, origins, directions, *, config) -> Rendered:
    cells = cell_kinds(state["occupancy"], frozen)
    frames = Frames(request["geometry"][None], request["condition"][None], request["sway"][None])
    rays = Rays(origins, directions, jnp.zeros((len(origins),), jnp.int32))
    shift = ray_sway(rays, frames, frozen)
    return render_hits(
        lambda part: render_head(params, part, frames, cells, frozen, None, config=config)[0],
        rays, may_hit(rays, shift, cells, frozen["box"], config.sampling.segments),
    )  # fmt: skip
