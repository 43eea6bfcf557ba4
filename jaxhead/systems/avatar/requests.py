"""From render options to one request per picture: camera, mesh, expression and torso motion."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxhead.captures.format import Capture, load_capture
from jaxhead.captures.pose_predictor import predictor_from_arrays
from jaxhead.captures.sway_predictor import predict_sway
from jaxhead.captures.torso_predictor import predict_torso
from jaxhead.files.errors import InputError
from jaxhead.heads.model import HeadModel
from jaxhead.rendering.playing import back_and_forth, orbit_pose, split_ids, transferred_poses
from jaxhead.rendering.requests import RenderOptions, background_pixels
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec, frame_condition, torso_condition

MOST_DEVIATIONS = 3.0
"""Poses and others' expressions beyond so many deviations of the training frames are held there."""


@dataclasses.dataclass(frozen=True)
class Requests:
    """Host arrays of n pictures.

    Attributes:
      frame_ids: (n,) the capture's frames behind them, -1 where there is none.
      head_to_camera: (n, 4, 4); vertices: (n, V, 3) metres; condition: (n, k).
      sway: (n, G, G, 2) metres.
      own_poses: (n, 4, 4) head-to-camera before the camera was turned around the person.
      torso_motion: (n, 2, 3) pixels of the picture; torso_condition: (n, 6).
      K: (3, 3) pixels of the picture; background: (H, W, 3) float32 in [0, 1]; size: (H, W).
      notes: what was predicted, replaced or held back, for the user.
    """

    frame_ids: np.ndarray
    head_to_camera: np.ndarray
    own_poses: np.ndarray
    vertices: np.ndarray
    condition: np.ndarray
    sway: np.ndarray
    torso_motion: np.ndarray
    torso_condition: np.ndarray
    K: np.ndarray
    background: np.ndarray
    size: tuple[int, int]
    notes: tuple[str, ...] = ()


