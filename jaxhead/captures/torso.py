"""The torso's own motion: a similarity per frame against a reference frame, and a predictor of it.

Shoulders do not move with the head. The person below the chin is aligned with a reference training
frame by inverse-compositional Lucas-Kanade (Baker and Matthews 2004), coarse to fine, with robust
weights; a driven avatar predicts the same motion from the head's pose and its recent past.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

_HIGHEST = jax.lax.Precision.HIGHEST
WORK_SIZE = 256
_LEVELS = 4
_STEPS = 12
_HISTORY = (0, 3, 7, 13)
# Aligned pictures agree to a few grey levels (of 1); clothes that fold or hands that enter do not.
_WORST_ERROR = 0.12


@dataclasses.dataclass(frozen=True, eq=False)
class TorsoReference:
    """The reference frame, prepared for alignment.

    Attributes:
      levels: per pyramid level (fine to coarse) the picture (S, S), its steepest-descent images
        (S, S, 4) and the weight (S, S) of its pixels.
      size: side of the finest level.
    """

    levels: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    size: int


def torso_reference(picture: np.ndarray, torso: np.ndarray) -> TorsoReference | None:
    """Reference for `align_torso`, or None when too little torso shows texture.

    Args:
      picture: (S, S) float32 grey in [0, 1]; torso: (S, S) float32 mask in [0, 1].
    """
    levels = []
    weight = np.where(torso > 0.9, 1.0, 0.0).astype(np.float32)
    if weight.sum() < 0.005 * weight.size:
        return None
    for _ in range(_LEVELS):
        size = picture.shape[0]
        grid = (np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5) / size - 0.5
        dy, dx = np.gradient(_blurred(picture))
        descent = np.stack(
            [
                dx * size,
                dy * size,
                (dx * grid[..., 0] + dy * grid[..., 1]) * size,
                (dy * grid[..., 0] - dx * grid[..., 1]) * size,
            ],
            -1,
        )
        levels.append((_blurred(picture), descent.astype(np.float32), weight))
        picture, weight = _halved(picture), np.where(_halved(weight) > 0.7, 1.0, 0.0)
        weight = weight.astype(np.float32)
    return TorsoReference(levels=tuple(levels), size=levels[0][0].shape[0])


def align_torso(
    reference: TorsoReference, pictures: np.ndarray, visible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities that carry the reference's torso to each picture.

    Args:
      reference: from `torso_reference`.
      pictures: (N, S, S) float32 grey in [0, 1].
      visible: (N, S, S) float32 person mask without head; what it hides counts little.

    Returns:
      motion (N, 2, 3) float32 affine in pixels of S (frame = A @ [reference, 1]); error (N,) robust
      rms difference in grey levels after alignment.
    """
    coarse = [pictures]
    hidden = [visible]
    for _ in range(_LEVELS - 1):
        coarse.append(np.stack([_halved(p) for p in coarse[-1]]))
        hidden.append(np.stack([_halved(p) for p in hidden[-1]]))
    parameters = jnp.tile(jnp.array([0.0, 0.0, 0.0, 0.0]), (len(pictures), 1))
    error = jnp.zeros(len(pictures))
    for level in reversed(range(_LEVELS)):
        template, descent, weight = reference.levels[level]
        smooth = np.stack([_blurred(p) for p in coarse[level]])
        parameters, error = _align_level(
            template, descent, weight, smooth, hidden[level], parameters
        )
    return _affine(np.asarray(parameters, np.float64), reference.size), np.asarray(error)


