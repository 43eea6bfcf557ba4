"""What a run takes from its capture: arrays for training and for rendering, of both fields.

Everything that frames share is fitted on training frames only. Of held-out frames a run keeps the
head's pose; expression and torso motion are not given to anything that renders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.pose_predictor import LAGS, pose_features, predictor_to_arrays
from jaxhead.captures.sway_predictor import fit_sway_predictor
from jaxhead.captures.torso_predictor import fit_torso_predictor, torso_parameters
from jaxhead.captures.validate import MEASURED
from jaxhead.files.errors import InputError
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.mouth import mouth_numbers, rest_numbers
from jaxhead.systems.adnerf.regions import regions_of
from jaxhead.systems.adnerf.space import space_arrays
from jaxhead.systems.adnerf.speech import Scale, fit_scale, heard_by
from jaxhead.training.configuration import required


@dataclasses.dataclass(frozen=True)
class AdnerfSpec:
    """What of the program's shape depends on the capture; stored in the run as JSON.

    Attributes:
      frames: frames of the capture, all splits; train_frames: how many of them train.
      size: (H, W) of the stored pictures in pixels; fps: frames per second.
      width: features of a row; rate: rows per second.
      measured: numbers of the mouth that are measured on training frames, 0 without meshes.
      rest: numbers of the expression beside the mouth, likewise.
    """

    frames: int = required(1)
    train_frames: int = required(1)
    size: tuple[int, int] = required(1)
    fps: float = required(1e-3)
    width: int = required(1)
    rate: float = required(1e-3)
    measured: int = 0
    rest: int = 0


def prepare(capture: Capture, config: AdnerfConfig) -> tuple[AdnerfSpec, dict[str, np.ndarray]]:
    """The spec and the arrays that a run keeps of its capture (`inputs.npz`).

    Raises:
      InputError: the capture has no usable training frame, or no sound.
    """
    train = capture.train
    if len(train) == 0:
        raise InputError(f"{capture.path}: no usable training frame, expected at least one")
    arrays = {
        "K": capture.K,
        "head_to_camera": capture.head_to_camera,
        "status": capture.status,
        "train": train,
        "test": capture.test,
        "background": capture.background,
    }
    arrays |= regions_of(capture.landmarks, capture.masks, capture.size)
    own = getattr(capture, "face_rect", None)
    if own is not None:
        arrays["face_rects"] = np.asarray(own, np.int32)
    speech, rate = speech_arrays(capture, config)
    arrays |= speech
    mouth = rest = np.zeros((len(capture), 0), np.float32)
    if config.field == "hash":
        arrays |= motion_arrays(capture, config)
        arrays |= space_arrays(capture, config.hash.sampling)
        mouth, found = mouth_numbers(capture, config.hash.speech.dims)
        arrays |= found
        rest = rest_numbers(capture, mouth, config.hash.speech.rest_dims)
        arrays |= {"mouth": mouth, "rest": rest}
    spec = AdnerfSpec(
        frames=len(capture),
        train_frames=len(train),
        size=(int(capture.size[0]), int(capture.size[1])),
        fps=float(capture.fps),
        width=arrays["speech"].shape[1],
        rate=float(rate),
        measured=mouth.shape[1],
        rest=rest.shape[1],
    )
    return spec, arrays


def speech_arrays(
    capture: Capture, config: AdnerfConfig
) -> tuple[dict[str, np.ndarray], float]:
    """{"speech" (N, W) scaled rows, "speech_beyond" (W,), "speech_scale/..." of `speech.Scale`}.

    Returns:
      The arrays and the rows per second.

    Raises:
      InputError: the capture is silent.
    """
    heard = heard_by(capture, config.audio)
    scale = Scale.identity(heard.rows.shape[1])
    if config.audio.scaled:
        scale = fit_scale(heard.rows, heard.rate, capture.fps, capture.train)
    arrays = {"speech": scale(heard.rows), "speech_beyond": scale(heard.beyond)}
    return arrays | {f"speech_scale/{k}": v for k, v in scale._asdict().items()}, heard.rate


def speech_scale(inputs: Mapping[str, np.ndarray]) -> Scale:
    """The scale that `speech_arrays` stored."""
    return Scale(*(inputs[f"speech_scale/{name}"] for name in Scale._fields))


def motion_arrays(capture: Capture, config: AdnerfConfig) -> dict[str, np.ndarray]:
    """Motion of torso and hair on training frames, and their guesses from the head's pose.

    On all other frames "torso_motion" and "sway" hold the guess, made for the whole clip.
    """
    train, poses = capture.train, capture.head_to_camera
    motion = capture.torso_motion
    if not config.hash.torso.motion:
        motion = np.broadcast_to(np.eye(2, 3, dtype=np.float32), motion.shape)
    sway = capture.sway if config.hash.field.sway else np.zeros_like(capture.sway[:, :2, :2])
    known = train[capture.torso_measured[train]]
    torso = fit_torso_predictor(poses, motion, known, size=max(capture.size))
    swaying = fit_sway_predictor(poses, sway, train[capture.status[train] == MEASURED])
    numbers = torso_parameters(motion[train], capture.size)
    arrays = predictor_to_arrays(torso, "torso_predictor")
    arrays |= predictor_to_arrays(swaying, "sway_predictor")
    arrays |= {
        "torso_motion": motion[train].astype(np.float32),
        "torso_mean": numbers.mean(0),
        "torso_scale": np.maximum(numbers.std(0), 1e-4),
        "sway": sway[train],
        "sway_box": capture.sway_box,
    }
    spread = pose_numbers(arrays, poses[train], scaled=False).std(0)
    return arrays | {"pose_scale": np.maximum(spread, 1e-4).astype(np.float32)}


def pose_numbers(
    inputs: dict[str, np.ndarray], poses: np.ndarray, *, scaled: bool = True
) -> np.ndarray:
    """(n, 6) float32: turns and shifts from the training frames' mean pose, in deviations.

    Args:
      inputs: of `motion_arrays`.
      poses: (n, 4, 4) head to camera.
      scaled: False for radians and shares of the distance.
    """
    origin = np.asarray(inputs["sway_predictor/origin"], np.float64)
    numbers = pose_features(np.asarray(poses, np.float64), origin, LAGS[:1])
    return (numbers / inputs["pose_scale"] if scaled else numbers).astype(np.float32)


def torso_numbers(
    inputs: dict[str, np.ndarray], motion: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(..., 6) the normalised parameters of torso motions (..., 2, 3)."""
    parameters = torso_parameters(motion, size)
    return ((parameters - inputs["torso_mean"]) / inputs["torso_scale"]).astype(np.float32)
