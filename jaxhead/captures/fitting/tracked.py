"""A clip tracked with a statistical head: what `captures.tracking` makes, of any head model.

Scores of the capture are the model's expression coefficients, then lids, then the free joints' and
the neck's rotations in units of their expected deviation. The head's displacement basis has a row
for each: exact for coefficients, linearised for rotations. Vertices are always posed exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from jaxhead.captures.crop import Crop
from jaxhead.captures.fitting.config import FitConfig
from jaxhead.captures.fitting.fit import Fit, fit_head
from jaxhead.captures.fitting.marks import Marks
from jaxhead.captures.fitting.posing import Body, baked, posed
from jaxhead.captures.fitting.problem import POSE, Guess, frame_parts, frame_translation
from jaxhead.captures.following import FaceTrack
from jaxhead.captures.landmarks import LANDMARKS
from jaxhead.captures.smoothing import filled_rows, frame_status
from jaxhead.captures.tracking import (
    Tracking,
    filled_pixels,
    pose_coordinates,
    pose_from_coordinates,
    smooth_channels,
)
from jaxhead.captures.validate import MEASURED
from jaxhead.files.errors import InputError
from jaxhead.files.rows import BLOCK, RowFile
from jaxhead.heads.model import HeadModel

_NEAR_MARK = 0.025
_STILL = 0.001
_LEAST_MEASURED = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Fittable:
    """A head model with all that a fit of it needs.

    Attributes:
      head: the model; body: its vertices as they are posed; marks: where its landmarks are.
      config: priors and length of the work; lid_names: names of the body's lids.
    """

    head: HeadModel
    body: Body
    marks: Marks
    config: FitConfig
    lid_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """What a fit reads of a clip of N frames.

    Attributes:
      face: the landmarks; size: (height, width) of the full frame.
      pixels: (N, 478, 2) landmarks in full-frame pixels (filled where not found); rows of a file.
      status: (N,) uint8; train: (N,) bool, frames that shared quantities are fitted on.
    """

    face: FaceTrack
    pixels: RowFile
    status: np.ndarray
    train: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        return self.face.size


def observe(face: FaceTrack, folder: str | os.PathLike | None = None) -> Clip:
    """Returns what a fit reads of a followed face.

    Args:
      face: landmarks per frame.
      folder: where they are kept, None for the system's temporary folder.

    Raises:
      InputError: no face in most of the frames, or in the training part of the clip.
    """
    status = frame_status(face.found)
    measured = status == MEASURED
    train = np.zeros(len(status), bool)
    train[: max(1, int(0.8 * len(status) + 1e-6))] = True
    if measured.mean() < _LEAST_MEASURED:
        raise InputError(
            f"a face was found in {int(measured.sum())} of {len(measured)} frames, expected at "
            "least half of them to fit a head"
        )
    if not (train & measured).any():
        raise InputError("no face was found in the first 80 % of the frames, which train")
    return Clip(face, filled_pixels(face, measured, folder), status, train)


def fit_clip(
    clip: Clip,
    fittable: Fittable,
    *,
    guess: Guess | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Returns the fit of a head to the measured frames of a clip, see `fit_head`."""
    ids = np.flatnonzero(clip.status == MEASURED)
    centre = np.array(clip.size[::-1], np.float32) / 2
    with contextlib.closing(RowFile(None, (LANDMARKS, 2))) as centred:
        for start in range(0, len(ids), BLOCK):
            centred.append(clip.pixels[ids[start : start + BLOCK]] - centre)
        return fit_head(
            fittable.body, fittable.marks, centred, ids, clip.train[ids], clip.size[0],
            fittable.config, guess=guess, progress=progress,
        )  # fmt: skip


def tracking_of(
    fit: Fit, clip: Clip, fittable: Fittable, *, folder: str | os.PathLike | None = None
) -> tuple[Tracking, HeadModel]:
    """Returns a fit of the measured frames as the tracking of all frames: filled and smoothed.

    Args:
      fit: of the measured frames; clip, fittable: what was fitted to what.
      folder: where shapes are kept.

    Returns:
      the tracking, whose scores and basis are the linear ones; the subject's head model.
    """
    config, status, train = fittable.config, clip.status, clip.train
    measured = status == MEASURED
    body = baked(fittable.body, fit.identity)
    translation = np.asarray(frame_translation(jnp.asarray(fit.frames)), np.float64)
    pose, mean = pose_coordinates(np.asarray(fit.rotation, np.float64), translation)
    pose, pose_strength = smooth_channels(filled_rows(pose, measured), train)
    numbers, strength = smooth_channels(filled_rows(fit.frames[:, POSE:], measured), train)
    if config.bounded:
        count = body.expression.shape[0]
        numbers[:, :count] = numbers[:, :count].clip(0, 1)
    rotation, translation = pose_from_coordinates(pose, mean)
    neck = neck_turns(rotation, rotation[train & measured], config.neck_share)
    frames = np.concatenate([np.zeros((len(numbers), POSE)), numbers], 1).astype(np.float32)
    vertices = RowFile(folder, np.shape(body.template))
    for block in pose_blocks(body, frames, neck):
        vertices.append(block)
    scores, basis, names = linear_scores(fittable, body, frames, neck)
    neutral = np.asarray(body.template, np.float64)
    head = fittable.head.replace(  # pyright: ignore[reportAttributeAccessIssue]
        template=neutral.astype(np.float32),
        identity_basis=np.zeros((0, *neutral.shape), np.float32),
        expression_basis=basis,
        expression_names=names,
    )
    tracking = Tracking(
        focal=fit.focal,
        size=clip.size,
        rotation=rotation,
        translation=translation,
        scores=scores,
        vertices=vertices,
        pixels=clip.pixels,
        neutral=neutral,
        basis=basis,
        weights=rigid_weights(fittable, body, vertices, train & measured),
        status=status,
        train=train,
        names=names,
        figures={
            **fit.figures,
            "head": fittable.head.name,
            "distance_metres": float(np.median(translation[:, 2])),
            "smoothing": {"pose": pose_strength, "numbers": strength},
            "several_faces": int((clip.face.faces > 1).sum()),
        },
    )
    return tracking, head


