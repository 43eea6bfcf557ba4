"""Whole pictures of the fast variant: static shapes, work only where the head can be seen."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import pixel_centres, pixel_rays
from jaxhead.networks.torso_field import torso_field
from jaxhead.rendering.hits import may_hit, render_hits
from jaxhead.rendering.integrate import Rendered
from jaxhead.rendering.rays import Rays, cell_kinds, ray_shift
from jaxhead.rendering.torso import layered_picture, torso_in_chunks, torso_points
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
        reference,
    )
    return layered_picture(head, torso, torso_alpha, directions, request)


def _head_picture(params, state, frozen, frames, origins, directions, *, config) -> Rendered:
    cells = cell_kinds(state["occupancy"], frozen["solid"])
    rays = Rays(origins, directions, jnp.zeros((len(origins),), jnp.int32))
    shift = ray_shift(rays, frames.sway, frozen["sway_box"], frozen["box"])
    return render_hits(
        lambda part: render_head(params, part, frames, cells, frozen, None, config=config)[0],
        rays, may_hit(rays, shift, cells, frozen["box"], config.sampling.segments),
    )  # fmt: skip
