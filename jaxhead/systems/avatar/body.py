"""The 2D torso seen from a camera that turned around the person.

One camera shows no depth of the shoulders. For another view the torso's picture is laid on a
neck, shoulders and chest (upright, with rounded cross-sections, as wide at each height as the
torso's silhouette and as deep as an adult), and looked up where the new ray meets them. The body
stands below the head's mean place and moves as the torso does, not as the head. What of it stands
nearer than the head hides it: a collar goes round the neck.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.body_size import BEHIND, BELOW, HALF_DEPTH, ROWS
from jaxhead.geometry.cameras import project_camera
from jaxhead.rendering.integrate import Rendered
from jaxhead.rendering.torso import torso_points

_REACH = 0.3
"""Metres before and behind the body's axis in which rays are searched."""
_STEPS, _HALVINGS = 24, 6
_BOXY = 2.5
"""Exponent of the cross-sections, 2 for ellipses: arms stand beside the chest."""
_ROUND, _FIRM = 1.2, 0.37
"""Radians around the body's axis from its front that the own camera sees well; radians of turn
from which on nothing else is shown."""
_DEPTHS = tuple(np.interp(ROWS, BELOW, HALF_DEPTH).tolist())
"""Half depths in metres at `ROWS`, among which all of the table's heights are."""
_NONE = 1e-4
"""Radians of turn that are rounding."""
_INSET = 0.006
"""Metres that such a place lies within the ends of the body's rows, where the own camera's picture
begins to show what is behind: the sides of a collar would be as transparent."""
_EDGE = 0.01
"""Metres of distance within which the body goes from behind the head to before it."""
_HIGHEST = jax.lax.Precision.HIGHEST


