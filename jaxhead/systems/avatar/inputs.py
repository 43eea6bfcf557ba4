"""What a run of the avatar takes from its capture: arrays for training and for rendering.

Everything that frames share is fitted on training frames only: the components of the expression,
the scales of the torso's motion and its prediction from the head's pose.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxhead.captures.body_size import fit_body
from jaxhead.captures.format import Capture
from jaxhead.captures.hull import (
    MOST_FRAMES,
    SKIN,
    UNSURE,
    occupancy_prior,
    posed_shell,
    reach_grid,
    region_masks,
    solid_cells,
)
from jaxhead.captures.pose_predictor import LAGS, pose_features, predictor_to_arrays
from jaxhead.captures.sway_predictor import fit_sway_predictor, less_of_pose
from jaxhead.captures.torso_predictor import fit_torso_predictor, torso_parameters
from jaxhead.captures.unseen import Frame, Mesh, Unseen, far_apart, guess_unseen
from jaxhead.captures.validate import MEASURED
from jaxhead.files.errors import InputError
from jaxhead.geometry.volume import fit_box
from jaxhead.heads.model import Array, head_to_arrays
from jaxhead.systems.avatar.body import mean_place
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.expressions import expression_coefficients, expression_components
from jaxhead.systems.avatar.model import pose_numbers
from jaxhead.training.configuration import required

SURFACE_MARGIN = 0.015
"""Metres around the meshes in which displacements are tabulated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AvatarSpec:
    """What of the program's shape depends on the capture; stored in the run as JSON.

    Attributes:
      frames: frames of the capture, all splits.
      train_frames: how many of them train.
      size: (H, W) of the stored pictures in pixels.
      fps: frames per second.
      scores: number of expression scores E.
      components: length of a condition: kept principal components of the expression, and where
        `field.pose` the six numbers of the head's pose.
      box: ((x, y, z), (x, y, z)) metres, lower and upper corner of the field in head space.
      shape: (nz, ny, nx) voxels of the surface volumes.
      surface_box: the volumes' own box, tighter than the field's: what lies outside moves as its
        border does.
    """

    frames: int = required(1)
    train_frames: int = required(1)
    size: tuple[int, int] = required(1)
    fps: float = required(1e-3)
    scores: int = required(0)
    components: int = required(0)
    box: tuple[tuple[float, float, float], tuple[float, float, float]]
    shape: tuple[int, int, int] = required(1)
    surface_box: tuple[tuple[float, float, float], tuple[float, float, float]]


def field_box(vertices: np.ndarray, margin: float) -> np.ndarray:
    """(2, 3) float32 corners in metres around all given vertices (..., 3), `margin` wider."""
    flat = vertices.reshape(-1, 3)
    return np.stack([flat.min(0) - margin, flat.max(0) + margin]).astype(np.float32)


def require_mesh(capture: Capture) -> None:
    """InputError where a capture has no head mesh."""
    if not capture.has_mesh:
        origin = capture.info.get("source")
        kind = origin.get("format") if isinstance(origin, dict) else None
        of_kind = f" (it was imported from {kind})" if kind else ""
        raise InputError(f"{capture.path}: holds no head mesh{of_kind}, the avatar needs one")


