"""From render options to one request per picture: a pose and what is heard while it is held.

Speech leads: a clip is as long as its sound, and poses are played forwards and backwards until it
ends. Requests are made while they are rendered, so that ten minutes need no more memory than one.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxhead.captures.format import load_capture
from jaxhead.captures.pose_predictor import LAGS, predictor_from_arrays
from jaxhead.captures.sway_predictor import predict_sway
from jaxhead.captures.torso_predictor import predict_torso
from jaxhead.files.errors import InputError
from jaxhead.files.sound import read_audio
from jaxhead.rendering.playing import back_and_forth, split_ids, transferred_poses
from jaxhead.rendering.requests import RenderOptions, background_pixels
from jaxhead.systems.adnerf.config import AudioConfig
from jaxhead.systems.adnerf.inputs import AdnerfSpec, pose_numbers, speech_scale, torso_numbers
from jaxhead.systems.adnerf.speech import Speech

MOST_DEVIATIONS = 3.0
"""Poses beyond so many deviations of the training frames are held there."""
_BLOCK = 250
RATE = 16000
_REFUSED = {
    "expression_from": "the face follows speech: give --audio",
    "neutral": "the face follows speech: give a silent --audio",
    "view": "the torso is a picture that one camera saw: give other head poses with --pose-from",
    "orbit_degrees": "the torso is a picture that one camera saw: give --pose-from",
}


@dataclasses.dataclass(frozen=True)
class Clip:
    """What n pictures show.

    Attributes:
      frame_ids: (n,) the capture's frames behind them, -1 where there is none.
      poses: (p, 4, 4) head to camera; order: (n,) int32, which of them each picture shows.
      heard: (n,) int32, frames of the sound that pictures belong to.
      speech: the sound's features; samples: (S,) the driving sound at 16 kHz, None for the run's.
      K: (3, 3) pixels of the picture; background: (H, W, 3) float32 in [0, 1]; size: (H, W).
      notes: what was predicted, replaced or held back, for the user.
    """

    frame_ids: np.ndarray
    poses: np.ndarray
    order: np.ndarray
    heard: np.ndarray
    speech: Speech
    samples: np.ndarray | None
    K: np.ndarray
    background: np.ndarray
    size: tuple[int, int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.order)


def refuse_options(options: RenderOptions) -> None:
    """InputError, by name, for what speech-driven heads cannot be asked for."""
    for name, instead in _REFUSED.items():
        if getattr(options, name) not in (None, False):
            raise InputError(f"{name.removesuffix('_degrees')}: not with adnerf; {instead}")


def make_clip(
    options: RenderOptions, spec: AdnerfSpec, inputs: dict[str, np.ndarray], audio: AudioConfig,
    *, own: str = "",
) -> Clip:
    """What a render shows.

    Args:
      options: what is asked for.
      spec, inputs: of the run; audio: of its configuration.
      own: digest of the run's capture, whose poses are played as they are.

    Raises:
      InputError: an option that is refused, an empty split, a sound without samples, a driving
        capture that cannot be read.
    """
    refuse_options(options)
    ids = split_ids(inputs, options.split)
    if len(ids) == 0:
        raise InputError(
            f"the run has no frame in the split {options.split!r}: its capture has "
            f"{len(inputs['train'])} training and {len(inputs['test'])} held-out frames"
        )
    notes: list[str] = []
    poses = inputs["head_to_camera"][ids]
    if options.pose_from is not None:
        poses = _poses_of(options.pose_from, inputs, own)
    if options.audio is None:
        samples, speech = None, own_speech(spec, inputs)
        heard = ids[: options.frames]
    else:
        samples, speech = _driving(options.audio, inputs, audio)
        count = max(1, round(len(samples) / RATE * spec.fps))
        heard = np.arange(count, dtype=np.int32)[: options.frames]
    order = back_and_forth(len(heard), len(poses)).astype(np.int32)
    if len(heard) > len(poses):
        notes.append(
            f"{len(poses)} poses are played forwards and backwards under {len(heard)} pictures"
        )
    shows_frames = options.audio is None and options.pose_from is None
    size = spec.size if options.size is None else (options.size, options.size)
    scale = np.diag([size[1] / spec.size[1], size[0] / spec.size[0], 1.0]).astype(np.float32)
    return Clip(
        frame_ids=heard if shows_frames else np.full(len(heard), -1, np.int32),
        poses=np.asarray(poses, np.float32), order=order, heard=heard, speech=speech,
        samples=samples, K=scale @ inputs["K"], background=_background(options, inputs, size),
        size=size, notes=tuple(notes),
    )  # fmt: skip


def own_speech(spec: AdnerfSpec, inputs: dict[str, np.ndarray]) -> Speech:
    """The speech that the run's own frames hear."""
    return Speech.of_rows(inputs["speech"], spec.rate, inputs["speech_beyond"])


