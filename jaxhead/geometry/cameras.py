"""Pinhole cameras in OpenCV axes (x right, y down, z forward), pixel centres at +0.5.

`K` (..., 3, 3) is in pixels of the picture it belongs to; `head_to_camera` (..., 4, 4) maps head
space (metres, y up, +z out of the face) to camera space.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxhead.geometry.safe import safe_divide, safe_normalize
from jaxhead.geometry.transforms import (
    apply_rotation,
    apply_transform,
    matmul,
    rigid,
    rigid_inverse,
    yaw_pitch_matrix,
)


def intrinsics(fov: ArrayLike, size: tuple[int, int]) -> jax.Array:
    """Returns K (..., 3, 3) in pixels with square pixels and a central principal point.

    Args:
      fov: vertical field of view (...), radians.
      size: (height, width) in pixels.
    """
    height, width = size
    focal = 0.5 * height / jnp.tan(jnp.asarray(fov) / 2)
    zero, one = jnp.zeros_like(focal), jnp.ones_like(focal)
    rows = ((focal, zero, one * (width / 2)), (zero, focal, one * (height / 2)), (zero, zero, one))
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def resize_intrinsics(K: ArrayLike, factor: ArrayLike) -> jax.Array:
    """Returns K (..., 3, 3) after the picture was scaled by (x, y) factors (..., 2).

    With pixel centres at +0.5 the corner of the picture stays the origin, so K just scales.
    """
    factor = jnp.asarray(factor)
    rows = jnp.concatenate([factor, jnp.ones_like(factor[..., :1])], axis=-1)
    return jnp.asarray(K) * rows[..., :, None]


def crop_intrinsics(K: ArrayLike, corner: ArrayLike) -> jax.Array:
    """Returns K (..., 3, 3) of a crop whose top left corner (x, y) (..., 2) is in pixels."""
    return jnp.asarray(K).at[..., :2, 2].add(-jnp.asarray(corner))


def camera_centre(head_to_camera: ArrayLike) -> jax.Array:
    """Returns the camera's position (..., 3) in head space."""
    return rigid_inverse(head_to_camera)[..., :3, 3]


def project(
    points: ArrayLike, K: ArrayLike, head_to_camera: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Returns where points of head space appear.

    Args:
      points: (..., N, 3) metres, head space.
      K: (..., 3, 3) pixels.
      head_to_camera: (..., 4, 4).

    Returns:
      pixels (..., N, 2) as (x, y), and depth (..., N) along the optical axis in metres. A point in
      the camera's own plane (depth 0) gets the pixel (cx, cy); one behind it a negative depth and
      a mirrored pixel: test the depth.
    """
    in_camera = apply_transform(head_to_camera, points)
    return project_camera(in_camera, K), in_camera[..., 2]


def project_camera(points_camera: ArrayLike, K: ArrayLike) -> jax.Array:
    """Returns pixels (..., N, 2) of camera-space points (..., N, 3); see `project`."""
    points_camera, K = jnp.asarray(points_camera), jnp.asarray(K)
    depth = jnp.broadcast_to(points_camera[..., 2:], points_camera.shape[:-1] + (2,))
    plane = safe_divide(points_camera[..., :2], depth)
    return matmul(plane, jnp.swapaxes(K[..., :2, :2], -1, -2)) + K[..., None, :2, 2]


def unproject(
    pixels: ArrayLike, depth: ArrayLike, K: ArrayLike, head_to_camera: ArrayLike
) -> jax.Array:
    """Returns head-space points (..., N, 3) from pixels (..., N, 2) and depth (..., N) in metres.

    The inverse of `project`.
    """
    plane = _image_plane(pixels, K)
    return apply_transform(rigid_inverse(head_to_camera), plane * jnp.asarray(depth)[..., None])


def pixel_rays(
    K: ArrayLike, head_to_camera: ArrayLike, pixels: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Returns the rays of pixels in head space.

    Args:
      K: (..., 3, 3) pixels.
      head_to_camera: (..., 4, 4).
      pixels: (..., N, 2) as (x, y); the centre of the first pixel is (0.5, 0.5).

    Returns:
      origins (..., N, 3) metres and unit directions (..., N, 3). Distance along a ray is depth
      divided by `ray_depth_factor`.
    """
    plane = _image_plane(pixels, K)
    directions = safe_normalize(apply_rotation(rigid_inverse(head_to_camera), plane))
    origins = jnp.broadcast_to(camera_centre(head_to_camera)[..., None, :], directions.shape)
    return origins, directions


def ray_depth_factor(K: ArrayLike, pixels: ArrayLike) -> jax.Array:
    """Returns depth per distance (..., N) in (0, 1]: the cosine of each ray to the optical axis."""
    plane = _image_plane(pixels, K)
    return 1.0 / jnp.sqrt(jnp.sum(plane**2, axis=-1))


def pixel_centres(size: tuple[int, int]) -> jax.Array:
    """Returns the centres (H, W, 2) as (x, y) of a picture of size (height, width)."""
    height, width = size
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    return jnp.stack([x, y], axis=-1)


def orbit(
    head_to_camera: ArrayLike, yaw: ArrayLike, pitch: ArrayLike, centre: ArrayLike
) -> jax.Array:
    """Returns head_to_camera (..., 4, 4) after the head turned in front of a fixed camera.

    Args:
      head_to_camera: (4, 4).
      yaw: (...) radians; positive turns the face to the subject's left.
      pitch: (...) radians; positive lowers the face.
      centre: (3,) the point of head space, metres, that stays in place.
    """
    turn = yaw_pitch_matrix(yaw, pitch)
    centre = jnp.asarray(centre)
    shift = centre - jnp.sum(turn * centre, axis=-1)
    return matmul(head_to_camera, rigid(turn, shift))


def _image_plane(pixels: ArrayLike, K: ArrayLike) -> jax.Array:
    """Returns camera-space points (..., N, 3) at depth one; K may carry skew."""
    pixels, K = jnp.asarray(pixels), jnp.asarray(K)
    y = (pixels[..., 1] - K[..., None, 1, 2]) / K[..., None, 1, 1]
    x = (pixels[..., 0] - K[..., None, 0, 2] - K[..., None, 0, 1] * y) / K[..., None, 0, 0]
    return jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
