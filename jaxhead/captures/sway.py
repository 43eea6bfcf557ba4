"""How hair and skin move beyond the tracked mesh: per frame a lattice of small shifts.

Hair swings behind the head, ears and cheeks move as no mesh of ours does, and a field that is told
nothing of it averages the frames into blur. Each frame's grey values on a sheet over the head are
registered with their mean over training frames: shifts at the nodes of a lattice, regularised by
their differences, found by Levenberg-Marquardt steps with the mean of both pictures' gradients
(efficient second-order minimisation, Benhimane and Malis 2004), coarse to fine. The training
frames' mean shift is zero, so that the template stays the mean shape.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxhead.captures.sheet import (
    CELL,
    CELL_NODES,
    HATS,
    NODES,
    Sheet,
    by_cell,
    make_sheet,
    spread,
)
from jaxhead.captures.smoothing import choose_strength, filled_rows, smooth
from jaxhead.captures.unwrap import sample_with_slope
from jaxhead.files.rows import RowFile
from jaxhead.heads.model import HeadModel

LEVELS = (4.0, 2.0, 1.0)
"""Blur in pixels (standard deviation) of the rounds; each begins with a new mean."""
LARGEST = 0.05
"""Metres: a frame with a larger shift anywhere was not registered, and is filled in."""
_STEPS = 6
_BATCH = 8
_MOST_MODES = 40
# Weights of first and second differences, of the shift itself, and of the shift of tracked skin,
# in units of the mean curvature of the data's own term.
_FIRST, _SECOND, _ZERO, _SKIN = 0.02, 0.2, 0.001, 30.0
_UNIT = 1e-3
"""Shifts are solved for in millimetres, in which the terms above are balanced."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sway:
    """Measured sway of N frames.

    Attributes:
      shifts: (N, NODES, NODES, 2) float32 metres in x and y of head space, indexed [frame, y, x]:
        what stands at p in the mean shape stands at p + shift in the frame.
      box: (2, 2) float32 metres, x and y of the first and the last node.
      before, after: rms difference of training frames to their mean without and with sway, in grey
        levels of [0, 1].
    """

    shifts: np.ndarray
    box: np.ndarray
    before: float
    after: float


