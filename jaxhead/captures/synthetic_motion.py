"""What the synthetic person does: talks, blinks, looks around, turns the head, sways.

Every track is a pure function of the seed. The torso moves on its own, so that its motion is no
function of the head's.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.audio.articulation import phoneme_speech
from jaxhead.audio.espeak import espeak_speech
from jaxhead.audio.speechlike import Speech, speechlike
from jaxhead.heads.expressions import expression_names

# The head turns about the top of the neck, the torso about the chest (metres in head space).
_HEAD_PIVOT = np.array([0.0, -0.075, -0.06])
_TORSO_PIVOT = np.array([0.0, -0.30, -0.07])
DISTANCE = 1.25
SPEECH = {"syllables": speechlike, "phonemes": phoneme_speech, "espeak": espeak_speech}
"""How the mouth moves: as wide as it is loud, or by phonemes of babble or of eSpeak's English."""


class Motion(NamedTuple):
    """Tracks of N frames.

    Attributes:
      expression: (N, E) scores in [0, 1].
      head_to_camera, torso_to_camera: (N, 4, 4).
      yaw_degrees: (N,) yaw of the head, positive to the subject's left.
      speech: the sound and its mouth.
    """

    expression: np.ndarray
    head_to_camera: np.ndarray
    torso_to_camera: np.ndarray
    yaw_degrees: np.ndarray
    speech: Speech


def act(
    *, frames: int, fps: float, seed: int, yaw_range_degrees: float, speech: str = "syllables"
) -> Motion:
    """Returns the performance.

    Args:
      frames: number of frames.
      fps: frames per second.
      seed: fixes everything.
      yaw_range_degrees: largest yaw of the head to either side.
      speech: key of `SPEECH`.
    """
    rng = np.random.default_rng([seed, 5])
    time = np.arange(frames) / fps
    said = SPEECH[speech](frames=frames, fps=fps, seed=seed)
    # The slowest wave passes both extremes within five seconds, so a short clip turns fully, too.
    yaw = yaw_range_degrees * _wave(time, rng, (0.21, 0.37))
    pitch = 5.0 * _wave(time, rng, (0.33, 0.61, 1.1)) + 1.5 * (said.jaw - 0.3)
    roll = 3.5 * _wave(time, rng, (0.27, 0.5))
    shift = 0.007 * np.stack([_wave(time, rng, (0.17, 0.4)) for _ in range(3)], 1)
    head = _poses(np.stack([pitch, yaw, roll], 1), shift, _HEAD_PIVOT)
    torso_turn = np.stack(
        [
            1.2 * _wave(time, rng, (0.23, 0.41)),
            2.5 * _wave(time, rng, (0.15, 0.29)),
            1.6 * _wave(time, rng, (0.19, 0.45)),
        ],
        1,
    )
    breath = 0.0025 * np.sin(2 * np.pi * 0.27 * time + rng.uniform(0, 6))
    torso_shift = np.stack(
        [0.008 * _wave(time, rng, (0.21, 0.35)), breath, 0.004 * _wave(time, rng, (0.2,))], 1
    )
    torso = _poses(torso_turn, torso_shift, _TORSO_PIVOT)
    return Motion(_expressions(time, said, rng), head, torso, yaw.astype(np.float32), said)


def rest_pose() -> np.ndarray:
    """Returns (4, 4): a head that looks straight into the camera."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = [0.0, -0.018, DISTANCE - 0.04]
    return pose


def _poses(degrees: np.ndarray, shift: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Returns (N, 4, 4) from pitch, yaw and roll (N, 3), and a shift (N, 3) in head space."""
    pitch, yaw, roll = degrees.T
    turn = Rotation.from_euler("YXZ", np.stack([yaw, pitch, roll], 1), degrees=True).as_matrix()
    local = np.tile(np.eye(4), (len(degrees), 1, 1))
    local[:, :3, :3] = turn
    local[:, :3, 3] = pivot - turn @ pivot + shift
    return (rest_pose() @ local).astype(np.float32)


