"""From rays to colours: occupied cells, rigid head space, the field, compositing."""

from __future__ import annotations

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.volume import lookup
from jaxhead.networks.hash_field import head_field
from jaxhead.rendering.integrate import Rendered, composite, volume_weights
from jaxhead.rendering.rays import (
    LENGTH_UNITS,
    Rays,
    Samples,
    at_samples,
    place_samples,
    ray_shift,
    to_cube,
    without_sway,
)
from jaxhead.systems.adnerf.hash_config import HashConfig
from jaxhead.systems.adnerf.hash_model import condition_by_place

Frozen = dict[str, Any]


@flax.struct.dataclass
class Frames:
    """What rays of b frames meet.

    Attributes:
      condition: (b, k) of `hash_model.conditions`.
      sway: (b, G, G, 2) metres over "sway_box": what stands at p + sway came from p.
    """

    condition: jax.Array
    sway: jax.Array


def render_head(
    params: Any, rays: Rays, frames: Frames, cells: jax.Array, frozen: Frozen,
    keys: jax.Array | None, *, config: HashConfig,
) -> tuple[Rendered, Samples]:
    """Colour, opacity and depth that the head's field gives along rays, over nothing.

    Args:
      params: of `hash_field.init_head`.
      rays: n rays; frames: what their frames show.
      cells: (r, r, r) int8 of `rendering.rays.cell_kinds`.
      frozen: the run's arrays.
      keys: see `rendering.rays.place_samples`.
      config: sizes.

    Returns:
      rgb (n, 3) premultiplied, alpha (n,), depth (n,) along the ray times alpha; and the samples.
    """
    shift = ray_shift(rays, frames.sway, frozen["sway_box"], frozen["box"])
    t, delta = place_samples(keys, rays, shift, cells, frozen["box"], config.sampling)
    field = functools.partial(head_at, params, frames=frames, frozen=frozen, config=config)
    rgb, sigma, still, skin = at_samples(field, rays, t)
    weights = volume_weights(sigma, delta)
    return composite(weights, rgb, t), Samples(t, delta, sigma, weights, still, skin)


def head_at(
    params: Any, points: jax.Array, directions: jax.Array, frame: jax.Array, frames: Frames,
    frozen: Frozen, *, config: HashConfig,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What the field gives at points (n, 3) of head space; those of a frame stand together.

    Each of the directions (n / r, 3) belongs to r points that stand together.

    Returns:
      colour (n, 3), density (n,) per unit of head space, the points before they swayed (n, 3), and
      "skin" (n, 4) of `space.space_arrays` there.
    """
    still = without_sway(points, frames.sway, frozen["sway_box"], frame)
    box = frozen["box"]
    skin = lookup(frozen["skin"], still, frozen["surface_box"])
    rgb, sigma, _ = head_field(
        params,
        jnp.clip(to_cube(still, box), 0.0, 1.0),
        directions,
        condition_by_place(frames.condition, skin[:, 2:], config=config),
        config=config.field,
    )
    return rgb, sigma * (LENGTH_UNITS / jnp.max(box[1] - box[0])), still, skin
