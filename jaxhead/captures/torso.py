"""The torso's own motion: a similarity per frame against a reference frame, and a predictor of it.

Shoulders do not move with the head. The person below the chin is aligned with a reference training
frame by inverse-compositional Lucas-Kanade (Baker and Matthews 2004), coarse to fine, with robust
weights; a driven avatar predicts the same motion from the head's pose and its recent past.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST
WORK_SIZE = 256
_LEVELS = 4
_STEPS = 10
_POINTS = 4096
_BATCH = 16
# What remains after alignment, as a share of the torso's own contrast: clothes reach 0.1 to 0.4.
_WORST_ERROR = 0.65
# Long hair over the shoulders changes as it swings, yet follows: its alignment is good when it
# explains clearly more than no motion does, which a hand that enters does not.
_WORST_GAIN = 0.85


@dataclasses.dataclass(frozen=True, eq=False)
class TorsoReference:
    """The reference frame, prepared for alignment.

    Attributes:
      levels: per pyramid level (fine to coarse) the places (P, 2) of the pixels that align, in
      sizes
        from the centre, their grey values (P,), steepest-descent images (P, 4) and weights (P,).
      size: side of the finest level.
      contrast: standard deviation of the torso's grey values.
    """

    levels: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]
    size: int
    contrast: float


def torso_reference(picture: np.ndarray, torso: np.ndarray) -> TorsoReference | None:
    """Reference for `align_torso`, or None when too little torso is in the picture.

    Args:
      picture: (S, S) float32 grey in [0, 1]; torso: (S, S) float32 mask in [0, 1].
    """
    levels = []
    weight = np.where(torso > 0.9, 1.0, 0.0).astype(np.float32)
    if weight.sum() < 0.005 * weight.size:
        return None
    for _ in range(_LEVELS):
        size = picture.shape[0]
        smooth = np.asarray(_blurred(jnp.asarray(picture, jnp.float32)))
        y, x = (np.stack(np.meshgrid(*[np.arange(size)] * 2, indexing="ij")) + 0.5) / size - 0.5
        dy, dx = np.gradient(smooth * size)
        descent = np.stack([dx, dy, dx * x + dy * y, dy * x - dx * y], -1)
        # Pixels without a gradient say nothing about motion; those with the largest are enough.
        chosen = np.argsort(-(weight * (dx**2 + dy**2 + 1e-6)).ravel())[:_POINTS]
        places = np.stack([x, y], -1).reshape(-1, 2)[chosen]
        values = (places, smooth.ravel()[chosen], descent.reshape(-1, 4)[chosen])
        levels.append(tuple(v.astype(np.float32) for v in (*values, weight.ravel()[chosen])))
        picture = np.asarray(_halved(picture))
        weight = np.where(_halved(weight) > 0.7, 1.0, 0.0).astype(np.float32)
    values, weight = levels[0][1], levels[0][3]
    mean = np.average(values, weights=weight)
    contrast = float(np.sqrt(np.average((values - mean) ** 2, weights=weight)))
    return TorsoReference(
        levels=tuple(levels), size=smooth.shape[0] * 2 ** (_LEVELS - 1), contrast=contrast + 1e-3
    )


def align_torso(
    reference: TorsoReference,
    pictures: np.ndarray,
    visible: np.ndarray,
    guesses: np.ndarray,
    previous: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Similarities that carry the reference's torso to each picture of a run of frames.

    Each frame starts from where the frame before it ended and from its guess, and keeps the better.

    Args:
      reference: from `torso_reference`.
      pictures: (N, S, S) float32 grey in [0, 1].
      visible: (N, S, S) float32 in [0, 1], 0 where something hides the torso.
      guesses: (N, 2) float32 shifts in pixels of S to start from.
      previous: (4,) parameters of the frame before the first (zeros at the start of a clip).

    Returns:
      motion (N, 2, 3) float64 affine in pixels of S (frame = A @ [reference, 1]); error (N,) rms
      difference after alignment as a share of the contrast; rest (N,) the same without motion;
      parameters (4,) of the last frame.
    """
    starts = np.zeros((len(pictures), 4), np.float32)
    starts[:, :2] = guesses / reference.size
    parameters, error, rest = _align_run(
        reference.levels, pictures, visible, starts, np.asarray(previous, np.float32)
    )
    parameters = np.asarray(parameters)
    return (
        _affine(parameters.astype(np.float64), reference.size),
        np.asarray(error) / reference.contrast,
        np.asarray(rest) / reference.contrast,
        parameters[-1],
    )


@jax.jit
def _align_run(levels, pictures, visible, starts, previous):
    """(N, 4) parameters (x, y shift, scale - 1, turn; in sizes), (N,) errors, (N,) at rest."""

    def one(carry, frame):
        picture, mask, start = frame
        pyramid = [(picture, mask)]
        for _ in levels[1:]:
            image, seen = pyramid[-1]
            pyramid.append((_halved(image), _halved(seen)))
        pyramid = [(_blurred(image), seen) for image, seen in pyramid]
        fit = jax.vmap(lambda p: _align_levels(levels[1:], pyramid[1:], p))
        ends, errors = fit(jnp.stack([carry, start]))
        end, error = _align_levels(levels[:1], pyramid[:1], ends[jnp.argmin(errors)])
        return end, (end, error, _error_at(levels[0], *pyramid[0], jnp.zeros(4)))

    _, result = jax.lax.scan(one, previous, (pictures, visible, starts))
    return result