def own_pixels(
    pixels: jax.Array, K: jax.Array, camera_from_own: jax.Array, motion: jax.Array,
    *, body: jax.Array, place: jax.Array, size: tuple[int, int],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where the frame's own camera sees what a turned camera sees of the body.

    Args:
      pixels: (n, 2) of the turned camera.
      K: (3, 3) pixels, of both.
      camera_from_own: (4, 4) turned camera's coordinates from the own camera's, metres.
      motion: (2, 3) of the frame's torso, pixels.
      body: half widths of `body_size.fit_body`; place: (3,) of `mean_place`.
      size: (H, W) of the own camera's picture.

    Returns:
      (n, 2) pixels of the own camera, at its border where it saw no farther; (n,) in [0, 1] how
      much of the pixel the body covers; (n,) metres along the ray to the body, infinite where it is
      missed and more than there are for turns of less than `_FIRM`. Without a turn every pixel maps
      to itself, infinitely far: the own camera's picture shows who stands before whom.
    """
    still = jnp.all(jnp.abs(camera_from_own - jnp.eye(4)) < 1e-6)

    def turned():
        head = carried_place(place, motion, K, size)
        seen, covered, distance = _turned_pixels(pixels, K, camera_from_own, head, body)
        return jnp.clip(seen, 0.5, jnp.array(size[::-1]) - 0.5), covered, distance

    def same():
        return pixels, jnp.ones((len(pixels),)), jnp.full((len(pixels),), jnp.inf)

    return jax.lax.cond(still, same, turned)


def turned_away(camera_from_own: jax.Array) -> jax.Array:
    """() how much a camera, of `own_pixels`, sees from aside: 0 as the own one, 1 from `_FIRM`
    radians on. By degrees, since the picture should not jump as a camera begins to turn."""
    turn = camera_from_own[:3, :3]
    angle = jnp.arctan2(jnp.hypot(turn[0, 2], turn[1, 2]), turn[2, 2])
    return jnp.clip((angle - _NONE) / _FIRM, 0.0, 1.0)


def before_head(head: Rendered, distance: jax.Array) -> jax.Array:
    """(n,) in [0, 1] how much the body stands before a head that is rendered along n rays.

    Args:
      head: its opacity and its depth in metres along the ray, times opacity.
      distance: (n,) of `own_pixels`.
    """
    depth = head.depth / jnp.maximum(head.alpha, 1e-3)
    return jnp.clip((depth - distance) / _EDGE, 0.0, 1.0)


def _in_half_axes(points, body):
    """(n,) and (n,) coordinates x and z of points, relative to the axis, in half axes of the
    body at their height; (n, 2) these half axes in metres."""
    half = jnp.stack([body, jnp.array(_DEPTHS, body.dtype)], -1)
    # The rows lie evenly, which a search need not find out.
    place = jnp.clip((points[:, 1] - ROWS[0]) / (ROWS[1] - ROWS[0]), 0.0, len(ROWS) - 1.0)
    upper = jnp.minimum(place.astype(jnp.int32), len(ROWS) - 2)
    share = (place - upper)[:, None]
    half = half[upper] * (1 - share) + half[upper + 1] * share
    return points[:, 0] / half[:, 0], points[:, 2] / half[:, 1], half


def _boxy(x):
    """|x| to the power `_BOXY`, 2.5, in a fraction of the time of a power."""
    return x * x * jnp.sqrt(jnp.maximum(jnp.abs(x), 1e-9))


def _seen_from_the_front(points, axis, body, limit, inset):
    """(n, 3) points of the body; those farther from its front than `limit` radians, which the own
    camera hardly sees or does not see at all, are moved round the axis to that angle, and to
    `inset` metres within the ends of their row."""
    across, ahead, half = _in_half_axes(points - axis, body)

    def powered(x, exponent):
        return jnp.sign(x) * jnp.abs(x) ** exponent

    angle = jnp.arctan2(powered(across, _BOXY / 2), -powered(ahead, _BOXY / 2))
    angle = jnp.clip(angle, -limit, limit)
    round_it = jnp.stack([jnp.sin(angle), -jnp.cos(angle)], -1)
    moved = powered(round_it, 2 / _BOXY) * half
    end = half[:, 0] - inset
    aside = jnp.clip(moved[:, 0], -end, end)
    return jnp.stack([axis[0] + aside, points[:, 1], axis[2] + moved[:, 1]], -1)


def mean_place(
    head_to_camera: np.ndarray, motion: np.ndarray, K: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(3,) float32 where the head's origin is on average, as the reference torso's frame sees it:
    x, y in sizes of the picture's longest side, and metres along z.

    Args:
      head_to_camera: (n, 4, 4) of training frames; motion: (n, 2, 3) of their torso, pixels.
      K: (3, 3) pixels; size: (H, W).
    """
    origins = np.asarray(head_to_camera)[:, :3, 3]
    reference = _on_torsos(origins, motion, K, size=size)
    larger = np.sqrt(np.abs(np.linalg.det(np.asarray(motion)[..., :2])))
    place = [*np.mean(reference, 0), np.mean(origins[:, 2] * larger)]
    return np.array(place, np.float32)


@functools.partial(jax.jit, static_argnames="size")
def _on_torsos(origins, motion, K, *, size):
    return torso_points(project_camera(origins, K)[:, None], motion, size)[:, 0]


def carried_place(
    place: jax.Array, motion: jax.Array, K: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """(3,) metres in a frame's own camera: `mean_place` moved as the frame's torso did, nearer
    where the torso is larger. Arguments as in `own_pixels`."""
    linear, shift = motion[:, :2], motion[:, 2]
    pixel = jnp.matmul(linear, place[:2] * max(size), precision=_HIGHEST) + shift
    scale = jnp.abs(linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]) ** 0.5
    ray = (pixel - K[:2, 2]) / jnp.stack([K[0, 0], K[1, 1]])
    return jnp.concatenate([ray, jnp.ones(1)]) * (place[2] / scale)


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
        across, ahead, _ = _in_half_axes(origin + distance[:, None] * direction - axis, body)
        return _boxy(across) + _boxy(ahead) - 1.0

    level = jnp.array([1.0, 0.0, 1.0])
    middle = jnp.sum((axis - origin) * level * direction, -1) / jnp.sum(level * direction**2, -1)
    speed = jnp.linalg.norm(direction, axis=-1)
    step = 2 * _REACH / _STEPS / speed

    def march(k, found):
        near, hit, closest, least = found
        distance = middle + (k - 0.5 * _STEPS) * step
        height = outside(distance)
        closer = height < least
        return (
            jnp.where(hit, near, distance), hit | (height < 0),
            jnp.where(closer, distance, closest), jnp.where(closer, height, least),
        )  # fmt: skip

    start = middle, jnp.zeros(middle.shape, bool), middle, jnp.full(middle.shape, jnp.inf)
    far, hit, closest, _ = jax.lax.fori_loop(0, _STEPS, march, start)

    def halve(_, between):
        near, far = between
        half = 0.5 * (near + far)
        inside = outside(half) < 0
        return jnp.where(inside, near, half), jnp.where(inside, half, far)

    _, distance = jax.lax.fori_loop(0, _HALVINGS, halve, (far - step, far))
    # A ray that just misses the body is that of a pixel which the body covers in part.
    closest = _valley(outside, closest, step)
    off = _metres_off(origin + closest[:, None] * direction - axis, body)
    pixel = jnp.maximum(closest, 1e-6) / focal[0]
    covered = jnp.where(closest > 0, jnp.clip(0.5 - off / pixel, 0.0, 1.0), 0.0)
    distance = jnp.where(hit, distance, closest)
    firm = turned_away(camera_from_own)
    limit = 0.5 * jnp.pi - firm * (0.5 * jnp.pi - _ROUND)
    points = _seen_from_the_front(
        origin + distance[:, None] * direction, axis, body, limit, firm * _INSET
    )
    depth = jnp.maximum(points[:, 2:], 1e-6)
    away = jnp.where(covered > 0, distance * speed + (1 - firm) * _REACH, jnp.inf)
    return points[:, :2] / depth * focal + centre, covered, away


def _valley(height, at, step):
    """Where along rays a function is least, of which it is known to within a step."""
    before, here, after = height(at - step), height(at), height(at + step)
    bend = before - 2 * here + after
    move = 0.5 * (before - after) / jnp.maximum(bend, 1e-6)
    return at + jnp.clip(move, -1.0, 1.0) * step


def _metres_off(points, body):
    """(n,) how far points near the body's surface lie off it, inside below zero; points are
    relative to the axis."""

    def gauge(point):
        across, ahead, _ = _in_half_axes(point[None], body)
        return (jnp.maximum(_boxy(across) + _boxy(ahead), 1e-6) ** (1 / _BOXY))[0]

    size, slope = jax.vmap(jax.value_and_grad(gauge))(points)
    return (size - 1) / jnp.maximum(jnp.linalg.norm(slope, axis=-1), 1e-6)
