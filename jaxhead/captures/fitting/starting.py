"""Where a fit starts: the mean head at rest, or a guess, placed by its landmarks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.marks import Marks, marked_points
from jaxhead.captures.fitting.posing import Body, part_of, posed
from jaxhead.captures.fitting.problem import POSE, Guess, State, frame_length, frame_parts
from jaxhead.files.errors import InputError

LEAST_MARKS = 6
_TOGETHER = 16


def start_state(
    body: Body,
    marks: Marks,
    pixels: np.ndarray,
    trust: np.ndarray,
    focal: float,
    guess: Guess | None = None,
) -> State:
    """Returns the head where scaled orthography puts it (POS, DeMenthon and Davis 1995).

    Args:
      body, marks: from `marked_part`.
      pixels: (N, M, 2) around the principal point; trust: (N, M).
      focal: pixels.
      guess: of these frames; the neutral head by default.

    Raises:
      InputError: no frame has enough landmarks.
    """
    corners = np.asarray(marks.corners)[0]
    points = (np.asarray(body.template)[corners] * np.asarray(marks.weights)[0][..., None]).sum(1)
    if guess is not None:
        points = _guessed_points(body, marks, guess.identity, guess.numbers)
    points = jnp.broadcast_to(points, (len(pixels), *points.shape[-2:]))
    rotation, scale, shift = _placed(points, pixels, trust * np.asarray(marks.trust))
    # Frames without enough landmarks start where the nearest one with them does.
    known = np.flatnonzero((trust > 0).sum(1) >= LEAST_MARKS)
    if not len(known):
        raise InputError(f"no frame shows {LEAST_MARKS} of the head's landmarks")
    rows = known[np.abs(np.arange(len(pixels))[:, None] - known).argmin(1)]
    rotation, scale, shift = rotation[rows], scale[rows], shift[rows]
    frames = np.zeros((len(pixels), frame_length(body)), np.float32)
    frames[:, 3:5] = np.asarray(shift) / focal
    frames[:, 5] = np.log(focal / np.asarray(scale))
    shared = np.zeros(1 + body.identity.shape[0], np.float32)
    shared[0] = np.log(focal)
    if guess is not None:
        frames[:, POSE:], shared[1:] = guess.numbers, guess.identity
    return State(jnp.asarray(shared), rotation, jnp.asarray(frames))


@jax.jit
def _guessed_points(body, marks, identity, numbers):
    """(N, M, 3) marks of the guessed heads, in head space; of a contour by yaw the frontal row."""
    corners, weights = jnp.asarray(marks.corners)[0], jnp.asarray(marks.weights)[:1]
    own = jnp.arange(corners.size, dtype=jnp.int32).reshape(1, *corners.shape)
    body = part_of(body, corners.reshape(-1))
    marks = marks.replace(corners=own, weights=weights)

    def one(numbers):
        frame = jnp.concatenate([jnp.zeros(POSE, numbers.dtype), numbers])
        parts = frame_parts(body, frame)
        return marked_points(marks, posed(body, identity, *parts, jnp.zeros(3, numbers.dtype)))

    return jax.lax.map(one, numbers, batch_size=_TOGETHER)


@jax.jit
@jax.vmap
def _placed(points, pixels, trust):
    """Rotation (3, 3), scale () in pixels per metre and shift (2,) of points (M, 3)."""
    weight = trust
    solution = jnp.zeros((4, 2))
    design = jnp.concatenate([points, jnp.ones_like(points[:, :1])], 1)
    # Lengths in metres against ones: the columns are brought to one size.
    unit = jnp.array([0.05, 0.05, 0.05, 1.0])
    design = design / unit
    for _ in range(4):
        weighted = design * weight[:, None]
        normal = weighted.T @ design + 1e-6 * weight.sum() * jnp.eye(4)
        solution = jnp.linalg.solve(normal, weighted.T @ pixels)
        error = jnp.linalg.norm(design @ solution - pixels, axis=1)
        spread = jnp.median(error) + 1e-3
        weight = trust / (1 + (error / (3 * spread)) ** 2)
    rows = solution[:3].T / unit[:3]
    left, sizes, right = jnp.linalg.svd(rows, full_matrices=False)
    first, second = left @ right
    rotation = jnp.stack([first, second, jnp.cross(first, second)])
    return rotation, sizes.mean(), solution[3]


def guess_of_rows(guess: Guess | None, rows: np.ndarray) -> Guess | None:
    """Returns the guess of some frames, None of none."""
    return None if guess is None else Guess(guess.identity, guess.numbers[rows])
