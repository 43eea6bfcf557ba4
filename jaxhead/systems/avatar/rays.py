"""From rays to colours: samples where the head can be, canonical points, field, compositing."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.lattice import lookup_lattice
from jaxhead.geometry.volume import lookup
from jaxhead.rendering import occupancy, sampling
from jaxhead.rendering.integrate import Rendered, composite, over, volume_weights
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import AvatarConfig, SamplingConfig
from jaxhead.systems.avatar.surface import Frozen, to_canonical

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


def to_cube(points: jax.Array, box: jax.Array) -> jax.Array:
    """Points (..., 3) in metres in the cube at the box's corner, [0, 1] inside it."""
    return (points - box[0]) / jnp.max(box[1] - box[0])


def place_samples(
    keys: jax.Array | None, rays: Rays, shift: jax.Array, cells: jax.Array, box: jax.Array,
    config: SamplingConfig,
) -> tuple[jax.Array, jax.Array]:
    """Samples over the occupied parts of rays.

    Args:
      keys: (b,) typed keys, one per b-th part of the rays in order; None for no jitter.
      rays: n rays; shift: (n, 2) of `ray_sway`.
      cells: (r, r, r) int8 of `cell_kinds`.
      box: (2, 3) metres.
      config: numbers of samples and of segments.

    Returns:
      t (n, samples) ascending, metres; delta (n, samples) metres, 0 on rays that meet nothing.
    """
    near, far, profile = probe(rays, shift, cells, box, config.segments)
    if keys is None:
        return sampling.place_by_profile(None, near, far, profile, config.samples)
    parts = [x.reshape(len(keys), -1, *x.shape[1:]) for x in (near, far, profile)]
    t, delta = jax.vmap(
        lambda key, *part: sampling.place_by_profile(key, *part, config.samples)
    )(keys, *parts)
    return t.reshape(-1, config.samples), delta.reshape(-1, config.samples)


def ray_sway(rays: Rays, frames: Frames, frozen: Frozen) -> jax.Array:
    """(n, 2) metres: how far what rays meet has swayed.

    Read off where a ray is half-way through the box, which is enough to find its cells.
    """
    near, far, _ = sampling.ray_box(
        rays.origins, rays.directions, frozen["box"][0], frozen["box"][1]
    )
    middle = rays.origins + 0.5 * (near + far)[:, None] * rays.directions
    return lookup_lattice(frames.sway, middle[:, :2], frozen["sway_box"], rays.frame)


def probe(
    rays: Rays, shift: jax.Array, cells: jax.Array, box: jax.Array, segments: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where rays are inside the box, and which of their segments are occupied and in view.

    Args:
      rays: n rays; shift: (n, 2) of `ray_sway`.
      cells: (r, r, r) int8 of `cell_kinds`; box: (2, 3) metres.
      segments: pieces that a ray's way through the box is cut into.

    Returns:
      near, far (n,) metres; (n, segments) bool.
    """
    near, far, _ = sampling.ray_box(rays.origins, rays.directions, box[0], box[1])
    middles = sampling.segment_centres(near, far, segments)
    points = unswayed(rays.origins, shift)[:, None] + middles[..., None] * rays.directions[:, None]
    kinds = occupancy.look_up(cells, points, box[0], box[1])
    solid = kinds == SOLID
    first = jnp.where(jnp.any(solid, axis=-1), jnp.argmax(solid, axis=-1), segments)
    in_view = jnp.arange(segments) < first[:, None]
    return near, far, (kinds == OCCUPIED) & in_view


def unswayed(points: jax.Array, shift: jax.Array) -> jax.Array:
    """(n, 3) points without their shift (n, 2) in x and y."""
    return jnp.concatenate([points[:, :2] - shift, points[:, 2:]], axis=-1)


def cell_kinds(grid: occupancy.OccupancyGrid, frozen: Frozen) -> jax.Array:
    """(r, r, r) int8, x y z over the grid's box: `EMPTY`, `OCCUPIED` or `SOLID`."""
    occupied = occupancy.occupied_cells(grid).astype(jnp.int8)
    return jnp.where(frozen["solid"], jnp.int8(SOLID), occupied)


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
    count = config.sampling.samples
    shift = ray_sway(rays, frames, frozen)
    t, delta = place_samples(keys, rays, shift, cells, frozen["box"], config.sampling)
    points = rays.origins[:, None] + t[..., None] * rays.directions[:, None]
    rgb, sigma, canonical, skin = head_at(
        params,
        points.reshape(-1, 3),
        jnp.repeat(
            rays.directions if rays.seen is None else rays.seen, count, axis=0,
            total_repeat_length=t.size,
        ),
        jnp.repeat(rays.frame, count, total_repeat_length=t.size),
        frames, frozen, config=config,
    )
    sigma = sigma.reshape(t.shape)
    weights = volume_weights(sigma, delta)
    rendered = composite(weights, rgb.reshape(*t.shape, 3), t)
    canonical, skin = (x.reshape(*t.shape, 3) for x in (canonical, skin))
    return rendered, Samples(t, delta, sigma, weights, canonical, skin)


def head_at(
    params: Any, points: jax.Array, directions: jax.Array, frame: jax.Array, frames: Frames,
    frozen: Frozen, *, config: AvatarConfig,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What the field gives at points (n, 3) of head space; those of a frame stand together.

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
        jnp.clip(to_cube(points, box), 0.0, 1.0),
        directions,
        model.region_condition(frames.condition, skin[:, 2], config=config.field),
        config=config.field,
    )
    return rgb, sigma * (LENGTH_UNITS / jnp.max(box[1] - box[0])), points, skin


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


def torso_points(pixels: jax.Array, motion: jax.Array, size: tuple[int, int]) -> jax.Array:
    """(..., n, 2) coordinates of the reference torso, the picture's longest side being 1.

    Args:
      pixels: (..., n, 2) of the frame.
      motion: (..., 2, 3) affine in pixels, frame = A [reference, 1].
      size: (H, W).
    """
    a, b = motion[..., 0, 0], motion[..., 0, 1]
    c, d = motion[..., 1, 0], motion[..., 1, 1]
    moved = pixels - motion[..., None, :, 2]
    inverse = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
    determinant = (a * d - b * c)[..., None, None]
    reference = jnp.einsum("...ij,...nj->...ni", inverse / determinant, moved,
                           precision=jax.lax.Precision.HIGHEST)
    return reference / max(size)


def layered(
    head: jax.Array, alpha: jax.Array, torso: jax.Array, torso_alpha: jax.Array, back: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Colour and the person's opacity of head over torso over background.

    Args:
      head: (n, 3) premultiplied; alpha: (n,) its opacity.
      torso: (n, 3) straight colour; torso_alpha: (n,).
      back: (n, 3).
    """
    behind = over(torso * torso_alpha[:, None], torso_alpha, back)
    return over(head, alpha, behind), 1 - (1 - alpha) * (1 - torso_alpha)