def make_requests(
    options: RenderOptions, spec: AvatarSpec, inputs: dict[str, np.ndarray], head: HeadModel,
    config: AvatarConfig,
) -> Requests:
    """All requests of a render.

    Args:
      options: what is asked for.
      spec, inputs, config: of the run.
      head: the run's head model.

    Raises:
      InputError: the split is empty, or a driving capture does not fit.
    """
    notes: list[str] = []
    ids = split_ids(inputs, options.split)[: options.frames]
    if len(ids) == 0:
        raise InputError(
            f"the run has no frame in the split {options.split!r}: its capture has "
            f"{len(inputs['train'])} training and {len(inputs['test'])} held-out frames"
        )
    poses, scores, vertices = (
        inputs["head_to_camera"][ids], inputs["expression"][ids], inputs["vertices"][ids],
    )
    frames = ids
    if options.pose_from is not None:
        driving = load_capture(options.pose_from)
        own = inputs["head_to_camera"][inputs["train"]]
        poses = transferred_poses(_frames_of(driving, options)[0], own)
        frames, (scores, vertices) = _stretched(len(poses), ids, scores, vertices)
    if options.expression_from is not None:
        driving = load_capture(options.expression_from)
        scores = _frames_of(driving, options)[1]
        _check_names(driving, head)
        if options.pose_from is None:
            frames, (poses,) = _stretched(len(scores), ids, poses)
        count = min(len(scores), len(poses))
        scores, poses, frames = scores[:count], poses[:count], frames[:count]
        vertices = posed(head, scores)
    if options.neutral:
        scores = np.zeros_like(scores)
        vertices = posed(head, scores)
    own_poses = poses.astype(np.float32)
    if _turned(options):
        poses = np.stack([
            orbit_pose(pose, *_angles(options, i, len(poses))) for i, pose in enumerate(poses)
        ])
    shown = options.expression_from is None and not options.neutral
    condition = frame_condition(
        inputs, scores, vertices, own_poses, config, frames if shown else None
    )
    if "semantic" in inputs and not shown:
        notes.append("no picture shows these expressions: the mean of CLIP's codes stands in")
    held = np.clip(condition, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    shaped = len(inputs["expression_scale"])
    if options.expression_from is None and not options.neutral:
        held[:, :shaped] = condition[:, :shaped]
    elif options.expression_from is not None and np.any((held != condition)[:, :shaped]):
        notes.append("expressions far from the subject's own were held at their edge")
    motion = torso_motion(options, inputs, frames, own_poses, notes)
    condition_torso = np.clip(torso_condition(inputs, motion, spec.size), -4.0, 4.0)
    if _turned(options):
        notes.append("the torso is laid on a body for views that its camera did not see")
    own = options.pose_from is None and options.expression_from is None
    return _sized(options, spec, inputs, Requests(
        frame_ids=frames if own else np.full(len(frames), -1),
        head_to_camera=poses.astype(np.float32),
        own_poses=own_poses,
        vertices=vertices,
        condition=held,
        sway=sway_of(options, inputs, frames, own_poses),
        torso_motion=motion,
        torso_condition=condition_torso,
        K=inputs["K"],
        background=inputs["background"].astype(np.float32) / 255,
        size=spec.size,
        notes=tuple(notes),
    ))


def posed(head: HeadModel, scores: np.ndarray) -> np.ndarray:
    """(n, V, 3) float32 meshes in metres of scores (n, E) by the head's displacement basis."""
    basis = np.asarray(head.expression_basis)
    return (np.asarray(head.template) + np.einsum("ne,evc->nvc", scores, basis)).astype(np.float32)


def torso_motion(
    options: RenderOptions, inputs: dict[str, Any], frames: np.ndarray, poses: np.ndarray,
    notes: list[str],
) -> np.ndarray:
    """(n, 2, 3) motion of the torso: measured where asked for and known, else predicted."""
    predictor = predictor_from_arrays(inputs, "torso_predictor")
    if options.pose_from is not None:
        notes.append("the torso's motion was predicted from the new head poses")
        return predict_torso(predictor, poses)
    measured = inputs["torso_motion"][frames]
    known = inputs["torso_measured"][frames]
    if options.torso == "predicted":
        known = np.zeros_like(known)
    elif not known.all():
        notes.append(f"the torso's motion was predicted in {int((~known).sum())} frames")
    # The prediction reads the recent past, so it is made for the whole clip.
    predicted = predict_torso(predictor, inputs["head_to_camera"])[frames]
    return np.where(known[:, None, None], measured, predicted).astype(np.float32)


def sway_of(
    options: RenderOptions, inputs: dict[str, Any], frames: np.ndarray, poses: np.ndarray
) -> np.ndarray:
    """(n, G, G, 2) metres: measured where a frame shows what it showed, else predicted."""
    predictor = predictor_from_arrays(inputs, "sway_predictor")
    if options.pose_from is not None:
        return predict_sway(predictor, poses)
    if options.torso == "predicted" or options.expression_from is not None:
        # The prediction reads the recent past, so it is made for the whole clip.
        return predict_sway(predictor, inputs["head_to_camera"])[frames]
    return inputs["sway"][frames]


def _frames_of(driving: Capture, options: RenderOptions) -> tuple[np.ndarray, np.ndarray]:
    ids = np.sort(np.concatenate([driving.train, driving.test]))[: options.frames]
    return driving.head_to_camera[ids], driving.expression[ids]


def _check_names(driving: Capture, head: HeadModel) -> None:
    if driving.head.expression_names != head.expression_names:
        raise InputError(
            f"{driving.path}: its {len(driving.head.expression_names)} expressions have other "
            f"names than the {len(head.expression_names)} of the run, expected the same"
        )


def _stretched(count: int, ids: np.ndarray, *arrays: np.ndarray):
    """Frames and arrays played forwards and backwards until there are `count` of them."""
    place = back_and_forth(count, len(ids))
    return ids[place], tuple(array[place] for array in arrays)


def _turned(options: RenderOptions) -> bool:
    return options.view is not None or options.orbit_degrees is not None


def _angles(options: RenderOptions, index: int, count: int) -> tuple[float, float]:
    if options.view is not None:
        return options.view
    assert options.orbit_degrees is not None
    return options.orbit_degrees * float(np.sin(2 * np.pi * index / max(1, count))), 0.0


def _sized(
    options: RenderOptions, spec: AvatarSpec, inputs: dict[str, Any], requests: Requests
) -> Requests:
    """The requests for the wanted picture size and background."""
    size = spec.size if options.size is None else (options.size, options.size)
    factor = size[0] / spec.size[0]
    scale = np.diag([factor, factor, 1.0]).astype(np.float32)
    motion = requests.torso_motion.copy()
    motion[..., 2] *= factor
    picture = background_pixels(options.background, size)
    if picture is None:
        picture = requests.background
        if size != spec.size:
            from PIL import Image

            plate = Image.fromarray(inputs["background"])
            plate = plate.resize((size[1], size[0]), Image.Resampling.BICUBIC)
            picture = np.asarray(plate)
            picture = picture.astype(np.float32) / 255
    return dataclasses.replace(
        requests, K=scale @ requests.K, torso_motion=motion, size=size, background=picture
    )
