"""Poses refined on the pixels: frames are aligned with the mean face texture of training frames.

Landmarks jitter by a fraction of a pixel, and a radiance field averages that into blur. The tracked
mesh carries a few thousand surface points; their grey values, averaged over training frames, are a
template, and each frame's rigid pose moves by Gauss-Newton (Lucas and Kanade 1981, on SE(3)),
coarse to fine, until its own values agree. A frame whose values do not agree better keeps its pose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import uniform_filter

from jaxhead.captures.batches import batches
from jaxhead.captures.unwrap import (
    Surface,
    facing,
    look_up,
    sample_with_slope,
    scaled_camera,
    surface_at,
    to_pixels,
)
from jaxhead.files.rows import RowFile

_HIGHEST = jax.lax.Precision.HIGHEST
LEVELS = 3
_STEPS = 6
_BATCH = 16
# How far the pixels may pull a pose from the landmarks' (standard deviations): radians, metres
# across the view, metres along it. Turning out of the picture plane and depth are what landmarks
# know least.
_PRIOR = np.array([0.015, 0.015, 0.01, 0.003, 0.003, 0.02], np.float32)
# Neighbouring points see the same pixels and the same error of shading: this many count as one.
_CORRELATED = 20.0


@dataclasses.dataclass(frozen=True, eq=False)
class Refined:
    """Refined poses of N frames.

    Attributes:
      poses: (N, 4, 4) head to camera; where nothing improved, what was given.
      before, after: (N,) rms difference to the mean texture in grey levels of [0, 1].
      improved: (N,) bool.
    """

    poses: np.ndarray
    before: np.ndarray
    after: np.ndarray
    improved: np.ndarray


def refine_poses(
    pictures: Callable[[], Iterable[np.ndarray]],
    surface: Surface,
    vertices: np.ndarray | RowFile,
    K: np.ndarray,
    poses: np.ndarray,
    training: np.ndarray,
    measured: np.ndarray,
    *,
    rounds: int = 2,
) -> Refined:
    """Poses aligned with the mean texture.

    Args:
      pictures: gives the (S, S) float32 grey pictures in [0, 1] of all frames, anew at each call.
      surface: points on the mesh.
      vertices: (N, V, 3) head space, metres; an array or rows of a file.
      K: (3, 3) intrinsics in pixels of S.
      poses: (N, 4, 4) head to camera, where to start.
      training: (N,) bool, the frames whose mean is the template.
      measured: (N,) bool, the frames that show the face; the others keep their pose.
      rounds: how often the template is made and the frames are aligned with it.
    """
    start = np.asarray(poses, np.float32)
    current = start.copy()
    template = _Template()
    for ids, levels in _pyramids(pictures, training):
        points = surface_at(surface, vertices[ids])
        values, trust = _textures(levels, points, surface.weights, K, current[ids])
        template.add(values, trust, training[ids] & _first(ids))
    before, after = np.zeros(len(start)), np.zeros(len(start))
    for number in range(rounds):
        target, template = template.mean(), _Template()
        for ids, levels in _pyramids(pictures, measured):
            points = surface_at(surface, vertices[ids])
            moved = _align(levels, points, surface.weights, K, current[ids], target)
            before[ids] = _error(levels[0], points, surface.weights, K, start[ids], target[0])
            after[ids] = _error(levels[0], points, surface.weights, K, moved, target[0])
            current[ids] = moved
            if number + 1 < rounds:
                values, trust = _textures(levels, points, surface.weights, K, current[ids])
                template.add(values, trust, training[ids] & _first(ids))
    improved = np.isfinite(after) & (after < before) & measured
    current[~improved] = start[~improved]
    after = np.where(improved, after, before)
    return Refined(poses=current, before=before, after=after, improved=improved)


class _Template:
    """Running weighted mean of the textures, one per level."""

    def __init__(self) -> None:
        self._total: list[np.ndarray] = []
        self._weight: list[np.ndarray] = []

    def add(self, values: list, weights: list, chosen: np.ndarray) -> None:
        values = [np.asarray(v)[chosen] for v in values]
        weights = [np.asarray(w)[chosen] for w in weights]
        sums = [(v * w).sum(0) for v, w in zip(values, weights)]
        masses = [w.sum(0) for w in weights]
        if not self._total:
            self._total, self._weight = sums, masses
        else:
            self._total = [a + b for a, b in zip(self._total, sums)]
            self._weight = [a + b for a, b in zip(self._weight, masses)]

    def mean(self) -> list[np.ndarray]:
        """Per level (P, 2): mean value, and how well it is known (0 where hardly ever seen)."""
        result = []
        for total, weight in zip(self._total, self._weight):
            known = weight > 0.05 * max(float(weight.max()), 1e-9)
            mean = np.where(known, total / np.maximum(weight, 1e-9), 0.0)
            result.append(np.stack([mean, known], -1).astype(np.float32))
        return result


def _pyramids(
    pictures: Callable[[], Iterable[np.ndarray]], wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Frame ids and picture pyramids of the wanted frames, in batches of one size."""
    for ids, batch in batches(pictures, wanted, _BATCH):
        levels = [np.stack([_flattened(picture) for picture in batch])]
        for _ in range(LEVELS - 1):
            levels.append(np.asarray(_halved(levels[-1])))
        yield ids, levels


