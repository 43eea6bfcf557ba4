"""The 2D torso seen from a camera that turned around the person.

One camera shows no depth of the shoulders. For another view the torso's picture is laid on a
grown person's neck, shoulders and chest (upright ellipses whose size depends on the height) below
the head, and looked up where the new ray meets them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhead.captures.body_size import BEHIND, BELOW, HALF_DEPTH, HALF_WIDTH

_REACH = 0.3
"""Metres before and behind the body's axis in which rays are searched."""
_STEPS, _HALVINGS = 24, 6
_HIGHEST = jax.lax.Precision.HIGHEST


def own_pixels(
    pixels: jax.Array, K: jax.Array, camera_from_own: jax.Array, head: jax.Array,
    *, body: jax.Array, size: tuple[int, int],
) -> tuple[jax.Array, jax.Array]:
    """Where the frame's own camera sees what a turned camera sees of the body.

    Args:
      pixels: (n, 2) of the turned camera.
      K: (3, 3) pixels, of both.
      camera_from_own: (4, 4) turned camera's coordinates from the own camera's, metres.
      head: (3,) the head's origin in the own camera's coordinates.
      body: (2,) of `body_size.fit_body`.
      size: (H, W) of the own camera's picture.

    Returns:
      (n, 2) pixels of the own camera, at its border where it saw no farther; (n,) bool, False
      where the ray misses the body. Without a turn every pixel maps to itself.
    """
    still = jnp.all(jnp.abs(camera_from_own - jnp.eye(4)) < 1e-6)

    def turned():
        seen, hit = _turned_pixels(pixels, K, camera_from_own, head, body)
        return jnp.clip(seen, 0.5, jnp.array(size[::-1]) - 0.5), hit

    return jax.lax.cond(still, lambda: (pixels, jnp.ones((len(pixels),), bool)), turned)


def _turned_pixels(pixels, K, camera_from_own, head, body):
    focal, centre = jnp.array([K[0, 0], K[1, 1]]), jnp.array([K[0, 2], K[1, 2]])
    ones = jnp.ones((len(pixels), 1), pixels.dtype)
    rays = jnp.concatenate([(pixels - centre) / focal, ones], -1)
    turn, shift = camera_from_own[:3, :3], camera_from_own[:3, 3]
    direction = jnp.matmul(rays, turn, precision=_HIGHEST)
    origin = -jnp.matmul(shift, turn, precision=_HIGHEST)
    axis = head + jnp.array([0.0, 0.0, BEHIND])

    def outside(distance):
        """Below zero where the rays' points are inside the body."""
        points = origin + distance[:, None] * direction - axis
        wide = body[1] * jnp.interp(points[:, 1] + body[0], jnp.array(BELOW), jnp.array(HALF_WIDTH))
        deep = jnp.interp(points[:, 1], jnp.array(BELOW), jnp.array(HALF_DEPTH))
        return (points[:, 0] / wide) ** 2 + (points[:, 2] / deep) ** 2 - 1.0

    level = jnp.array([1.0, 0.0, 1.0])
    middle = jnp.sum((axis - origin) * level * direction, -1) / jnp.sum(level * direction**2, -1)
    speed = jnp.linalg.norm(direction, axis=-1)
    step = 2 * _REACH / _STEPS / speed

    def march(k, found):
        near, hit = found
        distance = middle + (k - 0.5 * _STEPS) * step
        inside = outside(distance) < 0
        return jnp.where(hit, near, distance), hit | inside

    far, hit = jax.lax.fori_loop(0, _STEPS, march, (middle, jnp.zeros(middle.shape, bool)))

    def halve(_, between):
        near, far = between
        half = 0.5 * (near + far)
        inside = outside(half) < 0
        return jnp.where(inside, near, half), jnp.where(inside, half, far)

    _, distance = jax.lax.fori_loop(0, _HALVINGS, halve, (far - step, far))
    points = origin + distance[:, None] * direction
    depth = jnp.maximum(points[:, 2:], 1e-6)
    return points[:, :2] / depth * focal + centre, hit & (distance > 0)
