"""From rays to colours: samples where the head can be, canonical points, field, compositing."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.volume import lookup
from jaxhead.rendering.integrate import composite, volume_weights
from jaxhead.rendering.placing import place_in_occupied
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import AvatarConfig

LENGTH_UNITS = 64.0
"""Density is per 1/64 of the field's cube (about 6 mm): a young field, exp(0), is half opaque."""


@flax.struct.dataclass
class Rays:
    """Rays of head space.

    Attributes:
      origins: (n, 3) metres.
      directions: (n, 3) unit.
      frame: (n,) int32, which volume and condition a ray belongs to.
    """

    origins: jax.Array
    directions: jax.Array
    frame: jax.Array


def to_cube(points: jax.Array, box: jax.Array) -> jax.Array:
    """Points (..., 3) in metres as coordinates of the cube at the box's corner, in [0, 1] inside."""
    return (points - box[0]) / jnp.max(box[1] - box[0])


def render_head(
    params: Any,
    rays: Rays,
    volumes: jax.Array,
    conditions: jax.Array,
    occupancy: jax.Array,
    box: jax.Array,
    jitter: jax.Array | None,
    *,
    config: AvatarConfig,
) -> dict[str, jax.Array]:
    """Colour, opacity and depth that the head's field gives along rays, over nothing.

    Args:
      params: of `model.init_head`.
      rays: n rays.
      volumes: (b, nz, ny, nx, 3) displacement volumes in metres: canonical = point + displacement.
      conditions: (b, k) expression conditions.
      occupancy: (r, r, r) bool, z y x, over `box`.
      box: (2, 3) metres.
      jitter: (n, samples) in [0, 1), None for the middles.
      config: the run's.

    Returns:
      {"rgb" (n, 3) premultiplied, "alpha" (n,), "depth" (n,) metres along the ray times alpha,
      "sigma" (n, s), "hit" (n,) bool}.
    """
    sampling = config.sampling
    t, delta, hit = place_in_occupied(
        rays.origins, rays.directions, occupancy, box, jitter,
        samples=sampling.samples, segments=sampling.segments,
    )
    points = rays.origins[:, None] + t[..., None] * rays.directions[:, None]
    count = points.shape[0] * points.shape[1]
    points = points.reshape(count, 3)
    frame = jnp.repeat(rays.frame, sampling.samples, total_repeat_length=count)
    if config.field.mapping != "none":
        points = points + lookup(volumes, points, box, frame)
    directions = jnp.repeat(rays.directions, sampling.samples, axis=0, total_repeat_length=count)
    rgb, sigma, _ = model.head_field(
        params,
        jnp.clip(to_cube(points, box), 0.0, 1.0),
        directions,
        conditions[frame],
        config=config.field,
    )
    sigma = sigma.reshape(t.shape) * (LENGTH_UNITS / jnp.max(box[1] - box[0]))
    weights = volume_weights(sigma, delta[:, None] * hit[:, None])
    rgb, alpha, depth = composite(weights, rgb.reshape(*t.shape, 3), t)
    return {"rgb": rgb, "alpha": alpha, "depth": depth, "sigma": sigma, "hit": hit}


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


def over(
    head: jax.Array, alpha: jax.Array, torso: jax.Array, torso_alpha: jax.Array, back: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Colour and the person's opacity of head over torso over background.

    Args:
      head: (n, 3) premultiplied; alpha: (n,) its opacity.
      torso: (n, 3) straight colour; torso_alpha: (n,).
      back: (n, 3).
    """
    behind = torso * torso_alpha[:, None] + back * (1 - torso_alpha[:, None])
    return head + (1 - alpha[:, None]) * behind, 1 - (1 - alpha) * (1 - torso_alpha)
