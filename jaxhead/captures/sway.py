"""How hair and skin move beyond the tracked mesh: per frame a lattice of small shifts.

Hair swings behind the head, ears and cheeks move as no mesh of ours does, and a field that is told
nothing of it averages the frames into blur. Each frame's grey values on a sheet over the head are
registered with a template, their mean over training frames, at last over those seen from the same
side: shifts at the nodes of a lattice, regularised by their differences, found by
Levenberg-Marquardt steps with the mean of both pictures' gradients (efficient second-order
minimisation, Benhimane and Malis 2004), coarse to fine. What of the shifts is parallax raises the
sheet instead. The training frames' mean shift is zero, so that the template stays the mean shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from jaxhead.captures.parallax import heights_of, sight_slopes
from jaxhead.captures.sheet import NODES, make_sheet
from jaxhead.captures.smoothing import choose_strength, filled_rows, smooth
from jaxhead.captures.sway_align import align, curvature, stiffness
from jaxhead.captures.sway_textures import MILLIMETRE, Frames, NearTemplates, mapped, mean_template
from jaxhead.files.rows import RowFile
from jaxhead.heads.model import HeadModel

FINEST = 1.0
"""Pixels (standard deviation) by which pictures are blurred at least."""
LARGEST = 0.05
"""Metres: a frame with a larger shift anywhere was not registered, and is filled in."""
_MOST_MODES = 40
_QUIET, _STIFFEST = 0.018, 10.0
"""Grey levels of rms difference to the template up to which the lattice is as soft as it can be;
above, noise and what the template does not show would move it."""


@dataclasses.dataclass(frozen=True)
class Round:
    """One registration of all frames, with a new template.

    blur: of the pictures, in pixels. near: templates of frames seen from the same side, instead of
    one for all. depth: whether the sheet is raised afterwards.
    """

    blur: float
    near: bool
    depth: bool


ROUNDS = (
    Round(4.0, near=False, depth=True),
    Round(2.0, near=False, depth=True),
    Round(FINEST, near=False, depth=False),
    Round(2.0, near=True, depth=False),
    Round(FINEST, near=True, depth=False),
)
"""Near templates are means under the shifts so far: they are worth as much as those are fine."""


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
    frames = Frames(pictures, vertices, sheet, np.asarray(K, np.float32), np.asarray(poses))
    shifts = np.zeros((len(poses), NODES * NODES, 2), np.float32)
    count = int(measured.sum())
    _, _, before = mean_template(frames, used, shifts, FINEST)
    for number, turn in enumerate(ROUNDS):

        def tell(done, number=number):
            if progress is not None:
                progress(number * count + done, len(ROUNDS) * count)

        shifts = _registered(frames, used, np.flatnonzero(measured), shifts, turn, tell)
        shifts -= shifts[used].mean(0)
        if turn.depth:
            frames, shifts = _without_parallax(frames, np.asarray(head.template), used, shifts)
    measured = measured & (np.abs(shifts).max((1, 2)) * MILLIMETRE < LARGEST)
    shifts = _smoothed(shifts, training, measured)
    _, _, after = mean_template(frames, used, shifts, FINEST)
    # Rows of the sheet run downwards, those of the lattice with y.
    shifts = shifts.reshape(-1, NODES, NODES, 2)[:, ::-1] * MILLIMETRE
    return Sway(np.ascontiguousarray(shifts), sheet.box, before, after)


def _registered(
    frames: Frames, used: np.ndarray, ids: np.ndarray, shifts: np.ndarray, turn: Round,
    tell: Callable[[int], None],
) -> np.ndarray:
    """(N, nodes, 2) shifts after a round: frames `ids` are registered, of which `used` train."""
    template, known, error = mean_template(frames, used, shifts, turn.blur)
    pitch = frames.sheet.pitch
    regular = curvature(template, known, pitch) * stiffness(frames.sheet.skin)
    near = NearTemplates(frames, used, shifts, turn.blur) if turn.near else None
    if near is not None:
        regular = regular * np.float32(np.clip(error / _QUIET, 1.0, _STIFFEST))

    def aligned(batch: np.ndarray) -> jax.Array:
        if near is None:
            wanted = (np.tile(part, (len(batch), 1)) for part in (template, known))
        else:
            wanted = near.of(batch)
        loaded = frames.load(batch, turn.blur)
        return align(*loaded, shifts[batch], frames.K, *wanted, regular, pitch=pitch)

    found, done = shifts.copy(), 0
    for batch, moved in mapped(aligned, ids):
        found[batch] = moved
        done += len(np.unique(batch))
        tell(done)
    return found


def _without_parallax(
    frames: Frames, template: np.ndarray, used: np.ndarray, shifts: np.ndarray
) -> tuple[Frames, np.ndarray]:
    """The sheet raised to where hair is, and shifts (N, nodes, 2) less what that explains."""
    slopes = sight_slopes(frames.sheet.nodes(template), frames.poses)
    free = 1 - frames.sheet.skin.reshape(-1)
    heights = heights_of(MILLIMETRE * shifts[used], slopes[used], free)
    shifts = shifts + heights[:, None] * (slopes - slopes[used].mean(0)) / MILLIMETRE
    raised = dataclasses.replace(frames, sheet=frames.sheet.raised_by(heights))
    return raised, shifts.astype(np.float32)


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
