"""What a fit is given and what it finds: observations, priors, and the numbers of frames.

Letters: N frames, M marks, D numbers of a frame, S shared numbers (log focal length, identity).
A frame is one vector: turn (3, axis-angle on top of the frame's rotation), place (x / z, y / z and
log z of the head's origin in the camera), expression (E), lids (K), free joints (3 each).
"""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.config import FitConfig
from jaxhead.captures.fitting.marks import Marks
from jaxhead.captures.fitting.posing import Body
from jaxhead.heads.model import Array

POSE = 6


@flax.struct.dataclass
class State:
    """What is fitted.

    Attributes:
      shared: (1 + I,) log of the focal length in pixels, identity.
      rotation: (N, 3, 3) head to camera.
      frames: (N, D); the turns are zero, `rotation` holds them.
    """

    shared: Array
    rotation: Array
    frames: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Guess:
    """Where a fit starts, instead of at the mean head at rest.

    Attributes:
      identity: (I,).
      numbers: (N, D - 6) of each frame: expression, lids, free joints.
    """

    identity: np.ndarray
    numbers: np.ndarray


@flax.struct.dataclass
class Problem:
    """What was observed and what is expected.

    Attributes:
      body, marks: from `marked_part`.
      pixels: (N, M, 2) around the principal point; trust: (N, M), 0 where nothing was seen.
      gap: (N,) frames since the one before, infinite for the first.
      scale: () pixels, the deviation of a landmark.
      robust: () deviations at which a landmark counts half.
      mean, precision: (D,) of a frame's prior, precision 0 for none.
      walk: (D,) precision of the change from frame to frame.
      shared_mean, shared_precision: (S,).
      low, high: (D,) bounds.
    """

    body: Body
    marks: Marks
    pixels: Array
    trust: Array
    gap: Array
    scale: Array
    robust: Array
    mean: Array
    precision: Array
    walk: Array
    shared_mean: Array
    shared_precision: Array
    low: Array
    high: Array


def frame_parts(body: Body, frame: Array) -> tuple[Array, Array, Array]:
    """Returns expression (..., E), lids (..., K) and turns (..., F, 3) of frames (..., D)."""
    first = POSE + body.expression.shape[0]
    second = first + body.lids.shape[0]
    turns = frame[..., second:]
    return (
        frame[..., POSE:first],
        frame[..., first:second],
        turns.reshape(*turns.shape[:-1], len(body.free_joints), 3),
    )


def frame_length(body: Body) -> int:
    """Returns D."""
    return POSE + body.expression.shape[0] + body.lids.shape[0] + 3 * len(body.free_joints)


def frame_translation(frame: Array) -> jax.Array:
    """Returns the head's origin (..., 3) in the camera, metres, of frames (..., D)."""
    depth = jnp.exp(frame[..., 5:6])
    return jnp.concatenate([frame[..., 3:5] * depth, depth], -1)


def make_problem(
    body: Body,
    marks: Marks,
    pixels: np.ndarray,
    seen: np.ndarray,
    ids: np.ndarray,
    scale: float,
    config: FitConfig,
) -> Problem:
    """Returns the problem of frames `ids`.

    Args:
      body, marks: from `marked_part`.
      pixels: (N, M, 2) around the principal point; seen: (N, M) in [0, 1].
      ids: (N,) increasing frame numbers.
      scale: pixels, the deviation of a landmark.
      config: the priors.
    """
    names, own, steady = ("expression", "lids", "turn"), config.deviations, config.steadiness
    joints = 3 * len(body.free_joints)
    sizes = (body.expression.shape[0], body.lids.shape[0], joints)
    # Neighbouring frames err alike: a clip counts as so many frames when it tells what they share.
    known = min(len(ids), config.independent_frames)
    distance = np.array([0.0] * 5 + [own.distance**-2.0 / known])
    precision = [distance, *(np.full(n, getattr(own, k) ** -2.0) for n, k in zip(sizes, names))]
    walk = [np.repeat([steady.turn**-2.0, steady.place**-2.0], 3)]
    for size, name in zip(sizes, ("expression", "lids", "joint")):
        walk.append(np.full(size, getattr(steady, name) ** -2.0))
    mean = np.zeros(frame_length(body))
    mean[5] = np.log(config.usual_distance)
    low, high = np.full(len(mean), -np.inf), np.full(len(mean), np.inf)
    if config.bounded:
        low[POSE : POSE + sizes[0]], high[POSE : POSE + sizes[0]] = 0.0, 1.0
    low[POSE + sizes[0] : POSE + sizes[0] + sizes[1]] = 0.0
    identity = np.full(body.identity.shape[0], own.identity**-2.0 * len(ids) / known)
    gap = np.concatenate([[np.inf], np.diff(ids)])
    numbers = (
        pixels, np.asarray(seen) * np.asarray(marks.trust), gap, scale, config.robust, mean,
        np.concatenate(precision), np.concatenate(walk), np.zeros(1 + len(identity)),
        np.concatenate([[0.0], identity]), low, high,
    )  # fmt: skip
    return Problem(body, marks, *(jnp.asarray(n, jnp.float32) for n in numbers))
