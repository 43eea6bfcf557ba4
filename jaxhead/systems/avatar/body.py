"""The 2D torso seen from a camera that turned around the person.

One camera shows no depth of the shoulders. For another view the torso's picture is laid on an
upright elliptical cylinder of a grown person's size below the head, and looked up where the new
ray meets it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

HALF_WIDTH, HALF_DEPTH = 0.22, 0.10
"""Metres: chest and shoulders of a grown person."""
BEHIND = 0.14
"""Metres from the head's origin back to the body's axis."""
_HIGHEST = jax.lax.Precision.HIGHEST


def own_pixels(
    pixels: jax.Array, K: jax.Array, camera_from_own: jax.Array, head: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where the frame's own camera sees what a turned camera sees of the body.

    Args:
      pixels: (n, 2) of the turned camera.
      K: (3, 3) pixels, of both.
      camera_from_own: (4, 4) turned camera's coordinates from the own camera's, metres.
      head: (3,) the head's origin in the own camera's coordinates.

    Returns:
      (n, 2) pixels of the own camera; (n,) bool, False where the ray misses the body. Without a
      turn every pixel maps to itself.
    """
    focal, centre = jnp.array([K[0, 0], K[1, 1]]), jnp.array([K[0, 2], K[1, 2]])
    ones = jnp.ones((len(pixels), 1), pixels.dtype)
    rays = jnp.concatenate([(pixels - centre) / focal, ones], -1)
    turn, shift = camera_from_own[:3, :3], camera_from_own[:3, 3]
    direction = jnp.matmul(rays, turn, precision=_HIGHEST)
    origin = -jnp.matmul(shift, turn, precision=_HIGHEST)
    axis = jnp.array([HALF_WIDTH, HALF_DEPTH])
    middle = head[jnp.array([0, 2])] + jnp.array([0.0, BEHIND])
    start = (origin[jnp.array([0, 2])] - middle) / axis
    along = direction[:, jnp.array([0, 2])] / axis
    a = jnp.sum(along**2, -1)
    b = jnp.sum(along * start, -1)
    c = jnp.sum(start**2) - 1.0
    inside = b * b - a * c
    distance = (-b - jnp.sqrt(jnp.maximum(inside, 0.0))) / jnp.maximum(a, 1e-12)
    points = origin + distance[:, None] * direction
    depth = jnp.maximum(points[:, 2:], 1e-6)
    seen = points[:, :2] / depth * focal + centre
    still = jnp.all(jnp.abs(camera_from_own - jnp.eye(4)) < 1e-6)
    return jnp.where(still, pixels, seen), still | ((inside > 0) & (distance > 0))
