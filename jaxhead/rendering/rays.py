"""Rays of head space, and samples of them over occupied cells that sway with the frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import pixel_rays
from jaxhead.geometry.lattice import lookup_lattice
from jaxhead.rendering import occupancy, sampling

EMPTY, OCCUPIED, SOLID = 0, 1, 2
"""Kinds of cells: samples lie in occupied ones, none behind the first solid one."""
LENGTH_UNITS = 64.0
"""Density is per 1/64 of the field's cube (about 6 mm): a young field, exp(0), is half opaque."""


@flax.struct.dataclass
class Rays:
    """Rays of head space.

    Attributes:
      origins: (n, 3) metres.
      directions: (n, 3) unit.
      frame: (n,) int32, which geometry and condition a ray belongs to.
      seen: (n, 3) unit directions from which colours are seen, None for the rays' own.
    """

    origins: jax.Array
    directions: jax.Array
    frame: jax.Array
    seen: jax.Array | None = None


def batch_rays(
    K: jax.Array, head_to_camera: jax.Array, pixels: jax.Array, turn: jax.Array
) -> Rays:
    """The rays of b frames, h each, seen from directions that are turned frame by frame.

    Args:
      K: (3, 3) pixels; head_to_camera: (b, 4, 4); pixels: (b, h, 2).
      turn: (b, 3), added to the directions from which a frame's colours are seen.
    """
    frames, count = pixels.shape[:2]
    origins, directions = pixel_rays(K, head_to_camera, pixels)
    shown = directions + turn[:, None]
    shown = shown / jnp.linalg.norm(shown, axis=-1, keepdims=True)
    owner = jnp.repeat(jnp.arange(frames), count)
    return Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), owner, shown.reshape(-1, 3))


class Samples(NamedTuple):
    """Samples of n rays, s each.

    Attributes:
      t, delta: (n, s) metres; sigma: (n, s) per metre; weights: (n, s) of the rendering sum;
      canonical: (n, s, 3) metres; skin: (n, s, 3) of `hull.skin_volume` there.
    """

    t: jax.Array
    delta: jax.Array
    sigma: jax.Array
    weights: jax.Array
    canonical: jax.Array
    skin: jax.Array


class SamplingSizes(Protocol):
    """A configuration that says how many samples a ray gets and into how many pieces it is cut.

    It may also have `step`, metres between samples where that is above 0, and `front`, metres of
    occupied way after which samples that are not a step apart lie half as close.
    """

    @property
    def samples(self) -> int: ...
    @property
    def segments(self) -> int: ...


def to_cube(points: jax.Array, box: jax.Array) -> jax.Array:
    """Points (..., 3) in metres in the cube at the box's corner, [0, 1] inside it."""
    return (points - box[0]) / jnp.max(box[1] - box[0])


def place_samples(
    keys: jax.Array | None, rays: Rays, shift: jax.Array, cells: jax.Array, box: jax.Array,
    config: SamplingSizes,
) -> tuple[jax.Array, jax.Array]:
    """Samples over the occupied parts of rays.

    Args:
      keys: (b,) typed keys, one per b-th part of the rays in order; None for no jitter.
      rays: n rays; shift: (n, 2) of `ray_shift`.
      cells: (r, r, r) int8 of `cell_kinds`.
      box: (2, 3) metres.
      config: numbers of samples and of segments.

    Returns:
      t (n, samples) ascending, metres; delta (n, samples) metres, 0 on rays that meet nothing.
    """
    near, far, profile = probe(rays, shift, cells, box, config.segments)
    length, front = getattr(config, "step", 0.0), getattr(config, "front", 0.0)
    if front > 0 and length == 0:
        profile = _thinning(near, far, profile, front)

    def place(key, near, far, profile):
        if length > 0:
            return sampling.place_by_step(key, near, far, profile, config.samples, length)
        return sampling.place_by_profile(key, near, far, profile, config.samples)

    if keys is None:
        return place(None, near, far, profile)
    parts = [x.reshape(len(keys), -1, *x.shape[1:]) for x in (near, far, profile)]
    t, delta = jax.vmap(place)(keys, *parts)
    return t.reshape(-1, config.samples), delta.reshape(-1, config.samples)