def measure_sway(
    pictures: RowFile | np.ndarray,
    vertices: RowFile | np.ndarray,
    head: HeadModel,
    K: np.ndarray,
    poses: np.ndarray,
    training: np.ndarray,
    measured: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Sway:
    """The sway of a clip; frames that were not measured take that of their neighbours.

    Args:
      pictures: (N, 2, W, W) uint8: grey values, and where the head is.
      vertices: (N, V, 3) head space, metres.
      head: the subject's.
      K: (3, 3) intrinsics in pixels of W.
      poses: (N, 4, 4) head to camera.
      training: (N,) bool, the frames whose mean is the template.
      measured: (N,) bool, the frames that show the face.
      progress: called as progress(frames done, frames in all).
    """
    sheet = make_sheet(head)
    used = np.flatnonzero(training & measured)
    frames = _Frames(pictures, vertices, sheet, np.asarray(K, np.float32), np.asarray(poses))
    shifts = np.zeros((len(poses), NODES * NODES, 2), np.float32)
    stiffness = _stiffness(sheet.skin)
    count = int(measured.sum())
    _, _, before = _template(frames, used, shifts, LEVELS[-1])
    for number, blur in enumerate(LEVELS):
        template, known, _ = _template(frames, used, shifts, blur)
        regular = _curvature(template, known, sheet.pitch) * stiffness

        def align(ids, blur=blur, start=shifts, mean=(template, known), regular=regular):
            return _align(
                *frames.load(ids, blur), start[ids], frames.K, *mean, regular, pitch=sheet.pitch
            )

        done, shifts = number * count, shifts.copy()
        for ids, moved in _mapped(align, np.flatnonzero(measured)):
            shifts[ids] = moved
            done += len(np.unique(ids))
            if progress is not None:
                progress(done, len(LEVELS) * count)
        shifts -= shifts[used].mean(0)
    measured = measured & (np.abs(shifts).max((1, 2)) * _UNIT < LARGEST)
    shifts = _smoothed(shifts, training, measured)
    _, _, after = _template(frames, used, shifts, LEVELS[-1])
    # Rows of the sheet run downwards, those of the lattice with y.
    shifts = shifts.reshape(-1, NODES, NODES, 2)[:, ::-1] * _UNIT
    return Sway(np.ascontiguousarray(shifts), sheet.box, before, after)


@dataclasses.dataclass(frozen=True, eq=False)
class _Frames:
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


def _mapped(function: Callable, ids: np.ndarray):
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


def _template(
    frames: _Frames, ids: np.ndarray, shifts: np.ndarray, blur: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean grey values (P,), how well each is known (P,), and the rms difference to the mean."""

    def look(batch: np.ndarray) -> jax.Array:
        return _textures(*frames.load(batch, blur), shifts[batch], frames.K)

    weight, total, squares = np.zeros((3, len(frames.sheet.covered)))
    count = 0
    for batch, seen in _mapped(look, ids):
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


@jax.jit
def _textures(pictures, points, poses, shifts, K):
    """(B, 2, P) grey values and weights of the sheet's points."""
    return jax.vmap(lambda *one: jnp.stack(_look(*one, K=K)))(pictures, points, poses, shifts)


def _look(picture, points, pose, shifts, K):
    """Grey values (P,) and weights (P,) of points under a lattice of shifts (nodes, 2)."""
    place = points @ pose[:3, :3].T + pose[:3, 3]
    place = place + spread(_UNIT * shifts) @ pose[:3, :2].T
    pixels = place[:, :2] / place[:, 2:] * jnp.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
    inside = jnp.all((pixels > 1) & (pixels < picture.shape[-1] - 1), axis=-1)
    value, _ = sample_with_slope(picture[0], pixels)
    trust, _ = sample_with_slope(picture[1], pixels)
    return value, trust * inside


def _gradient(values: jax.Array, pitch: float) -> jax.Array:
    """(P, 2) slopes of a sheet's values (P,) per millimetre in x and y."""
    side = CELL * (NODES - 1)
    values = values.reshape(side, side)
    across = (jnp.roll(values, -1, 1) - jnp.roll(values, 1, 1)) / 2
    up = (jnp.roll(values, 1, 0) - jnp.roll(values, -1, 0)) / 2
    return jnp.stack([across, up], -1).reshape(-1, 2) * (_UNIT / pitch)


def _curvature(template: np.ndarray, known: np.ndarray, pitch: float) -> float:
    """Mean curvature of the data's term at a node and along an axis, per square millimetre."""
    slopes = np.asarray(_gradient(jnp.asarray(template), pitch))
    # A node's hat functions have squares whose mean is 4/9 of a cell's area.
    return float((slopes**2 * known[:, None]).sum() / (2 * NODES * NODES)) * 4 / 9


def _stiffness(skin: np.ndarray) -> np.ndarray:
    """(nodes, nodes) float32 the regulariser's matrix: differences of neighbours, and skin's own.

    Args:
      skin: (NODES, NODES) how far each node lies on skin, which the tracked mesh already moves.
    """
    first = np.diff(np.eye(NODES), axis=0)
    second = np.diff(np.eye(NODES), n=2, axis=0)
    eye = np.eye(NODES)
    total = np.diag(_ZERO + _SKIN * skin.reshape(-1))
    for rows, weight in ((first, _FIRST), (second, _SECOND)):
        square = rows.T @ rows
        total = total + weight * (np.kron(square, eye) + np.kron(eye, square))
    return total.astype(np.float32)


@functools.partial(jax.jit, static_argnames="pitch")
def _align(pictures, points, poses, shifts, K, template, known, regular, *, pitch):
    """(B, nodes, 2) shifts in millimetres after the steps of one round."""
    slopes = _gradient(template, pitch)

    def one(picture, points, pose, start):
        def look(shifts):
            value, trust = _look(picture, points, pose, shifts, K)
            trust = trust * known
            difference = value - template
            # A change of light is not motion: the mean difference is left out.
            total = jnp.maximum(trust.sum(), 1.0)
            return value, trust, difference - (trust * difference).sum() / total

        _, trust, difference = first = look(start)
        scale = 2 * jnp.sqrt((trust * difference**2).sum() / jnp.maximum(trust.sum(), 1.0)) + 1e-3

        def cost(trust, difference, shifts):
            data = (trust * scale**2 * jnp.log1p((difference / scale) ** 2)).sum()
            return data + jnp.einsum("nd,nm,md->", shifts, regular, shifts)

        def step(carry, _):
            shifts, seen, best, damping = carry
            slope = 0.5 * (slopes + _gradient(seen[0], pitch))
            robust = seen[1] / (1 + (seen[2] / scale) ** 2)
            moved = shifts - _solved(slope, robust, seen[2], shifts, regular, damping)
            new = look(moved)
            value = cost(*new[1:], moved)
            better = value < best
            kept = jax.tree.map(
                lambda a, b: jnp.where(better, a, b), (moved, new, value), (shifts, seen, best)
            )
            return (*kept, jnp.where(better, 0.3 * damping, 8 * damping)), None

        start = (start, first, cost(trust, difference, start), jnp.float32(0.01))
        return jax.lax.scan(step, start, None, length=_STEPS)[0][0]

    return jax.vmap(one)(pictures, points, poses, shifts)


def _solved(slope, robust, difference, shifts, regular, damping):
    """(nodes, 2) the damped Gauss-Newton step at shifts (nodes, 2)."""
    count = NODES * NODES
    pairs = np.einsum("kp,lp->klp", HATS, HATS).reshape(16, -1)
    squares = jnp.stack(
        [slope[:, 0] ** 2, slope[:, 0] * slope[:, 1], slope[:, 1] ** 2], -1
    ) * robust[:, None]
    cells = jnp.einsum("qp,cpk->kcq", pairs, by_cell(squares)).reshape(3, -1)
    rows, columns = np.repeat(CELL_NODES, 4, axis=1), np.tile(CELL_NODES, (1, 4))
    normal = jnp.zeros((3, count, count)).at[:, rows.reshape(-1), columns.reshape(-1)].add(cells)
    right = jnp.einsum("kp,cpd->ckd", HATS, by_cell(slope * (robust * difference)[:, None]))
    right = jnp.zeros((count, 2)).at[CELL_NODES.reshape(-1)].add(right.reshape(-1, 2))
    right = (right + regular @ shifts).T.reshape(-1)
    full = jnp.block([[normal[0] + regular, normal[1]], [normal[1], normal[2] + regular]])
    full = full + damping * jnp.diag(jnp.diag(full))
    return jax.scipy.linalg.solve(full, right, assume_a="pos").reshape(2, count).T


def _smoothed(shifts: np.ndarray, training: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """(N, nodes, 2) shifts smoothed in time by their principal components, gaps filled.

    Components and strengths are fitted on training frames.
    """
    if not (training & measured).any():
        return np.zeros_like(shifts)
    flat = shifts.reshape(len(shifts), -1)
    centre = flat[training & measured].mean(0)
    _, _, modes = np.linalg.svd(flat[training & measured] - centre, full_matrices=False)
    modes = modes[:_MOST_MODES]
    loads = filled_rows((flat[measured] - centre) @ modes.T, measured)
    for k in range(loads.shape[1]):
        loads[:, k] = smooth(loads[:, k], choose_strength(loads[training, k]))
    return (loads @ modes + centre).astype(np.float32).reshape(shifts.shape)