def _align_levels(levels, pyramid, parameters):
    error = jnp.zeros(())
    for level, images in reversed(list(zip(levels, pyramid))):
        picture, mask = images
        parameters, error = _align_level(level, picture, mask, parameters)
    return parameters, error


def _align_level(level, picture, mask, start):
    """Parameters (4,) after Gauss-Newton steps at one level, and the error there."""
    descent = level[2]

    def step(p, _):
        difference, used = _residual(level, picture, mask, p)
        spread = jnp.sqrt((used * difference**2).sum() / jnp.maximum(used.sum(), 1.0)) + 1e-3
        robust = used / (1.0 + (difference / (2.0 * spread)) ** 2)
        scaled = descent * robust[:, None]
        normal = jnp.matmul(scaled.T, descent, precision=_HIGHEST)
        right = jnp.matmul(scaled.T, difference, precision=_HIGHEST)
        damping = 1e-4 * jnp.trace(normal) * jnp.eye(4) + 1e-6 * jnp.eye(4)
        return _compose(p, jnp.linalg.solve(normal + damping, right)), None

    final, _ = jax.lax.scan(step, start, None, length=_STEPS)
    return final, _error_at(level, picture, mask, final)


def _residual(level, picture, mask, p):
    """Differences (P,) to the reference under motion p, and how far each pixel counts (P,)."""
    places, template, _, weight = level
    at = _warp(p, places, picture.shape[0])
    warped, seen = _sample(picture, at), _sample(mask, at)
    used = weight * jnp.clip(seen, 0.0, 1.0)
    # A change of light is not motion: the mean difference is left out.
    difference = warped - template
    return difference - (used * difference).sum() / jnp.maximum(used.sum(), 1.0), used


def _error_at(level, picture, mask, p):
    """Rms difference under motion p."""
    difference, used = _residual(level, picture, mask, p)
    total = level[3].sum()
    # What cannot be seen proves nothing: hidden pixels count as a moderate error.
    hidden = jnp.maximum(total - used.sum(), 0.0)
    squares = (used * difference**2).sum() + hidden * 0.1**2
    return jnp.sqrt(squares / jnp.maximum(total, 1.0))


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


def _warp(p: jax.Array, places: jax.Array, size: int) -> jax.Array:
    """(P, 2) pixel indices in the picture for reference `places`."""
    x, y = places[:, 0], places[:, 1]
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


def _blurred(picture: jax.Array) -> jax.Array:
    """The picture under the binomial filter (1, 2, 1) / 4 in both directions, edges repeated."""
    for axis in (0, 1):
        padding = [(1, 1) if k == axis else (0, 0) for k in range(2)]
        wide = jnp.pad(picture, padding, mode="edge")
        count = picture.shape[axis]
        low, middle, high = (jax.lax.slice_in_dim(wide, k, k + count, axis=axis) for k in range(3))
        picture = 0.25 * low + 0.5 * middle + 0.25 * high
    return picture


def _halved(picture: Array) -> Array:
    half = picture.shape[0] // 2
    return picture.reshape(half, 2, half, 2).mean((1, 3))


class TorsoTracker:
    """Aligns the torso of one frame after the other, in batches of one compiled size.

    Args:
      reference: from `torso_reference`; None measures nothing.
    """

    def __init__(self, reference: TorsoReference | None):
        self._reference = reference
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._motion: list[np.ndarray] = []
        self._error: list[np.ndarray] = []
        self._rest: list[np.ndarray] = []
        self._previous = np.zeros(4, np.float32)

    def add(self, picture: np.ndarray, visible: np.ndarray, guess: np.ndarray) -> None:
        """The next frame: grey (S, S), visibility (S, S), shift in pixels of S to start from."""
        if self._reference is not None:
            self._pending.append((picture, visible, np.asarray(guess, np.float32)))
            if len(self._pending) == _BATCH:
                self._run()

    def finish(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Motion (N, 2, 3) in pixels of S, error (N,), measured (N,) bool of all `count` frames."""
        if self._pending:
            self._run()
        if not self._motion:
            still = np.tile(np.eye(2, 3), (count, 1, 1))
            return still, np.zeros(count), np.zeros(count, bool)
        motion, error = np.concatenate(self._motion), np.concatenate(self._error)
        return motion, error, trusted(error, np.concatenate(self._rest), motion, WORK_SIZE)

    def _run(self) -> None:
        assert self._reference is not None
        count = len(self._pending)
        # The last batch is filled up with its last frame.
        full = self._pending + [self._pending[-1]] * (_BATCH - count)
        pictures, visible, guesses = (np.stack(part) for part in zip(*full))
        motion, error, rest, self._previous = align_torso(
            self._reference, pictures, visible, guesses, self._previous
        )
        self._motion.append(motion[:count])
        self._error.append(error[:count])
        self._rest.append(rest[:count])
        self._pending = []


def trusted(
    error: np.ndarray, rest: np.ndarray, motion: np.ndarray, size: int
) -> np.ndarray:
    """(N,) bool: alignments that ended well.

    Args:
      error: (N,) difference that remains, as a share of the torso's contrast.
      rest: (N,) the difference without motion, likewise.
      motion: (N, 2, 3) affine in pixels of `size`, which must be of a plausible size.
    """
    linear = motion[..., :2]
    scale = np.sqrt(np.abs(np.linalg.det(linear)))
    centre = np.array([0.5 * size, 0.75 * size])
    moved = np.linalg.norm(linear @ centre + motion[..., 2] - centre, axis=-1)
    good = (error < _WORST_ERROR) | ((error < 1.0) & (error < _WORST_GAIN * rest))
    return good & (np.abs(scale - 1) < 0.2) & (moved < 0.25 * size)
