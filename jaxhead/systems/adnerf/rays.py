"""AD-NeRF's cameras: integer pixels, unnormalised directions, OpenGL axes, poses as codes.

A camera is (focal, cx, cy) in pixels, with the first pixel at 0, and camera-to-world (4, 4), the
world being the space of the head: x right, y up, the camera looks down its -z.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxhead.encodings.frequency import frequency

_FLIP = np.diag([1.0, -1.0, -1.0])


def camera_rays(
    camera: jax.Array, camera_to_world: jax.Array, pixels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Origins and directions of the rays of pixels.

    Args:
        camera: (3,) focal length and principal point (cx, cy).
        camera_to_world: (4, 4).
        pixels: (..., 2) integer (row, column).

    Returns:
        (..., 3) each. Directions have depth 1: origin + z * direction lies z in front.
    """
    focal, cx, cy = camera
    row, column = pixels[..., 0].astype(jnp.float32), pixels[..., 1].astype(jnp.float32)
    x, y = (column - cx) / focal, -(row - cy) / focal
    rotation = camera_to_world[:3, :3]
    directions = x[..., None] * rotation[:, 0] + y[..., None] * rotation[:, 1] - rotation[:, 2]
    return jnp.broadcast_to(camera_to_world[:3, 3], directions.shape), directions


def published_camera(K: np.ndarray) -> np.ndarray:
    """(3,) float32 focal, cx, cy of intrinsics (3, 3) whose first pixel's centre is at 0.5."""
    return np.array([0.5 * (K[0, 0] + K[1, 1]), K[0, 2] - 0.5, K[1, 2] - 0.5], np.float32)


def published_poses(head_to_camera: np.ndarray) -> np.ndarray:
    """(..., 4, 4) float32 camera-to-world of rigid head-to-camera poses in OpenCV axes."""
    pose = np.asarray(head_to_camera, np.float64)
    rotation = np.swapaxes(_FLIP @ pose[..., :3, :3], -1, -2)
    result = np.broadcast_to(np.eye(4), pose.shape).copy()
    result[..., :3, :3] = rotation
    result[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, pose[..., :3, 3] @ _FLIP)
    return result.astype(np.float32)


def tracker_rotation(euler: ArrayLike) -> jax.Array:
    """(..., 3, 3) Rx(e0) Ry(e1) Rz(-e2) of the tracker's angles (..., 3) in radians."""
    a, b, c = jnp.moveaxis(jnp.asarray(euler) * jnp.array([1.0, 1.0, -1.0]), -1, 0)
    sa, ca, sb, cb, sc, cc = jnp.sin(a), jnp.cos(a), jnp.sin(b), jnp.cos(b), jnp.sin(c), jnp.cos(c)
    rows = (
        (cb * cc, -cb * sc, sb),
        (ca * sc + sa * sb * cc, ca * cc - sa * sb * sc, -sa * cb),
        (sa * sc - ca * sb * cc, sa * cc + ca * sb * sc, ca * cb),
    )
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def tracker_camera_to_world(euler: ArrayLike, translation: ArrayLike) -> jax.Array:
    """(..., 4, 4) of the tracker's angles (..., 3) and translation (..., 3), divided by 10 before.
    """
    world = jnp.swapaxes(tracker_rotation(euler), -1, -2)
    centre = -jnp.sum(world * jnp.asarray(translation)[..., None, :], -1)
    top = jnp.concatenate([world, centre[..., None]], -1)
    last = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0]), (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, last], -2)


def pose_code(camera_to_world: jax.Array, *, kind: str = "published") -> jax.Array:
    """(..., 6) three angles and the position of a camera (..., 4, 4), which the torso is told.

    Args:
        camera_to_world: (..., 4, 4).
        kind: "angles" are the tracker's; "published" are those that the released code reads from
            the transposed rotation, about pi / 2 beside them in two of three, and that released
            checkpoints need.
    """
    m = camera_to_world
    asin = lambda x: jnp.arcsin(jnp.clip(x, -1, 1))  # noqa: E731
    if kind == "published":
        angles = (
            jnp.arctan2(m[..., 2, 2], m[..., 1, 2]),
            asin(-m[..., 0, 2]),
            jnp.arctan2(m[..., 0, 0], -m[..., 0, 1]),
        )
    elif kind == "angles":
        angles = (
            jnp.arctan2(-m[..., 2, 1], m[..., 2, 2]),
            asin(m[..., 2, 0]),
            jnp.arctan2(m[..., 1, 0], m[..., 0, 0]),
        )
    else:
        raise ValueError(f"kind is {kind!r}, expected angles or published")
    return jnp.concatenate([jnp.stack(angles, -1), m[..., :3, 3]], -1)


def torso_signal(audio: jax.Array, code: jax.Array, *, bands: int = 3) -> jax.Array:
    """The torso's condition: audio code (C,), then angles and position (6,) encoded one by one."""
    parts = [frequency(part, bands=bands) for part in (code[..., :3], code[..., 3:])]
    return jnp.concatenate([audio, *parts], -1)


def draw_pixels(key: jax.Array, inside: jax.Array, *, count: int, within: int) -> jax.Array:
    """Pixels without replacement, a fixed number of them from a region.

    Args:
        key: typed random key.
        inside: bool (H, W), the region; it may be traced.
        count: pixels in all, static, at most H W.
        within: of them from the region, static; a region with fewer pixels gives what it has.

    Returns:
        (count, 2) int32 (row, column); the first `within` lie in the region.
    """
    flat = inside.reshape(-1)
    if not 0 <= within <= count <= flat.size:
        raise ValueError(f"{within} of {count} rays, {flat.size} pixels")
    score = jax.random.uniform(key, flat.shape)
    first = jax.lax.top_k(score + flat, within)[1]
    # What is chosen cannot come again; the rest is outside as long as there is an outside.
    rest = jnp.where(flat, score - 1, score).at[first].set(-2.0)
    second = jax.lax.top_k(rest, count - within)[1]
    chosen = jnp.concatenate([first, second]).astype(jnp.int32)
    return jnp.stack(jnp.divmod(chosen, inside.shape[1]), -1)


def in_rectangle(size: tuple[int, int], rectangle: jax.Array, *, transposed: bool) -> jax.Array:
    """bool (H, W): pixels in a rectangle (x, y, width, height), its ends included.

    Args:
        size: (H, W).
        rectangle: (4,) in pixels.
        transposed: compare rows with x and columns with y, as the released code does.
    """
    x, y, width, height = rectangle
    row, column = jnp.arange(size[0])[:, None], jnp.arange(size[1])[None, :]
    if transposed:
        row, column = jnp.arange(size[1])[None, :], jnp.arange(size[0])[:, None]
    return (column >= x) & (column <= x + width) & (row >= y) & (row <= y + height)
