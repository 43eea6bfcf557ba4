"""DECA's codes as the start of a fit of FLAME (Feng et al. 2021, arXiv 2012.04012).

Each frame's face is cut out as DECA cuts it, its regressor gives shape, expression and jaw; one
shape is made of those of the training frames. Where the head is in the picture, its landmarks tell
better than the code's weak perspective: the fit places the regressed head by them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import map_coordinates

from jaxhead.captures.fitting.marks import MEDIAPIPE_68
from jaxhead.captures.fitting.posing import Body
from jaxhead.captures.fitting.problem import POSE, Guess, frame_length
from jaxhead.captures.fitting.tracked import Clip, Fittable
from jaxhead.captures.validate import MEASURED
from jaxhead.files.errors import InputError
from jaxhead.files.weights import find_weights, read_weights
from jaxhead.networks.deca import IMAGE_SIZE, DecaConfig, DecaRegressor, from_state_dict, split_code

ASSET = "deca"
_BATCH = 8
# A box around landmarks counts as a tenth larger, and the crop is a quarter larger than that.
_LANDMARKS_TO_FACE, _FACE_TO_CROP = 1.1, 1.25
_FLAME_TREE, _JAW = (-1, 0, 1, 1, 1), 2


@dataclasses.dataclass(frozen=True, eq=False)
class Regressor:
    """DECA's coarse regressor with its weights.

    Attributes:
      config: its sizes; variables: of `DecaRegressor`.
      source: what messages call it, the checkpoint's path.
    """

    config: DecaConfig
    variables: Any
    source: str


class Codes(NamedTuple):
    """What DECA says of N frames: shape (N, 100), expression (N, 50), jaw (N, 3) axis-angle."""

    shape: np.ndarray
    expression: np.ndarray
    jaw: np.ndarray


def require_flame(fittable: Fittable | None) -> None:
    """Refuses a head whose coefficients are not FLAME's.

    Raises:
      InputError: another head, or none.
    """
    if fittable is None:
        raise InputError("DECA's codes start the fit of FLAME, and no head is fitted")
    if fittable.head.name != "flame" or fittable.body.parents != _FLAME_TREE:
        raise InputError(
            f"head {fittable.head.name!r}: DECA's codes are of FLAME, expected flame:PATH to start "
            "from them"
        )


def read_regressor(assets: str | os.PathLike | None = None) -> Regressor:
    """Returns DECA's regressor of the checkpoint `deca_model.tar`.

    Args:
      assets: folder of third-party models that is searched first, or the file itself.

    Raises:
      InputError: the checkpoint is not there, damaged, or not DECA's.
    """
    path = find_weights(ASSET, assets)
    return Regressor(*from_state_dict(read_weights(path), source=str(path)), str(path))


def face_crop(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns the (224, 224, 3) float32 picture in [0, 1] that DECA sees of a face.

    A square around the box of the landmarks, 1.1 x 1.25 times the mean of its sides, resampled
    bilinearly without a blur; black beyond the frame. The centres of the outermost pixels lie on
    the square's border.

    Args:
      frame: (H, W, 3) uint8.
      points: (M, 2) landmarks in pixels, (0.5, 0.5) is the first pixel's centre; iBUG's 68 of DECA.
    """
    low, high = points.min(0) - 0.5, points.max(0) - 0.5
    side = max(1, int((high - low).mean() * _LANDMARKS_TO_FACE * _FACE_TO_CROP))
    first = (low + high) / 2 - side / 2
    columns, rows = first[:, None] + np.linspace(0, side, IMAGE_SIZE)
    grid = np.meshgrid(rows, columns, indexing="ij")
    picture = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    # Only what the square covers becomes float: full frames are large.
    top, left = np.maximum(np.floor([rows[0], columns[0]]).astype(int) - 1, 0)
    bottom, right = np.maximum(np.ceil([rows[-1], columns[-1]]).astype(int) + 2, 0)
    seen = frame[top:bottom, left:right]
    if not seen.size:
        return np.zeros_like(picture)
    places = [grid[0] - top, grid[1] - left]
    for channel in range(3):
        shown = seen[..., channel].astype(np.float32) / 255
        picture[..., channel] = map_coordinates(shown, places, order=1, mode="grid-constant")
    return picture


def regress(
    regressor: Regressor,
    frames: Iterable[np.ndarray],
    clip: Clip,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Codes:
    """Returns the codes of the measured frames of a clip.

    Args:
      regressor: the network.
      frames: (H, W, 3) uint8 full frames of the clip in order.
      clip: its landmarks.
      progress: called with (frames done, frames in all).

    Raises:
      InputError: the network gives numbers that are not finite.
    """
    measured = clip.status == MEASURED
    total, batch, codes = int(measured.sum()), [], []

    def finish() -> None:
        short = _BATCH - len(batch)
        code = _code(regressor.config, regressor.variables, np.stack(batch + batch[-1:] * short))
        codes.append(np.asarray(code)[: len(batch)])
        batch.clear()
        if progress is not None:
            progress(sum(map(len, codes)), total)

    for index, frame in enumerate(frames):
        if index < len(measured) and measured[index]:
            batch.append(face_crop(frame, np.asarray(clip.pixels[index])[list(MEDIAPIPE_68)]))
            if len(batch) == _BATCH:
                finish()
    if batch:
        finish()
    code = np.concatenate(codes) if codes else np.zeros((0, regressor.config.outputs), np.float32)
    if len(code) != total:
        raise InputError(f"{len(code)} of {total} frames could be read again")
    if not np.isfinite(code).all():
        raise InputError(f"{regressor.source}: E_flame gives numbers that are not finite")
    parts = split_code(jnp.asarray(code), regressor.config)
    return Codes(*(np.asarray(p) for p in (parts.shape, parts.expression, parts.pose[:, 3:])))


@functools.partial(jax.jit, static_argnums=0)
def _code(config, variables, crops):
    return DecaRegressor(config).apply(variables, crops)


def guess_of(body: Body, codes: Codes, train: np.ndarray) -> Guess:
    """Returns the start that codes make: the median shape, each frame's expression and jaw.

    A model with fewer components takes the first ones, the later ones of one with more are 0.

    Args:
      body: FLAME's, see `require_flame`.
      codes: of N measured frames; train: (N,) bool, the frames that the shape is made of.
    """
    identity = np.zeros(body.identity.shape[0], np.float32)
    shape = np.median(codes.shape[train], axis=0)[: len(identity)]
    identity[: len(shape)] = shape
    numbers = np.zeros((len(codes.jaw), frame_length(body) - POSE), np.float32)
    expressions = body.expression.shape[0]
    count = min(expressions, codes.expression.shape[1])
    numbers[:, :count] = codes.expression[:, :count]
    jaw = expressions + body.lids.shape[0] + 3 * body.free_joints.index(_JAW)
    numbers[:, jaw : jaw + 3] = codes.jaw
    return Guess(identity, numbers)


def regressed_guess(
    regressor: Regressor,
    frames: Iterable[np.ndarray],
    clip: Clip,
    fittable: Fittable,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Guess:
    """Returns where DECA says that the fit of FLAME to a clip starts.

    Args:
      regressor, frames, clip, progress: see `regress`.
      fittable: the head.

    Raises:
      InputError: not FLAME, or the network gives numbers that are not finite.
    """
    require_flame(fittable)
    codes = regress(regressor, frames, clip, progress=progress)
    return guess_of(fittable.body, codes, clip.train[clip.status == MEASURED])
