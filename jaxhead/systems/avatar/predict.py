"""Whole pictures of an avatar: static shapes, work only where the head can be seen."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import pixel_centres, pixel_rays
from jaxhead.rendering.hits import STOP, for_hits, march_hits, may_hit
from jaxhead.rendering.integrate import Rendered, closed
from jaxhead.rendering.rays import at_samples, meets_solid
from jaxhead.rendering.torso import layered_picture, torso_in_chunks, torso_points
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.body import before_head, own_pixels, turned_away
from jaxhead.systems.avatar.config import AvatarConfig, of_pictures
from jaxhead.systems.avatar.rays import (
    Frames,
    Rays,
    cell_kinds,
    head_at,
    place_samples,
    ray_sway,
)

_EDGE = 1 / 128
"""How far, in sizes of the picture's longest side, a torso's edge is mixed with what is behind."""
_WITHIN = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
"""Where in a pixel, from its centre, a camera from aside looks for the torso."""


def predict(
    params: Any,
    state: Any,
    frozen: dict[str, jax.Array],
    request: dict[str, jax.Array],
    *,
    size: tuple[int, int],
    config: AvatarConfig,
    stop: float = STOP,
) -> dict[str, jax.Array]:
    """One picture. Not differentiable: the number of chunks depends on the data.

    Args:
      params: {"head", "torso"}; state: {"occupancy"}; frozen: the run's arrays.
      request: "K" (3, 3) pixels of the picture, "head_to_camera" (4, 4), "geometry" of the frame,
        "condition" (k,), "sway" (G, G, 2) metres, "torso_motion" (2, 3) in pixels of the picture,
        "torso_condition" (6,), "camera_from_own" (4, 4) of `body.own_pixels`,
        "background" (H, W, 3) in [0, 1].
      size: (H, W).
      config: the run's.
      stop: share of the light, above 0, at which a ray ends.

    Returns:
      {"rgb" (H, W, 3), "alpha" (H, W), "depth" (H, W) metres along the camera's z axis, 0 where
      the head's field is thin}.
    """
    pixels = pixel_centres(size).reshape(-1, 2).astype(jnp.float32)
    origins, directions = pixel_rays(request["K"], request["head_to_camera"], pixels)
    head = _head_picture(
        params["head"], state, frozen, request, origins, directions,
        stop=stop, config=of_pictures(config),
    )
    torso, torso_alpha, front = _torso_in_place(
        params, frozen, request, pixels, head, stop=stop, size=size, config=config
    )
    return layered_picture(head, torso, torso_alpha, directions, request, front)


def _torso_in_place(params, frozen, request, pixels, head, *, stop, size, config):
    """Colours (n, 3) and opacities (n,) of the torso, and how much of it stands before the head.

    From aside what is seen of it is narrower than in the own camera's picture: several rays a
    pixel then, of which one would leap over a fold or a rib.
    """
    turned = turned_away(request["camera_from_own"])

    def through(pixels):
        own, on_body, distance = own_pixels(
            pixels, request["K"], request["camera_from_own"], request["torso_motion"],
            body=frozen["body"], place=frozen["body_place"], size=size,
        )
        # Clothes may stand before a head that is seen from aside.
        front = before_head(head, distance)
        shown = (on_body > 0) & ((head.alpha < 1 - stop) | (front > 0))
        colors, alpha = _torso_picture(params, request, own, shown, turned, size, config)
        return colors, alpha * on_body, front

    # One program whatever the camera: compiled for both it would take seconds longer.
    aside = turned > 0
    count = jnp.where(aside, len(_WITHIN), 1)
    offsets = jnp.array(_WITHIN) * aside

    def add(k, total):
        colors, alpha, front = through(pixels + offsets[k])
        light, cover, before = total
        return light + colors * alpha[:, None], cover + alpha, before + front * alpha

    nothing = jnp.zeros((len(pixels), 3)), jnp.zeros(len(pixels)), jnp.zeros(len(pixels))
    light, cover, before = jax.lax.fori_loop(0, count, add, nothing)
    weight = jnp.maximum(cover, 1e-6)
    return light / weight[:, None], cover / count, before / weight


def _torso_picture(params, request, own, shown, turned, size, config):
    """Colours (n, 3) and opacities (n,) of the torso where the own camera has the pixels (n, 2),
    of those that are `shown` (n,).

    Its upper edge is half transparent in the own camera's picture, where the neck goes on behind
    it. A camera that turned sees that edge before other things: there it is opaque up to the edge.
    """

    def layer(pixels):
        return torso_in_chunks(
            lambda points: model.torso_layer(
                params, points,
                jnp.broadcast_to(request["torso_condition"], (len(points), 6)),
                config=config.torso,
            ),
            torso_points(pixels, request["torso_motion"], size),
            shown,
        )

    colors, alpha = layer(own)

    def up_to_the_edge():
        below, opaque = layer(own + jnp.array([0.0, _EDGE * max(size)]) * turned)
        risen = (alpha < 0.5) & (opaque > alpha)
        return jnp.where(risen[:, None], below, colors), jnp.where(risen, opaque, alpha)

    return jax.lax.cond(turned > 0, up_to_the_edge, lambda: (colors, alpha))


def _head_picture(
    params, state, frozen, request, origins, directions, *, stop, config
) -> Rendered:
    cells = cell_kinds(state["occupancy"], frozen)
    frames = Frames(request["geometry"][None], request["condition"][None], request["sway"][None])
    rays = Rays(origins, directions, jnp.zeros((len(origins),), jnp.int32))
    box, segments = frozen["box"], config.sampling.segments
    nothing = jnp.zeros((len(origins), config.sampling.samples))

    def place(part, _):
        shift = ray_sway(part, frames, frozen)
        solid = meets_solid(part, shift, cells, box, segments)
        return *place_samples(None, part, shift, cells, box, config.sampling), solid

    def shade(part, t):
        field = functools.partial(head_at, params, frames=frames, frozen=frozen, config=config)
        rgb, sigma, *_ = at_samples(field, part, t)
        return rgb, sigma

    hit = may_hit(rays, ray_sway(rays, frames, frozen), cells, box, segments)
    t, delta, solid = for_hits(place, (rays, (nothing, nothing, jnp.zeros_like(hit))), hit)
    return closed(march_hits(shade, rays, t, delta, hit, stop=stop), solid)