def at_samples(
    field: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]], rays: Rays,
    t: jax.Array,
) -> tuple[jax.Array, ...]:
    """What a field gives at samples of n rays, arrays (n, s, ...).

    Args:
      field: points (n * s, 3) ray by ray, directions (n, 3) from which rays see them and frames
        (n * s,) -> arrays (n * s, ...).
      t: (n, s) metres along the rays.
    """
    points = rays.origins[:, None] + t[..., None] * rays.directions[:, None]
    seen = rays.directions if rays.seen is None else rays.seen
    found = field(points.reshape(-1, 3), seen, jnp.repeat(rays.frame, t.shape[1]))
    return tuple(x.reshape(*t.shape, *x.shape[1:]) for x in found)


def _thinning(
    near: jax.Array, far: jax.Array, profile: jax.Array, front: float
) -> jax.Array:
    """(n, segments) density of samples: front / (front + occupied metres before), where occupied.

    Nearly all that a ray shows lies where it first meets something; the hair and head behind that
    hide one another.
    """
    profile = profile.astype(near.dtype)
    part = (far - near)[:, None] / profile.shape[-1]
    before = (jnp.cumsum(profile, axis=-1) - profile) * part
    return profile * front / (front + before)


def ray_shift(
    rays: Rays, sway: jax.Array, sway_box: jax.Array, box: jax.Array
) -> jax.Array:
    """(n, 2) metres: how far what rays meet has swayed.

    Read off where a ray is half-way through the box, which is enough to find its cells.

    Args:
      rays: n rays, whose `frame` says which lattice is theirs.
      sway: (b, G, G, 2) metres; sway_box: (2, 2) metres, its first and last node.
      box: (2, 3) metres, of the cells.
    """
    near, far, _ = sampling.ray_box(rays.origins, rays.directions, box[0], box[1])
    middle = rays.origins + 0.5 * (near + far)[:, None] * rays.directions
    return lookup_lattice(sway, middle[:, :2], sway_box, rays.frame)


def probe(
    rays: Rays, shift: jax.Array, cells: jax.Array, box: jax.Array, segments: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where rays are inside the box, and which of their segments are occupied and in view.

    Args:
      rays: n rays; shift: (n, 2) of `ray_shift`.
      cells: (r, r, r) int8 of `cell_kinds`; box: (2, 3) metres.
      segments: pieces that a ray's way through the box is cut into.

    Returns:
      near, far (n,) metres; (n, segments) bool.
    """
    near, far, kinds = _kinds_along(rays, shift, cells, box, segments)
    solid = kinds == SOLID
    first = jnp.where(jnp.any(solid, axis=-1), jnp.argmax(solid, axis=-1), segments)
    in_view = jnp.arange(segments) < first[:, None]
    return near, far, (kinds == OCCUPIED) & in_view


def meets_solid(
    rays: Rays, shift: jax.Array, cells: jax.Array, box: jax.Array, segments: int
) -> jax.Array:
    """(n,) bool: whether a ray comes to a solid cell; arguments as in `probe`."""
    return jnp.any(_kinds_along(rays, shift, cells, box, segments)[2] == SOLID, axis=-1)


def _kinds_along(rays, shift, cells, box, segments):
    """near, far (n,) metres of rays in the box, and the kinds of cells (n, segments) between."""
    near, far, _ = sampling.ray_box(rays.origins, rays.directions, box[0], box[1])
    middles = sampling.segment_centres(near, far, segments)
    points = unswayed(rays.origins, shift)[:, None] + middles[..., None] * rays.directions[:, None]
    return near, far, occupancy.look_up(cells, points, box[0], box[1])


def unswayed(points: jax.Array, shift: jax.Array) -> jax.Array:
    """(n, 3) points without their shift (n, 2) in x and y."""
    return jnp.concatenate([points[:, :2] - shift, points[:, 2:]], axis=-1)


def cell_kinds(grid: occupancy.OccupancyGrid, solid: jax.Array) -> jax.Array:
    """(r, r, r) int8, x y z over the grid's box: `EMPTY`, `OCCUPIED` or `SOLID`.

    Args:
      grid: state.
      solid: (r, r, r) bool, cells that no sample may lie in or behind.
    """
    occupied = occupancy.occupied_cells(grid).astype(jnp.int8)
    return jnp.where(solid, jnp.int8(SOLID), occupied)


def without_sway(
    points: jax.Array, sway: jax.Array, box: jax.Array, frame: jax.Array
) -> jax.Array:
    """Points (n, 3) of head space where they would be if nothing swayed.

    Args:
      points: (n, 3) metres.
      sway: (b, G, G, 2) metres; box: (2, 2) metres, its first and last node.
      frame: (n,) int32 in [0, b).
    """
    return unswayed(points, lookup_lattice(sway, points[:, :2], box, frame))
