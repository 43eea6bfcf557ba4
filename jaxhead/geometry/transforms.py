"""Rotations, rigid motions and similarities.

Conventions: column vectors, a 4x4 named `a_to_b` maps homogeneous points of frame a to frame b.
Quaternions are (w, x, y, z). Angles are radians. Matrix products use the highest precision, since
a rotation in bfloat16 or TF32 moves a head by millimetres.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxhead.geometry.safe import dot, safe_divide, safe_norm, safe_normalize, safe_sqrt

HIGHEST = jax.lax.Precision.HIGHEST


def matmul(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """Returns a @ b in full float32 on every device."""
    return jnp.matmul(a, b, precision=HIGHEST)


def skew(v: ArrayLike) -> jax.Array:
    """Returns the matrices [v]x (..., 3, 3) with [v]x u = v x u, for v (..., 3)."""
    v = jnp.asarray(v)
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    zero = jnp.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def axis_angle_to_matrix(axis_angle: ArrayLike) -> jax.Array:
    """Returns rotations (..., 3, 3) from axis times angle (..., 3), radians (Rodrigues).

    Below 1e-2 rad the two coefficients are their Taylor series, so value and gradients of every
    order are right at the identity.
    """
    v = jnp.asarray(axis_angle)
    squared = dot(v, v)
    small = squared < 1e-4
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    sine = jnp.where(small, 1 - squared / 6 + squared**2 / 120, jnp.sin(angle) / angle)
    cosine = jnp.where(
        small, 0.5 - squared / 24 + squared**2 / 720, (1 - jnp.cos(angle)) / angle**2
    )
    k = skew(v)
    eye = jnp.broadcast_to(jnp.eye(3, dtype=v.dtype), k.shape)
    return eye + sine[..., None, None] * k + cosine[..., None, None] * matmul(k, k)


def matrix_to_axis_angle(rotation: ArrayLike) -> jax.Array:
    """Returns axis times angle (..., 3), angle in [0, pi], from rotations (..., 3, 3)."""
    q = matrix_to_quaternion(rotation)
    w, v = q[..., 0], q[..., 1:]
    length = safe_norm(v)
    # 2 atan2(|v|, w) / |v| tends to 2 / w at the identity, where w is 1.
    near = length < 1e-4
    angle = 2 * jnp.arctan2(jnp.where(near, 1.0, length), jnp.where(near, 1.0, w))
    factor = jnp.where(near, 2.0, angle / jnp.where(near, 1.0, length))
    return factor[..., None] * v


def quaternion_to_matrix(quaternion: ArrayLike) -> jax.Array:
    """Returns rotations (..., 3, 3) from quaternions (..., 4) as (w, x, y, z) of any length > 0."""
    q = safe_normalize(quaternion)
    w, x, y, z = q[..., 0], q[..., 1], q[..., 2], q[..., 3]
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quaternion(rotation: ArrayLike) -> jax.Array:
    """Returns unit quaternions (..., 4) as (w, x, y, z) with w >= 0 from rotations (..., 3, 3).

    The four products q q_i are all formed and the best conditioned one is taken, so the result and
    its gradient are finite for every rotation, half turns included.
    """
    r = jnp.asarray(rotation)
    (a, b, c), (d, e, f), (g, h, i) = (
        tuple(r[..., row, column] for column in range(3)) for row in range(3)
    )
    products = jnp.stack(
        [
            jnp.stack([1 + a + e + i, h - f, c - g, d - b], axis=-1),
            jnp.stack([h - f, 1 + a - e - i, d + b, c + g], axis=-1),
            jnp.stack([c - g, d + b, 1 - a + e - i, f + h], axis=-1),
            jnp.stack([d - b, c + g, f + h, 1 - a - e + i], axis=-1),
        ],
        axis=-2,
    )
    diagonal = jnp.diagonal(products, axis1=-2, axis2=-1)
    best = jnp.argmax(diagonal, axis=-1)[..., None, None]
    q = safe_normalize(jnp.take_along_axis(products, best, axis=-2)[..., 0, :])
    return jnp.where(q[..., :1] < 0, -q, q)


def quaternion_slerp(start: ArrayLike, end: ArrayLike, t: ArrayLike) -> jax.Array:
    """Returns the unit quaternion (..., 4) a fraction t (...) in [0, 1] along the shorter arc."""
    a, b = safe_normalize(start), safe_normalize(end)
    t = jnp.asarray(t)
    cosine = dot(a, b)
    b = jnp.where(cosine[..., None] < 0, -b, b)
    cosine = jnp.clip(jnp.abs(cosine), 0.0, 1.0)
    close = cosine > 0.9995
    angle = jnp.arccos(jnp.where(close, 0.0, cosine))
    wa = jnp.where(close, 1 - t, jnp.sin((1 - t) * angle) / jnp.sin(angle))
    wb = jnp.where(close, t, jnp.sin(t * angle) / jnp.sin(angle))
    return safe_normalize(wa[..., None] * a + wb[..., None] * b)


def six_d_to_matrix(six: ArrayLike) -> jax.Array:
    """Returns rotations (..., 3, 3) whose first two ROWS come from (..., 6) by Gram-Schmidt.

    Zhou et al. 2019 (arXiv 1812.07035) section B; rows as in PyTorch3D and the published trackers.
    """
    six = jnp.asarray(six)
    x = safe_normalize(six[..., :3])
    y = six[..., 3:]
    y = safe_normalize(y - dot(x, y, keepdims=True) * x)
    return jnp.stack([x, y, jnp.cross(x, y)], axis=-2)


def matrix_to_six_d(rotation: ArrayLike) -> jax.Array:
    """Returns the first two rows (..., 6) of rotations (..., 3, 3)."""
    r = jnp.asarray(rotation)
    return r[..., :2, :].reshape(*r.shape[:-2], 6)


def rigid(rotation: ArrayLike, translation: ArrayLike) -> jax.Array:
    """Returns (..., 4, 4) from a 3x3 linear part (..., 3, 3) and a translation (..., 3)."""
    linear = jnp.asarray(rotation)
    top = jnp.concatenate([linear, jnp.asarray(translation)[..., None]], axis=-1)
    last = jnp.asarray([0.0, 0.0, 0.0, 1.0], dtype=top.dtype)
    bottom = jnp.broadcast_to(last, (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def rigid_inverse(transform: ArrayLike) -> jax.Array:
    """Returns the inverse (..., 4, 4) of a rotation with a translation (..., 4, 4)."""
    transform = jnp.asarray(transform)
    transposed = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    return rigid(transposed, -matmul(transposed, transform[..., :3, 3:])[..., 0])


def apply_transform(transform: ArrayLike, points: ArrayLike) -> jax.Array:
    """Returns points (..., N, 3) moved by affine transforms (..., 4, 4)."""
    transform = jnp.asarray(transform)
    linear = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    return matmul(points, linear) + transform[..., None, :3, 3]


def apply_rotation(transform: ArrayLike, directions: ArrayLike) -> jax.Array:
    """Returns directions (..., N, 3) turned by the 3x3 part of transforms (..., 4, 4 or 3, 3)."""
    return matmul(directions, jnp.swapaxes(jnp.asarray(transform)[..., :3, :3], -1, -2))


def yaw_pitch_matrix(yaw: ArrayLike, pitch: ArrayLike) -> jax.Array:
    """Returns rotations (..., 3, 3) of head space: first pitch about x, then yaw about y.

    Positive yaw turns the face (+z) to the subject's left (+x), positive pitch lowers it.
    """
    yaw, pitch = jnp.asarray(yaw), jnp.asarray(pitch)
    zero = jnp.zeros_like(yaw)
    around_y = axis_angle_to_matrix(jnp.stack([zero, yaw, zero], axis=-1))
    around_x = axis_angle_to_matrix(jnp.stack([pitch, zero, zero], axis=-1))
    return matmul(around_y, around_x)


def similarity_2d(scale: ArrayLike, angle: ArrayLike, translation: ArrayLike) -> jax.Array:
    """Returns 2D similarities (..., 2, 3): scale (...), angle (...) from x to y, shift (..., 2)."""
    scale, angle = jnp.asarray(scale), jnp.asarray(angle)
    c, s = scale * jnp.cos(angle), scale * jnp.sin(angle)
    linear = jnp.stack([jnp.stack([c, -s], axis=-1), jnp.stack([s, c], axis=-1)], axis=-2)
    return jnp.concatenate([linear, jnp.asarray(translation)[..., None]], axis=-1)


def apply_affine_2d(affine: ArrayLike, points: ArrayLike) -> jax.Array:
    """Returns points (..., N, 2) moved by 2D affine maps (..., 2, 3)."""
    affine = jnp.asarray(affine)
    return matmul(points, jnp.swapaxes(affine[..., :2], -1, -2)) + affine[..., None, :, 2]


def invert_affine_2d(affine: ArrayLike) -> jax.Array:
    """Returns the inverse (..., 2, 3) of 2D affine maps (..., 2, 3); zero where it has none."""
    affine = jnp.asarray(affine)
    a, b, c, d = affine[..., 0, 0], affine[..., 0, 1], affine[..., 1, 0], affine[..., 1, 1]
    adjugate = jnp.stack([jnp.stack([d, -b], axis=-1), jnp.stack([-c, a], axis=-1)], axis=-2)
    linear = safe_divide(adjugate, jnp.broadcast_to((a * d - b * c)[..., None, None],
                                                    adjugate.shape))
    return jnp.concatenate([linear, -matmul(linear, affine[..., 2:])], axis=-1)


def procrustes(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None, *,
    with_scale: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (scale, rotation, translation) that minimise sum w |scale R source + t - target|^2.

    Umeyama 1991 with weights; the rotation is proper also for planar or mirrored point sets.

    Args:
      source: points (..., N, D), D = 2 or 3.
      target: points (..., N, D).
      weights: non-negative (..., N); None means equal.
      with_scale: False fixes the scale to one.

    Returns:
      scale (...), rotation (..., D, D), translation (..., D).
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    w = jnp.ones_like(source[..., 0]) if weights is None else jnp.asarray(weights)
    w = safe_divide(w, jnp.broadcast_to(jnp.sum(w, axis=-1, keepdims=True), w.shape))[..., None]
    source_mean = jnp.sum(w * source, axis=-2, keepdims=True)
    target_mean = jnp.sum(w * target, axis=-2, keepdims=True)
    source, target = source - source_mean, target - target_mean
    covariance = matmul(jnp.swapaxes(w * target, -1, -2), source)
    u, singular, vt = jnp.linalg.svd(covariance, full_matrices=False)
    sign = jnp.where(jnp.linalg.det(matmul(u, vt)) < 0, -1.0, 1.0).astype(source.dtype)
    signs = jnp.ones_like(singular).at[..., -1].set(sign)
    rotation = matmul(u * signs[..., None, :], vt)
    scale = jnp.ones_like(sign)
    if with_scale:
        variance = jnp.sum(w * source**2, axis=(-2, -1))
        scale = safe_divide(jnp.sum(singular * signs, axis=-1), variance)
    turned = matmul(source_mean, jnp.swapaxes(rotation, -1, -2))
    translation = (target_mean - scale[..., None, None] * turned)[..., 0, :]
    return scale, rotation, translation


def rotation_angle(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """Returns the angle (...) in [0, pi] radians between rotations a and b (..., 3, 3)."""
    relative = matmul(jnp.swapaxes(jnp.asarray(a), -1, -2), b)
    # atan2 of sine and cosine keeps its accuracy near zero and pi, where arccos loses half.
    axis = jnp.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        axis=-1,
    )
    trace = jnp.trace(relative, axis1=-2, axis2=-1)
    return jnp.arctan2(safe_sqrt(dot(axis, axis)), trace - 1)