def _wave(time: np.ndarray, rng: np.random.Generator, frequencies: tuple[float, ...]) -> np.ndarray:
    """Returns a sum of sines of the given frequencies (Hz) with largest magnitude one."""
    weight = 1.0 / np.sqrt(np.arange(1, len(frequencies) + 1))
    phase = rng.uniform(0, 2 * np.pi, len(frequencies))
    # Normalised over ten seconds of the same wave, so that a short clip is not exaggerated.
    longer = np.concatenate([time, np.linspace(0, max(10.0, time[-1]), 500)])
    value = (weight * np.sin(2 * np.pi * np.outer(longer, frequencies) + phase)).sum(1)
    return value[: len(time)] / np.abs(value).max()


def _expressions(time: np.ndarray, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    names = expression_names()
    table = {name: np.zeros(len(time)) for name in names}
    unvoiced = 1 - speech.closure
    table["jawOpen"] = 0.62 * speech.jaw * unvoiced
    table["mouthFunnel"] = 0.45 * speech.round * (0.4 + 0.6 * speech.jaw)
    table["mouthPucker"] = 0.75 * speech.round * (1 - 0.5 * speech.jaw)
    mood = 0.5 + 0.5 * _wave(time, rng, (0.13, 0.31))
    brow = np.clip(_wave(time, rng, (0.35, 0.8)), 0, 1)
    frown = np.clip(_wave(time, rng, (0.22, 0.47)) - 0.35, 0, 1)
    blink = _blinks(time, rng)
    look = _glances(time, rng)
    squint = 0.25 * mood
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        table["mouthSmile" + side] = 0.38 * mood * (1 - 0.6 * speech.round)
        table["mouthStretch" + side] = 0.30 * speech.spread * (0.3 + 0.7 * speech.jaw)
        table["mouthLowerDown" + side] = 0.35 * speech.jaw * unvoiced
        table["mouthUpperUp" + side] = 0.30 * speech.spread * speech.jaw + 0.12 * mood * speech.jaw
        table["browOuterUp" + side] = 0.45 * brow
        table["browDown" + side] = 0.55 * frown
        table["eyeBlink" + side] = blink
        table["eyeSquint" + side] = squint * (1 - blink)
        table["eyeLookUp" + side] = np.clip(look[:, 1], 0, 1) * (1 - blink)
        table["eyeLookDown" + side] = np.clip(-look[:, 1], 0, 1) * (1 - blink)
        table["eyeLookOut" + side] = np.clip(sign * look[:, 0], 0, 1)
        table["eyeLookIn" + side] = np.clip(-sign * look[:, 0], 0, 1)
    table["browInnerUp"] = 0.5 * brow
    return np.stack([np.clip(table[name], 0, 1) for name in names], 1).astype(np.float32)


def _blinks(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns (N,) closing of the lids: a blink of 0.28 s every 1.5 to 3.5 seconds."""
    blink, start = np.zeros(len(time)), rng.uniform(0.4, 1.2)
    while start < time[-1] + 1:
        phase = (time - start) / 0.28
        # Lids fall faster than they rise.
        shape = np.where(phase < 0.35, phase / 0.35, 1 - (phase - 0.35) / 0.65)
        blink = np.maximum(blink, np.clip(1.25 * shape, 0, 1) * ((phase > 0) & (phase < 1)))
        start += rng.uniform(1.5, 3.5)
    return blink


def _glances(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns (N, 2) gaze (left, up) in units of the largest gaze: fixations joined by saccades."""
    knots, places, now = [np.zeros(2)], [0.0], 0.0
    while now < time[-1] + 2:
        hold = rng.uniform(0.5, 1.6)
        target = np.clip(rng.normal(0, [0.28, 0.16]), [-0.6, -0.35], [0.6, 0.35])
        places += [now + hold, now + hold + 0.05]
        knots += [knots[-1], target]
        now += hold + 0.05
    return np.stack([np.interp(time, places, np.stack(knots)[:, k]) for k in range(2)], 1)