def prepare(
    capture: Capture, config: AvatarConfig, codes: np.ndarray | None = None
) -> tuple[AvatarSpec, dict[str, np.ndarray]]:
    """The spec and the arrays that a run keeps of its capture (`inputs.npz`).

    Args:
      capture: it; config: the run's.
      codes: (N, k) of `semantic.code_components`, where `field.semantic_dims` wants them.

    Raises:
      InputError: the capture has no mesh or no usable training frame.
    """
    require_mesh(capture)
    train = capture.train
    if len(train) == 0:
        raise InputError(f"{capture.path}: no usable training frame, expected at least one")
    meshes = np.concatenate(
        [capture.vertices[train].reshape(-1, 3), np.asarray(capture.head.template)]
    )
    template = np.asarray(capture.head.template)
    box = field_box(meshes, config.surface.margin)
    if config.surface.inflation > 0:
        diagonal = float(np.linalg.norm(np.ptp(template, axis=0)))
        box = field_box(template, config.surface.inflation * diagonal)
    surface_box, shape = fit_box(
        meshes, resolution=config.surface.resolution, margin=SURFACE_MARGIN
    )
    arrays = expression_arrays(capture, config)
    motion = torso_parameters(capture.torso_motion, capture.size)
    arrays |= {
        "K": capture.K,
        "head_to_camera": capture.head_to_camera,
        "expression": capture.expression,
        "vertices": capture.vertices,
        "torso_motion": capture.torso_motion,
        "torso_measured": capture.torso_measured,
        "torso_mean": motion[train].mean(0),
        "torso_scale": np.maximum(motion[train].std(0), 1e-4),
        "status": capture.status,
        "train": capture.train,
        "test": capture.test,
        "background": capture.background,
        "box": box,
        "surface_box": surface_box,
        "body": fit_body(
            lambda frame: capture.masks(frame)[..., 2] > 127, train, capture.K,
            capture.head_to_camera,
        ),
    }
    measured = train[capture.torso_measured[train]]
    standing = measured if len(measured) else train
    arrays["body_place"] = mean_place(
        capture.head_to_camera[standing], capture.torso_motion[standing], capture.K, capture.size
    )
    predictor = fit_torso_predictor(
        capture.head_to_camera, capture.torso_motion, measured, size=max(capture.size)
    )
    arrays |= predictor_to_arrays(predictor, "torso_predictor")
    arrays |= sway_arrays(capture, config)
    if codes is not None:
        arrays["semantic"] = codes
    poses = _pose_features(arrays, capture.head_to_camera[train])
    arrays["pose_scale"] = np.maximum(poses.std(0), 1e-4)
    arrays |= {f"head/{k}": np.asarray(v) for k, v in head_to_arrays(capture.head).items()}
    some = train[np.unique(np.linspace(0, len(train) - 1, MOST_FRAMES).astype(int))]
    arrays["occupancy"] = np.ones((config.sampling.occupancy_resolution,) * 3, bool)
    if config.surface.hull:
        arrays["occupancy"] = _hull(capture, box, config, some, arrays["sway"])
    arrays["reach"] = reach_grid(
        box,
        config.sampling.occupancy_resolution,
        np.asarray(capture.head.template),
        capture.vertices[train],
    )
    arrays["solid"] = np.zeros_like(arrays["occupancy"])
    if config.surface.shell:
        shell = posed_shell(
            box,
            config.sampling.occupancy_resolution,
            np.asarray(capture.head.template),
            capture.vertices[train],
            np.asarray(capture.head.faces),
            np.asarray(capture.head.regions),
            capture.head.region_names,
        )
        arrays["occupancy"] &= shell
        arrays["solid"] = solid_cells(shell)
    unseen = _unseen(capture, box, config, arrays["occupancy"])
    arrays |= {f"unseen_{k}": v for k, v in unseen._asdict().items() if k != "cells"}
    if config.surface.hull:
        arrays["occupancy"] = unseen.cells
    spec = AvatarSpec(
        frames=len(capture),
        train_frames=len(train),
        size=(int(capture.size[0]), int(capture.size[1])),
        fps=float(capture.fps),
        scores=int(capture.expression.shape[1]),
        components=len(arrays["expression_scale"]) + pose_numbers(config.field)
        + (0 if codes is None else codes.shape[1]),
        box=_corners(box),
        shape=shape,
        surface_box=_corners(surface_box),
    )
    return spec, arrays


def _hull(
    capture: Capture, box: np.ndarray, config: AvatarConfig, some: np.ndarray, sway: np.ndarray
) -> np.ndarray:
    """`occupancy_prior` of the frames `some`."""
    return occupancy_prior(
        box,
        config.sampling.occupancy_resolution,
        capture.K,
        capture.head_to_camera[some],
        [region_masks(capture.masks(int(frame)))[0][..., 3] > 0 for frame in some],
        capture.size,
        sway[some],
        capture.sway_box,
    )


def _unseen(
    capture: Capture, box: np.ndarray, config: AvatarConfig, allowed: np.ndarray
) -> Unseen:
    """What is guessed of the head's far side; all allowed and no place where nobody asks."""
    if not config.surface.hull and config.loss.unseen == 0:
        nowhere = np.zeros((0, 3), np.float32)
        return Unseen(allowed, nowhere, nowhere, nowhere, np.zeros(0, bool))
    chosen = capture.train[far_apart(capture.head_to_camera[capture.train])]
    frames = []
    for i in chosen:
        mask = capture.masks(int(i))[..., 1]
        frames.append(
            Frame(
                capture.frame(int(i)), mask > 127, mask > 255 * (1 - UNSURE),
                capture.head_to_camera[i],
            )
        )
    head = capture.head
    mesh = Mesh(
        np.asarray(head.template), np.asarray(head.faces), np.asarray(head.regions),
        head.region_names,
    )
    return guess_unseen(frames, capture.K, box, mesh, allowed)


