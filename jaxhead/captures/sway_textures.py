"""What frames show of the sheet over a head: the grey values that sway is measured by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxhead.captures.sheet import Sheet, spread
from jaxhead.captures.unwrap import sample_with_slope
from jaxhead.files.rows import RowFile
from jaxhead.geometry.cameras import camera_centre

MILLIMETRE = 1e-3
"""Shifts are in millimetres here, in which the weights of `sway_align` are balanced."""
_BATCH = 8
_MOST_KEPT = 200
_NEAR = 0.1
"""Radians by which the head may turn until a training frame's share of a near template fades."""
_NEAREST = 3
"""So many training frames count fully, however far they are."""


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """What is registered, read a batch at a time."""

    pictures: RowFile | np.ndarray
    vertices: RowFile | np.ndarray
    sheet: Sheet
    K: np.ndarray
    poses: np.ndarray

    def load(self, ids: np.ndarray, blur: float) -> tuple[np.ndarray, ...]:
        """Blurred pictures (B, 2, W, W), points (B, P, 3) in metres and poses (B, 4, 4)."""
        pictures = np.asarray(self.pictures[ids], np.float32) / 255
        pictures[:, 0] = ndimage.gaussian_filter(pictures[:, 0], (0, blur, blur))
        points = self.sheet.points(self.vertices[ids])
        return pictures, points, self.poses[ids].astype(np.float32)

    def seen(self, ids: np.ndarray, shifts: np.ndarray, blur: float) -> jax.Array:
        """(B, 2, P) `textures` of frames `ids` under shifts (N, nodes, 2) of all."""
        return textures(*self.load(ids, blur), shifts[ids], self.K)


def mapped(function: Callable, ids: np.ndarray):
    """Yields (batch of ids, what the function made of it); a batch is read while one is computed.

    The last batch is filled up with its last frame, so that one size is compiled.
    """
    batches = [ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH)]
    batches = [np.pad(batch, (0, _BATCH - len(batch)), mode="edge") for batch in batches]
    pending = function(batches[0])
    for batch, following in zip(batches, [*batches[1:], None]):
        ready = pending
        pending = None if following is None else function(following)
        yield batch, np.asarray(ready)


def mean_template(
    frames: Frames, ids: np.ndarray, shifts: np.ndarray, blur: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean grey values (P,), how well each is known (P,), and the rms difference to the mean."""

    weight, total, squares = np.zeros((3, len(frames.sheet.covered)))
    count = 0
    for batch, seen in mapped(lambda ids: frames.seen(ids, shifts, blur), ids):
        fresh = np.diff(batch, prepend=-1) > 0
        value, trust = seen[fresh].transpose(1, 2, 0).astype(np.float64)
        weight, total = weight + trust.sum(1), total + (trust * value).sum(1)
        squares += (trust * value**2).sum(1)
        count += int(fresh.sum())
    mean = total / np.maximum(weight, 1e-3)
    known = np.clip(2 * weight / count - 0.2, 0.0, 1.0)
    spread = np.maximum(squares - weight * mean**2, 0.0)
    error = np.sqrt((known * spread).sum() / max((known * weight).sum(), 1e-9))
    return mean.astype(np.float32), known.astype(np.float32), float(error)


class NearTemplates:
    """Means over the training frames that saw the head from about a frame's side.

    What they show of hair is sharper than the mean of all, and what hides what is alike.
    """

    def __init__(self, frames: Frames, ids: np.ndarray, shifts: np.ndarray, blur: float):
        """Reads evenly spaced frames of `ids` under shifts (N, nodes, 2)."""
        places = np.linspace(0, len(ids) - 1, min(len(ids), _MOST_KEPT))
        self._ids = ids[np.round(places).astype(int)]
        self._seen = np.zeros((len(self._ids), 2, len(frames.sheet.covered)), np.float32)

        for batch, seen in mapped(lambda ids: frames.seen(ids, shifts, blur), self._ids):
            self._seen[np.searchsorted(self._ids, batch)] = seen
        self._seen[:, 0] *= self._seen[:, 1]
        centres = np.asarray(camera_centre(frames.poses))
        self._sides = np.arctan2(centres[:, :2], centres[:, 2:])

    def of(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, P) grey values of frames' templates and (B, P) how well they are known; a frame is
        not part of its own.
        """
        away = self._sides[batch][:, None] - self._sides[self._ids]
        distance = np.linalg.norm(away, axis=-1)
        nearest = np.sort(distance, 1)[:, min(_NEAREST, len(self._ids)) - 1]
        share = np.exp(-0.5 * (np.maximum(distance - nearest[:, None], 0) / _NEAR) ** 2)
        if len(self._ids) > 1:
            share *= self._ids != batch[:, None]
        share = (share / share.sum(1, keepdims=True)).astype(np.float32)
        weight = share @ self._seen[:, 1]
        mean = share @ self._seen[:, 0] / np.maximum(weight, 1e-3)
        return mean, np.clip(2 * weight - 0.2, 0.0, 1.0)


@jax.jit
def textures(pictures, points, poses, shifts, K):
    """(B, 2, P) grey values and weights of the sheet's points."""
    return jax.vmap(lambda *one: jnp.stack(look_up(*one, K=K)))(pictures, points, poses, shifts)


def look_up(picture, points, pose, shifts, K):
    """Grey values (P,) and weights (P,) of points under a lattice of shifts (nodes, 2)."""
    place = points @ pose[:3, :3].T + pose[:3, 3]
    place = place + spread(MILLIMETRE * shifts) @ pose[:3, :2].T
    pixels = place[:, :2] / place[:, 2:] * jnp.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
    inside = jnp.all((pixels > 1) & (pixels < picture.shape[-1] - 1), axis=-1)
    value, _ = sample_with_slope(picture[0], pixels)
    trust, _ = sample_with_slope(picture[1], pixels)
    return value, trust * inside