def neck_turns(rotation: np.ndarray, training: np.ndarray, share: float) -> np.ndarray:
    """Returns the neck's (N, 3) axis times angle: a share of the head's turn from its mean.

    Args:
      rotation: (N, 3, 3) head to camera; training: (T, 3, 3), whose mean is the shoulders' rest.
      share: of the turn, 0 to 1; the shoulders take the rest.
    """
    mean = Rotation.from_matrix(training).mean()
    return share * (mean.inv() * Rotation.from_matrix(rotation)).as_rotvec()


def posed_arrays(
    tracked: Tracking, crop: Crop, folder: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Returns the tracking arrays of a capture in stored pixels, large ones as rows of a file."""
    landmarks = RowFile(folder, (LANDMARKS, 2))
    for block in tracked.pixels.blocks():
        landmarks.append(crop.points(block))
    poses = np.tile(np.eye(4), (len(tracked.rotation), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = tracked.rotation, tracked.translation
    return {
        "K": crop.intrinsics(tracked.focal, tracked.size),
        "head_to_camera": poses,
        "expression": tracked.scores,
        "vertices": tracked.vertices,
        "landmarks": landmarks,
        "status": tracked.status,
    }


@jax.jit
def _posed(body, frames, neck):
    def one(frame, neck):
        expression, lids, turns = frame_parts(body, frame)
        return posed(body, jnp.zeros(0, frame.dtype), expression, lids, turns, neck)

    return jax.vmap(one)(frames, neck)


def pose_blocks(body: Body, frames: np.ndarray, neck: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the vertices (B, V, 3) of frames (N, D) of one subject, a block at a time."""
    size = 16
    for start in range(0, len(frames), size):
        part, turn = frames[start : start + size], neck[start : start + size]
        short = size - len(part)
        filled = (np.pad(a, ((0, short), (0, 0))).astype(np.float32) for a in (part, turn))
        yield np.asarray(_posed(body, *filled))[: size - short]


def linear_scores(
    fittable: Fittable, body: Body, frames: np.ndarray, neck: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Returns scores (N, E'), displacements (E', V, 3) per score, and their names.

    Args:
      fittable: the head, whose deviation of a joint's turn is one score; body: the subject's.
      frames: (N, D); neck: (N, 3).
    """
    unit = fittable.config.deviations.turn
    count = body.expression.shape[0] + body.lids.shape[0]
    turns = frames[:, POSE + count :]
    joints = [f"joint_{joint}" for joint in body.free_joints]
    if body.parents == (-1, 0, 1, 1, 1):
        joints = ["jaw", "eye_left", "eye_right"]
    if body.skull:
        turns, joints = np.concatenate([turns, neck], 1), [*joints, "neck"]
    scores = np.concatenate([frames[:, POSE : POSE + count], turns / unit], 1)
    number = body.expression.shape[0]
    own = fittable.head.expression_names or tuple(f"expression_{k:03d}" for k in range(number))
    names = (*own, *fittable.lid_names, *(f"{joint}_{axis}" for joint in joints for axis in "xyz"))
    basis = [np.asarray(body.expression), np.asarray(body.lids)]
    if turns.shape[1]:
        # Secants over plus and minus one score: half a jaw's way, where most frames are.
        each = np.zeros((2 * turns.shape[1], frames.shape[1] + 3), np.float32)
        free = frames.shape[1] - POSE - count
        for row in range(turns.shape[1]):
            column = POSE + count + row if row < free else frames.shape[1] + row - free
            each[2 * row : 2 * row + 2, column] = (unit, -unit)
        meshes = np.concatenate(list(pose_blocks(body, each[:, :-3], each[:, -3:])))
        basis.append(0.5 * (meshes[::2] - meshes[1::2]))
    return scores.astype(np.float64), np.concatenate(basis).astype(np.float32), names


def rigid_weights(
    fittable: Fittable, body: Body, vertices: RowFile, chosen: np.ndarray
) -> np.ndarray:
    """Returns (V,) how far vertices follow the rigid head and are skin of the face; sums to one.

    Args:
      fittable: the head, whose marks say where the face is; body: the subject's.
      vertices: (N, V, 3) rows; chosen: (N,) bool.
    """
    rows = np.flatnonzero(chosen)
    some = vertices[rows[np.unique(np.linspace(0, len(rows) - 1, 64).astype(int))]]
    motion = np.sqrt(some.var(0).sum(-1))
    near = near_marks(fittable.marks, np.asarray(body.template))
    weights = near / (1 + (motion / _STILL) ** 2)
    return weights / weights.sum()


def near_marks(marks: Marks, template: np.ndarray) -> np.ndarray:
    """Returns (V,) bool, the vertices within 2.5 cm of a mark: the face."""
    points = template[np.unique(np.asarray(marks.corners))]
    return KDTree(points).query(template)[0] < _NEAR_MARK