def speech_of(samples: np.ndarray, inputs: dict[str, Any], audio: AudioConfig) -> Speech:
    """The speech of another sound (S,) at 16 kHz, on the scale of the run's training frames."""
    return Speech(samples, audio, speech_scale(inputs))


def _driving(path: str, inputs: dict[str, Any], audio: AudioConfig):
    samples = read_audio(path, rate=RATE)
    if samples is None or not len(samples):
        raise InputError(f"{path}: holds no sound, expected at least one sample")
    return _in_a_file(samples), speech_of(samples, inputs, audio)


def _in_a_file(samples: np.ndarray) -> np.ndarray:
    """The same samples, read from a file without a name: ten minutes are 38 MB in memory."""
    with tempfile.TemporaryFile() as file:
        file.write(samples.data)
        file.flush()
        return np.memmap(file, samples.dtype, "r", shape=samples.shape)


def _poses_of(path: str, inputs: dict[str, Any], own: str) -> np.ndarray:
    driving = load_capture(path)
    ids = np.sort(np.concatenate([driving.train, driving.test]))
    poses = driving.head_to_camera[ids]
    if driving.digest == own:
        return poses
    return transferred_poses(poses, inputs["head_to_camera"][inputs["train"]])


def _background(
    options: RenderOptions, inputs: dict[str, Any], size: tuple[int, int]
) -> np.ndarray:
    picture = background_pixels(options.background, size)
    if picture is not None:
        return picture
    plate = inputs["background"]
    if plate.shape[:2] != tuple(size):
        from PIL import Image

        plate = Image.fromarray(plate).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(plate, np.float32) / 255


def windows_of(
    clip: Clip, index: int, spec: AdnerfSpec, *, size: int, count: int
) -> np.ndarray:
    """(count, size, W): what a picture hears, see `Speech.windows`."""
    return clip.speech.windows(int(clip.heard[index]), fps=spec.fps, size=size, count=count)


def hash_requests(
    clip: Clip, spec: AdnerfSpec, inputs: dict[str, np.ndarray], *, window: int, smoothed: int
) -> Iterator[dict[str, np.ndarray]]:
    """One request of `hash_predict.predict` per picture, in order.

    Torso and hair move as the pose and its recent past let expect.
    """
    torso = predictor_from_arrays(inputs, "torso_predictor")
    swaying = predictor_from_arrays(inputs, "sway_predictor")
    factor = clip.size[0] / spec.size[0]
    past = max(LAGS)
    for start in range(0, len(clip), _BLOCK):
        first = max(0, start - past)
        poses = clip.poses[clip.order[first : start + _BLOCK]]
        motion = predict_torso(torso, poses)[start - first :]
        poses = poses[start - first :]
        pose = np.clip(pose_numbers(inputs, poses), -MOST_DEVIATIONS, MOST_DEVIATIONS)
        numbers = np.clip(torso_numbers(inputs, motion, spec.size), -4.0, 4.0)
        sway = predict_sway(swaying, poses)
        moved = motion * np.array([[1, 1, factor]] * 2, np.float32)
        for place in range(len(poses)):
            yield {
                "K": clip.K,
                "head_to_camera": poses[place],
                "pose": pose[place],
                "windows": windows_of(clip, start + place, spec, size=window, count=smoothed),
                "sway": sway[place],
                "torso_motion": moved[place],
                "torso_condition": np.concatenate([numbers[place], pose[place]]),
                "background": clip.background,
            }
