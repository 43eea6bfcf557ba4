"""From rays to colours: samples where the head can be, canonical points, field, compositing."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.volume import lookup
from jaxhead.rendering import occupancy, sampling
from jaxhead.rendering.integrate import Rendered, composite, over, volume_weights
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import AvatarConfig, SamplingConfig
from jaxhead.systems.avatar.surface import Frozen, to_canonical

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


def to_cube(points: jax.Array, box: jax.Array) -> jax.Array:
    """Points (..., 3) in metres in the cube at the box's corner, [0, 1] inside it."""
    return (points - box[0]) / jnp.max(box[1] - box[0])


def place_samples(
    keys: jax.Array | None, rays: Rays, cells: jax.Array, box: jax.Array, config: SamplingConfig
) -> tuple[jax.Array, jax.Array]:
    """Samples over the occupied parts of rays.

    Args:
      keys: (b,) typed keys, one per b-th part of the rays in order; None for no jitter.
      rays: n rays.
      cells: (r, r, r) bool, x y z, over the box.
      box: (2, 3) metres.
      config: numbers of samples and of segments.

    Returns:
      t (n, samples) ascending, metres; delta (n, samples) metres, 0 on rays that meet nothing.
    """
    near, far, profile = probe(rays, cells, box, config.segments)
    if keys is None:
        return sampling.place_by_profile(None, near, far, profile, config.samples)
    parts = [x.reshape(len(keys), -1, *x.shape[1:]) for x in (near, far, profile)]
    t, delta = jax.vmap(
        lambda key, *part: sampling.place_by_profile(key, *part, config.samples)
    )(keys, *parts)
    return t.reshape(-1, config.samples), delta.reshape(-1, config.samples)


def probe(
    rays: Rays, cells: jax.Array, box: jax.Array, segments: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where rays are inside the box, and which of their segments are occupied.

    Returns:
      near, far (n,) metres; (n, segments) bool.
    """
    near, far, _ = sampling.ray_box(rays.origins, rays.directions, box[0], box[1])
    middles = sampling.segment_centres(near, far, segments)
    points = rays.origins[:, None] + middles[..., None] * rays.directions[:, None]
    return near, far, occupancy.look_up(cells, points, box[0], box[1])


def render_head(
    params: Any,
    rays: Rays,
    geometry: jax.Array,
    conditions: jax.Array,
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
      geometry: (b, ...) of `surface.frame_geometry`.
      conditions: (b, k) expression conditions.
      cells: (r, r, r) bool, x y z, the occupied ones over the box.
      frozen: the run's arrays.
      keys: see `place_samples`.
      config: the run's.

    Returns:
      rgb (n, 3) premultiplied, alpha (n,), depth (n,) metres along the ray times alpha; and the
      samples behind them.
    """
    count = config.sampling.samples
    t, delta = place_samples(keys, rays, cells, frozen["box"], config.sampling)
    points = rays.origins[:, None] + t[..., None] * rays.directions[:, None]
    rgb, sigma, canonical, skin = head_at(
        params,
        points.reshape(-1, 3),
        jnp.repeat(
            rays.directions if rays.seen is None else rays.seen, count, axis=0,
            total_repeat_length=t.size,
        ),
        jnp.repeat(rays.frame, count, total_repeat_length=t.size),
        geometry, conditions, frozen, config=config,
    )
    sigma = sigma.reshape(t.shape)
    weights = volume_weights(sigma, delta)
    rendered = composite(weights, rgb.reshape(*t.shape, 3), t)
    canonical, skin = (x.reshape(*t.shape, 3) for x in (canonical, skin))
    return rendered, Samples(t, delta, sigma, weights, canonical, skin)


def head_at(
    params: Any, points: jax.Array, directions: jax.Array, frame: jax.Array, geometry: jax.Array,
    conditions: jax.Array, frozen: Frozen, *, config: AvatarConfig,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What the field gives at points (n, 3) of head space.

    Returns:
      colour (n, 3), density (n,) per metre, canonical points (n, 3) and `hull.skin_volume` (n, 3)
      there.
    """
    points, directions = to_canonical(
        points, directions, frame, geometry, frozen, config=config
    )
    box = frozen["box"]
    skin = lookup(frozen["skin"], points, frozen["surface_box"])
    rgb, sigma, _ = model.head_field(
        params,
        jnp.clip(to_cube(points, box), 0.0, 1.0),
        directions,
        model.region_condition(conditions[frame], skin[:, 2:], config=config.field),
        config=config.field,
    )
    return rgb, sigma * (LENGTH_UNITS / jnp.max(box[1] - box[0])), points, skin


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