def _first(ids: np.ndarray) -> np.ndarray:
    """(B,) bool, False for the repeated frames that fill up the last batch."""
    return np.diff(ids, prepend=-1) > 0


def _flattened(picture: np.ndarray) -> np.ndarray:
    """The picture without its slow changes, which are light and shading rather than skin."""
    width = picture.shape[0] // 16 * 2 + 1
    return (picture - uniform_filter(picture, width, mode="nearest")).astype(np.float32)


@jax.jit
def _halved(pictures: jax.Array) -> jax.Array:
    count, size = pictures.shape[0], pictures.shape[1] // 2
    pictures = pictures[:, : 2 * size, : 2 * size]
    return pictures.reshape(count, size, 2, size, 2).mean((2, 4))


@jax.jit
def _textures(levels, points, weights, K, poses):
    """Per level the (B, P) values of the points and their weights (facing the camera)."""
    values, trust = [], []
    for number, pictures in enumerate(levels):
        value, weight = jax.vmap(look_up, in_axes=(0, 0, None, None, 0))(
            pictures, points, weights, scaled_camera(K, number), poses
        )
        values.append(value)
        trust.append(weight)
    return values, trust


@jax.jit
def _error(pictures, points, weights, K, poses, target):
    """(B,) rms difference to the template at the finest level."""
    value, weight = jax.vmap(look_up, in_axes=(0, 0, None, None, 0))(
        pictures, points, weights, K, poses
    )
    weight = weight * target[:, 1]
    total = jnp.maximum(weight.sum(1), 1e-6)
    return jnp.sqrt((weight * (value - target[:, 0]) ** 2).sum(1) / total)


@jax.jit
def _align(levels, points, weights, K, poses, target):
    """(B, 4, 4) poses after Gauss-Newton steps, coarse to fine."""

    def one(pictures, points, pose):
        delta = jnp.zeros(6)
        for number in reversed(range(LEVELS)):
            camera = scaled_camera(K, number)
            picture, known = pictures[number], target[number]

            def step(delta, _, picture=picture, known=known, camera=camera):
                return _step(picture, points, weights, camera, pose, delta, known), None

            delta, _ = jax.lax.scan(step, delta, None, length=_STEPS)
        return _moved(pose, delta)

    return jax.vmap(one)(levels, points, poses)


def _step(picture, points, weights, K, pose, delta, known):
    """One Gauss-Newton step on the six parameters of `_moved`."""
    moved = _moved(pose, delta)
    turned = jnp.matmul(points[:, :3], moved[:3, :3].T, precision=_HIGHEST)
    place = turned + moved[:3, 3]
    pixels = to_pixels(place, K)
    value, slope = sample_with_slope(picture, pixels)
    weight = weights * facing(points, place, moved) * known[:, 1]
    difference = value - known[:, 0]
    total = jnp.maximum(weight.sum(), 1e-6)
    spread = jnp.sqrt((weight * difference**2).sum() / total) + 1e-4
    robust = weight / (1 + (difference / (2 * spread)) ** 2)
    focal, depth = K[0, 0], place[:, 2:]
    along = slope * focal / depth
    by_place = jnp.concatenate([along, -(along * place[:, :2]).sum(1, keepdims=True) / depth], 1)
    jacobian = jnp.concatenate([jnp.cross(turned, by_place), by_place], 1)
    scaled = jacobian * (robust / (spread**2 * _CORRELATED))[:, None]
    prior = jnp.diag(1 / jnp.asarray(_PRIOR) ** 2)
    normal = jnp.matmul(scaled.T, jacobian, precision=_HIGHEST) + prior
    right = -jnp.matmul(scaled.T, difference, precision=_HIGHEST) - prior @ delta
    # Preconditioned by its diagonal: turns and shifts have different units.
    scale = 1 / jnp.sqrt(jnp.diag(normal))
    solved = scale * jnp.linalg.solve(normal * scale[:, None] * scale, right * scale)
    return delta + solved


def _moved(pose: jax.Array, delta: jax.Array) -> jax.Array:
    """The pose turned about its origin by delta[:3] (camera axes) and shifted by delta[3:]."""
    turn = _rotation(delta[:3])
    linear = jnp.matmul(turn, pose[:3, :3], precision=_HIGHEST)
    place = pose[:3, 3] + delta[3:]
    return pose.at[:3, :3].set(linear).at[:3, 3].set(place)


def _rotation(vector: jax.Array) -> jax.Array:
    """Rotation of a small axis-angle vector by the Cayley transform, orthogonal to rounding."""
    x, y, z = 0.5 * vector
    zero = jnp.zeros_like(x)
    skew = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    square = x * x + y * y + z * z
    twice = skew + jnp.matmul(skew, skew, precision=_HIGHEST)
    return jnp.eye(3) + 2 / (1 + square) * twice