@functools.partial(jax.jit, static_argnames=())
def _align_level(template, descent, weight, pictures, visible, parameters):
    """Gauss-Newton steps at one level for (N, 4) parameters: x, y shift, scale - 1, turn (in sizes)."""

    def one(picture, mask, start):
        def residual(p):
            warped = _sample(picture, _warp(p, template.shape[0]))
            seen = _sample(mask, _warp(p, template.shape[0]))
            # A change of light is not motion: the mean difference is left out.
            used = weight * jnp.clip(seen, 0.0, 1.0)
            total = jnp.maximum(used.sum(), 1.0)
            difference = warped - template
            return difference - (used * difference).sum() / total, used

        def step(p, _):
            difference, used = residual(p)
            spread = jnp.sqrt((used * difference**2).sum() / jnp.maximum(used.sum(), 1.0)) + 1e-3
            robust = used / (1.0 + (difference / (2.0 * spread)) ** 2)
            scaled = descent * robust[..., None]
            normal = jnp.einsum("hwi,hwj->ij", scaled, descent, precision=_HIGHEST)
            right = jnp.einsum("hwi,hw->i", scaled, difference, precision=_HIGHEST)
            damping = 1e-4 * jnp.trace(normal) * jnp.eye(4) + 1e-6 * jnp.eye(4)
            delta = jnp.linalg.solve(normal + damping, right)
            return _compose(p, delta), None

        final, _ = jax.lax.scan(step, start, None, length=_STEPS)
        difference, used = residual(final)
        error = jnp.sqrt((used * difference**2).sum() / jnp.maximum(used.sum(), 1.0))
        return final, error

    return jax.lax.map(lambda args: one(*args), (pictures, visible, parameters))


def _compose(p: jax.Array, delta: jax.Array) -> jax.Array:
    """Parameters of W(p) after the inverse of W(delta), all similarities about the centre."""
    a, b = 1 + p[2], p[3]
    c, d = 1 + delta[2], delta[3]
    norm = c * c + d * d
    # Complex numbers: z -> (a + ib) z + t; the inverse of delta is z -> (z - s) / (c + id).
    real, imaginary = (a * c + b * d) / norm, (b * c - a * d) / norm
    shift_x = p[0] - (real * delta[0] - imaginary * delta[1])
    shift_y = p[1] - (imaginary * delta[0] + real * delta[1])
    return jnp.stack([shift_x, shift_y, real - 1, imaginary])


def _warp(p: jax.Array, size: int) -> jax.Array:
    """(S, S, 2) pixel indices in the picture for every reference pixel."""
    axis = (jnp.arange(size) + 0.5) / size - 0.5
    x, y = axis[None, :], axis[:, None]
    u = (1 + p[2]) * x - p[3] * y + p[0]
    v = p[3] * x + (1 + p[2]) * y + p[1]
    return (jnp.stack([u, v], -1) + 0.5) * size - 0.5


def _sample(picture: jax.Array, at: jax.Array) -> jax.Array:
    return jax.scipy.ndimage.map_coordinates(
        picture, [at[..., 1], at[..., 0]], order=1, mode="nearest"
    )


def _affine(parameters: np.ndarray, size: int) -> np.ndarray:
    """(N, 2, 3) pixel affines (pixel centres at +0.5) of similarities about the centre."""
    tx, ty, scale, turn = parameters.T
    linear = np.stack([np.stack([1 + scale, -turn], -1), np.stack([turn, 1 + scale], -1)], -2)
    centre = np.array([0.5, 0.5]) * size
    shift = np.stack([tx, ty], -1) * size + centre - linear @ centre
    return np.concatenate([linear, shift[..., None]], -1)


def _blurred(picture: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(picture, 0.7).astype(np.float32)


def _halved(picture: np.ndarray) -> np.ndarray:
    half = picture.shape[0] // 2
    return picture.reshape(half, 2, half, 2).mean((1, 3)).astype(np.float32)


def trusted(error: np.ndarray, motion: np.ndarray, size: int) -> np.ndarray:
    """(N,) bool: alignments that ended well: small error, plausible size of the motion."""
    linear = motion[..., :2]
    scale = np.sqrt(np.abs(np.linalg.det(linear)))
    centre = np.array([0.5 * size, 0.75 * size])
    moved = np.linalg.norm(linear @ centre + motion[..., 2] - centre, axis=-1)
    return (error < _WORST_ERROR) & (np.abs(scale - 1) < 0.2) & (moved < 0.25 * size)
