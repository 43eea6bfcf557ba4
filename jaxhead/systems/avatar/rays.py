"""From rays to colours: samples where the head can be, canonical points, field, compositing."""

from __future__ import annotations

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.volume import lookup
from jaxhead.rendering import occupancy
from jaxhead.rendering import rays as marching
from jaxhead.rendering.integrate import Rendered, composite, volume_weights
from jaxhead.rendering.rays import (
    EMPTY,
    LENGTH_UNITS,
    OCCUPIED,
    SOLID,
    Rays,
    Samples,
    at_samples,
    place_samples,
    probe,
    ray_shift,
    to_cube,
    unswayed,
    without_sway,
)
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.surface import Frozen, to_canonical

__all__ = [
    "EMPTY", "LENGTH_UNITS", "OCCUPIED", "SOLID", "Frames", "Rays", "Samples", "cell_kinds",
    "density_unit", "encoded_points", "expression_share", "head_at", "place_samples",
    "probe", "ray_sway", "render_head", "to_cube", "unswayed",
    "without_sway",
]  # fmt: skip


@flax.struct.dataclass
class Frames:
    """What rays of b frames meet.

    Attributes:
      geometry: (b, ...) of `surface.frame_geometry`.
      condition: (b, k) expression conditions.
      sway: (b, G, G, 2) metres over "sway_box": what stands at p + sway came from p.
    """

    geometry: jax.Array
    condition: jax.Array
    sway: jax.Array


def ray_sway(rays: Rays, frames: Frames, frozen: Frozen) -> jax.Array:
    """(n, 2) metres: how far what rays meet has swayed, see `rendering.rays.ray_shift`."""
    return ray_shift(rays, frames.sway, frozen["sway_box"], frozen["box"])


def cell_kinds(grid: occupancy.OccupancyGrid, frozen: Frozen) -> jax.Array:
    """(r, r, r) int8 of `rendering.rays.cell_kinds` with the run's solid cells."""
    return marching.cell_kinds(grid, frozen["solid"])


def render_head(
    params: Any,
    rays: Rays,
    frames: Frames,
    cells: jax.Array,
    frozen: Frozen,
    keys: jax.Array | None,
    *,
    config: AvatarConfig,
) -> tuple[Rendered, Samples]:
    """Colour, opacity and depth that the head's field gives along rays, over nothing.

    Args:
      params: of `model.init_head`.
      rays: n rays.
      frames: what the rays' frames show.
      cells: (r, r, r) int8 of `cell_kinds`.
      frozen: the run's arrays.
      keys: see `place_samples`.
      config: the run's.

    Returns:
      rgb (n, 3) premultiplied, alpha (n,), depth (n,) metres along the ray times alpha; and the
      samples behind them.
    """
    shift = ray_sway(rays, frames, frozen)
    t, delta = place_samples(keys, rays, shift, cells, frozen["box"], config.sampling)
    field = functools.partial(head_at, params, frames=frames, frozen=frozen, config=config)
    rgb, sigma, canonical, skin = at_samples(field, rays, t)
    weights = volume_weights(sigma, delta)
    return composite(weights, rgb, t), Samples(t, delta, sigma, weights, canonical, skin)


def head_at(
    params: Any, points: jax.Array, directions: jax.Array, frame: jax.Array, frames: Frames,
    frozen: Frozen, *, config: AvatarConfig,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What the field gives at points (n, 3) of head space; those of a frame stand together.

    Each of the directions (n / r, 3) belongs to r points that stand together.

    Returns:
      colour (n, 3), density (n,) per metre, canonical points (n, 3) and `hull.skin_volume` (n, 3)
      there.
    """
    points = without_sway(points, frames.sway, frozen["sway_box"], frame)
    points, directions = to_canonical(
        points, directions, frame, frames.geometry, frozen, config=config
    )
    box = frozen["box"]
    skin = lookup(frozen["skin"], points, frozen["surface_box"])
    rgb, sigma, _ = model.head_field(
        params,
        encoded_points(points, box, config),
        directions,
        model.region_condition(
            frames.condition, expression_share(skin, config), config=config.field
        ),
        config=config.field,
    )
    return rgb, sigma * density_unit(box, config), points, skin


def encoded_points(points: jax.Array, box: jax.Array, config: AvatarConfig) -> jax.Array:
    """Canonical points (n, 3) metres in the unit cube that the field encodes."""
    side = config.field.cube
    cube = points / side + 0.5 if side > 0 else to_cube(points, box)
    return jnp.clip(cube, 0.0, 1.0)


def density_unit(box: jax.Array, config: AvatarConfig) -> jax.Array | float:
    """Density per metre that the field's 1 stands for."""
    if config.field.density == "metre":
        return 1.0
    return LENGTH_UNITS / jnp.max(box[1] - box[0])


def expression_share(skin: jax.Array, config: AvatarConfig) -> jax.Array:
    """(n,) how much samples follow the expression, of "skin" (n, 3); INSTA's lips do or do not."""
    share = skin[:, 2]
    return jnp.round(share) if config.field.expression_region == "lips" else share
