"""The 2D torso seen from a camera that turned around the person.

One camera shows no depth of the shoulders. For another view the torso's picture is laid on a
grown person's neck, shoulders and chest (upright ellipses whose size depends on the height) below
the head, and looked up where the new ray meets them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

BELOW = (0.12, 0.14, 0.16, 0.18, 0.21, 0.26, 0.35)
HALF_WIDTH = (0.060, 0.075, 0.115, 0.155, 0.190, 0.210, 0.220)
HALF_DEPTH = (0.060, 0.070, 0.080, 0.090, 0.100, 0.110, 0.120)
"""Metres below the head's origin and half axes there: neck, shoulders and chest of an adult."""
BEHIND = 0.07
"""Metres from the head's origin back to the body's axis."""
_ROUNDS = 6
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
    middle = head[jnp.array([0, 2])] + jnp.array([0.0, BEHIND])
    start = origin[jnp.array([0, 2])] - middle
    along = direction[:, jnp.array([0, 2])]

    def meet(height):
        """Distances (n,) to the upright cylinders of the body's size at heights (n,), and hits."""
        below = height - head[1]
        axes = jnp.stack([jnp.interp(below, jnp.array(BELOW), jnp.array(size))
                          for size in (HALF_WIDTH, HALF_DEPTH)], -1)
        a = jnp.sum((along / axes) ** 2, -1)
        b = jnp.sum(along * start / axes**2, -1)
        c = jnp.sum((start / axes) ** 2, -1) - 1.0
        inside = b * b - a * c
        return (-b - jnp.sqrt(jnp.maximum(inside, 0.0))) / jnp.maximum(a, 1e-12), inside > 0

    # Rays are nearly level: a height moves by a fifth of what the distance does, and settles.
    height = origin[1] + jnp.linalg.norm(middle - origin[jnp.array([0, 2])]) * direction[:, 1]
    for _ in range(_ROUNDS):
        distance, hit = meet(height)
        height = origin[1] + distance * direction[:, 1]
    points = origin + distance[:, None] * direction
    depth = jnp.maximum(points[:, 2:], 1e-6)
    seen = points[:, :2] / depth * focal + centre
    still = jnp.all(jnp.abs(camera_from_own - jnp.eye(4)) < 1e-6)
    return jnp.where(still, pixels, seen), still | (hit & (distance > 0))
