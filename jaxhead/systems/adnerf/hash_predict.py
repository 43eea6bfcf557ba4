"""Whole pictures of the fast variant: static shapes, work only where the head can be seen."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import pixel_centres, pixel_rays
from jaxhead.networks.torso_field import torso_field
from jaxhead.rendering.hits import STOP, for_hits, march_hits, may_hit
from jaxhead.rendering.integrate import Rendered
from jaxhead.rendering.rays import Rays, at_samples, cell_kinds, place_samples, ray_shift
from jaxhead.rendering.torso import layered_picture, torso_in_chunks, torso_points
from jaxhead.systems.adnerf.hash_config import HashConfig
from jaxhead.systems.adnerf.hash_model import speech_numbers
from jaxhead.systems.adnerf.hash_rays import Frames, head_at


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
    torso, torso_alpha = torso_in_chunks(
        lambda points: torso_field(
            params["torso"], points,
            jnp.broadcast_to(
                request["torso_condition"], (len(points), len(request["torso_condition"]))
            ),
            config=config.torso,
        ),
        reference, head.alpha < 1 - STOP,
    )
    return layered_picture(head, torso, torso_alpha, directions, request)


def _head_picture(params, state, frozen, frames, origins, directions, *, config) -> Rendered:
    cells, box = cell_kinds(state["occupancy"], frozen["solid"]), frozen["box"]
    rays = Rays(origins, directions, jnp.zeros((len(origins),), jnp.int32))
    nothing = jnp.zeros((len(origins), config.sampling.samples))

    def shift(part):
        return ray_shift(part, frames.sway, frozen["sway_box"], box)

    def place(part, _):
        return place_samples(None, part, shift(part), cells, box, config.sampling)

    def shade(part, t):
        field = functools.partial(head_at, params, frames=frames, frozen=frozen, config=config)
        rgb, sigma, *_ = at_samples(field, part, t)
        return rgb, sigma

    hit = may_hit(rays, shift(rays), cells, box, config.sampling.segments)
    t, delta = for_hits(place, (rays, (nothing, nothing)), hit)
    return march_hits(shade, rays, t, delta, hit)