def sway_arrays(capture: Capture, config: AvatarConfig) -> dict[str, np.ndarray]:
    """"sway" (N, G, G, 2) metres, "sway_box" (2, 2) and the predictor of sway from head poses."""
    sway = capture.sway if config.surface.sway else np.zeros_like(capture.sway[:, :2, :2])
    measured = capture.train[capture.status[capture.train] == MEASURED]
    sway = less_of_pose(capture.head_to_camera, sway, measured, config.motion.pose)
    predictor = fit_sway_predictor(capture.head_to_camera, sway, measured)
    return {"sway": sway, "sway_box": capture.sway_box} | predictor_to_arrays(
        predictor, "sway_predictor"
    )


def _corners(box: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    (x0, y0, z0), (x1, y1, z1) = box.astype(np.float64).tolist()
    return (x0, y0, z0), (x1, y1, z1)


def skin_vertices(regions: Array, names: tuple[str, ...]) -> np.ndarray:
    """Ids (s,) int32 of the vertices that expressions move and a camera sees."""
    return np.flatnonzero(np.isin(regions, [names.index(n) for n in SKIN if n in names])).astype(
        np.int32
    )


def expression_arrays(capture: Capture, config: AvatarConfig) -> dict[str, np.ndarray]:
    """"expression_mean", "_components" and "_scale" of `expressions`, and "skin_vertices" (s,)
    int32, whose coordinates they read after the scores."""
    regions, names = np.asarray(capture.head.regions), capture.head.region_names
    skin, train, dims = skin_vertices(regions, names), capture.train, config.field.expression_dims
    if config.field.expression == "coefficients":
        arrays = expression_coefficients(capture.expression, 3 * len(skin), dims)
    else:
        shapes = capture.vertices[train][:, skin].reshape(len(train), -1)
        lids = np.isin(regions[skin], [k for k, name in enumerate(names) if name == "eyes"])
        arrays = expression_components(
            capture.expression[train], shapes, dims, np.repeat(lids, 3)
        )
    return arrays | {"skin_vertices": skin}


def expression_condition(
    inputs: dict[str, np.ndarray], scores: np.ndarray, vertices: np.ndarray
) -> np.ndarray:
    """(n, k) normalised principal components of scores (n, E) and meshes (n, V, 3) metres."""
    shapes = vertices[:, inputs["skin_vertices"]].reshape(len(vertices), -1)
    centred = np.concatenate([scores, shapes], -1) - inputs["expression_mean"]
    return (
        centred @ inputs["expression_components"].T / inputs["expression_scale"]
    ).astype(np.float32)


def frame_condition(
    inputs: dict[str, np.ndarray], scores: np.ndarray, vertices: np.ndarray, poses: np.ndarray,
    config: AvatarConfig, frames: np.ndarray | None = None,
) -> np.ndarray:
    """(n, k) conditions of frames: the expression's, CLIP's code where the run has it, and where
    `field.pose` the head's pose.

    Args:
      inputs: of `prepare`; scores: (n, E); vertices: (n, V, 3) metres.
      poses: (n, 4, 4) head to camera.
      config: the run's.
      frames: (n,) whose codes to take; None for the mean code, where no picture shows what is
        asked for.
    """
    expression = expression_condition(inputs, scores, vertices)
    if "semantic" in inputs:
        codes = np.zeros((len(expression), inputs["semantic"].shape[1]), np.float32)
        codes = codes if frames is None else inputs["semantic"][frames]
        expression = np.concatenate([expression, codes], -1)
    if not config.field.pose:
        return expression
    pose = _pose_features(inputs, poses) / inputs["pose_scale"]
    return np.concatenate([expression, pose], -1).astype(np.float32)


def _pose_features(inputs: dict[str, np.ndarray], poses: np.ndarray) -> np.ndarray:
    """(n, 6) turns and shifts from the training frames' mean pose."""
    origin = np.asarray(inputs["sway_predictor/origin"], np.float64)
    return pose_features(np.asarray(poses, np.float64), origin, LAGS[:1])


def torso_condition(
    inputs: dict[str, np.ndarray], motion: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(..., 6) the normalised parameters of torso motions (..., 2, 3)."""
    parameters = torso_parameters(motion, size)
    return ((parameters - inputs["torso_mean"]) / inputs["torso_scale"]).astype(np.float32)
