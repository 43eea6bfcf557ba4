"""Speech-like sound made from syllables, with the mouth's motion that belongs to it.

A glottal pulse train passes three formant resonators (Klatt 1980, cascade branch) whose frequencies
follow the vowels; fricatives are filtered noise, stops are silences. The sound means nothing, but
its loudness, voicing and spectrum move with the mouth as in speech: an open vowel is loud with a
high first formant, a rounded one has a low second formant.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage, signal

RATE = 16000
_CONTROL_RATE = 200
# Vowel: jaw opening, lip spreading, lip rounding in [0, 1]; formants 1 to 3 in Hz.
_VOWELS = {
    "a": (1.00, 0.30, 0.00, 800, 1250, 2600),
    "e": (0.50, 0.70, 0.00, 480, 2000, 2650),
    "i": (0.18, 1.00, 0.00, 290, 2300, 3000),
    "o": (0.55, 0.00, 0.75, 480, 880, 2450),
    "u": (0.20, 0.00, 1.00, 310, 780, 2300),
    "@": (0.40, 0.35, 0.10, 520, 1450, 2500),
}
# Consonant: jaw opening, lip closure, noise level, noise centre in Hz.
_CONSONANTS = {
    "m": (0.00, 1.0, 0.0, 0),
    "b": (0.00, 1.0, 0.0, 0),
    "f": (0.08, 0.5, 0.25, 5500),
    "s": (0.05, 0.0, 0.60, 6300),
    "t": (0.10, 0.0, 0.15, 4500),
    "l": (0.20, 0.0, 0.0, 0),
    "": (0.15, 0.0, 0.0, 0),
}


class Speech(NamedTuple):
    """Sound and mouth.

    Attributes:
      samples: (S,) float32 in [-1, 1] at 16 kHz.
      jaw, spread, round, closure: (N,) float32 in [0, 1] per video frame: opening of the jaw,
        spreading and rounding of the lips, pressing together of the lips.
      voiced: (N,) float32 in [0, 1], share of voice.
    """

    samples: np.ndarray
    jaw: np.ndarray
    spread: np.ndarray
    round: np.ndarray
    closure: np.ndarray
    voiced: np.ndarray


def speechlike(*, frames: int, fps: float = 25.0, seed: int = 0) -> Speech:
    """Returns `frames` video frames of speech-like sound and the mouth's motion.

    Frame t shows the mouth at the time t / fps of the sound.

    Args:
      frames: number of video frames, at least 1.
      fps: video frames per second.
      seed: fixes everything.
    """
    if frames < 1 or fps <= 0:
        raise ValueError(
            f"frames={frames}, fps={fps}: expected at least one frame at a rate above 0"
        )
    rng = np.random.default_rng([seed, 71])
    count = int(np.ceil(frames / fps * _CONTROL_RATE)) + 2
    controls = _controls(count, rng)
    samples = _sound(controls, rng)[: int(round(frames / fps * RATE))]
    at = np.arange(frames) / fps * _CONTROL_RATE
    place = np.arange(count)
    per_frame = {
        name: np.interp(at, place, controls[name]).astype(np.float32)
        for name in ("jaw", "spread", "round", "closure", "voiced")
    }
    return Speech(samples=samples, **per_frame)


def _controls(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns smooth tracks of `count` control samples: mouth, formants, voice, noise, pitch."""
    names = ("jaw", "spread", "round", "closure", "voiced", "noise", "centre", "f1", "f2", "f3")
    rest = dict(zip(names, (0.0, 0.2, 0.0, 0.25, 0.0, 0.0, 3000.0, 500.0, 1500.0, 2500.0)))
    tracks = {name: np.full(count, value) for name, value in rest.items()}
    stress = np.ones(count)
    position = int(0.12 * _CONTROL_RATE)
    until_pause = rng.integers(4, 10)
    while position < count:
        until_pause -= 1
        if until_pause < 0:
            position += int(rng.uniform(0.25, 0.55) * _CONTROL_RATE)
            until_pause = rng.integers(4, 10)
        consonant = _CONSONANTS[str(rng.choice(list(_CONSONANTS)))]
        vowel = _VOWELS[str(rng.choice(list(_VOWELS)))]
        first = int(rng.uniform(0.05, 0.09) * _CONTROL_RATE)
        second = int(rng.uniform(0.10, 0.20) * _CONTROL_RATE)
        _write_consonant(tracks, slice(position, position + first), consonant)
        span = slice(position + first, position + first + second)
        force = rng.uniform(0.65, 1.1)
        _write_vowel(tracks, span, vowel, force)
        stress[position : position + first + second] = force
        position += first + second
    smooth = np.hanning(15)
    for name, track in tracks.items():
        padded = np.pad(track, 7, mode="edge")
        tracks[name] = np.convolve(padded, smooth / smooth.sum(), "valid")
    phrase = np.cumsum(rng.normal(0, 1, count))
    phrase = ndimage.gaussian_filter1d(phrase - np.linspace(0, phrase[-1], count), 40)
    swing = phrase / (np.abs(phrase).max() + 1e-9)
    tracks["pitch"] = 118 * 2 ** (0.22 * swing + 0.15 * (stress - 0.9))
    return tracks


def _write_consonant(
    tracks: dict[str, np.ndarray], span: slice, consonant: tuple[float, float, float, float]
) -> None:
    jaw, closure, noise, centre = consonant
    tracks["jaw"][span] = jaw
    tracks["closure"][span] = closure
    tracks["noise"][span] = noise
    tracks["centre"][span] = centre or 3000
    tracks["voiced"][span] = 0.0 if noise else 0.35
    tracks["f1"][span] = 300


def _write_vowel(
    tracks: dict[str, np.ndarray], span: slice, vowel: tuple[float, ...], force: float
) -> None:
    jaw, spread, round_, f1, f2, f3 = vowel
    tracks["jaw"][span] = min(jaw * force, 1.0)
    tracks["spread"][span] = spread
    tracks["round"][span] = round_
    tracks["closure"][span] = 0.0
    tracks["voiced"][span] = min(0.55 + 0.45 * jaw * force, 1.0)
    for name, value in zip(("f1", "f2", "f3"), (f1, f2, f3)):
        tracks[name][span] = value


def _sound(controls: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    step = RATE // _CONTROL_RATE
    count = (len(controls["jaw"]) - 1) * step
    at = np.arange(count) / step
    track = {name: np.interp(at, np.arange(len(v)), v) for name, v in controls.items()}
    phase = np.cumsum(track["pitch"]) / RATE
    pulse = np.diff(np.floor(phase), prepend=0.0)
    source = signal.lfilter([1.0], [1.0, -0.96], pulse) * track["voiced"]
    source = source + 0.01 * rng.normal(0, 1, count) * track["voiced"]
    widths = (("f1", 70.0), ("f2", 100.0), ("f3", 150.0))
    voice = resonate(source, [(controls[name], width) for name, width in widths], step)
    hiss = rng.normal(0, 1, count) * track["noise"]
    band = signal.butter(2, [3500, 7500], "bandpass", fs=RATE, output="sos")
    hiss = np.asarray(signal.sosfilt(band, hiss))
    sound = voice / (np.abs(voice).max() + 1e-9) + 0.16 * hiss
    return (0.7 * sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def resonate(
    source: np.ndarray, resonators: Sequence[tuple[np.ndarray, float]], step: int
) -> np.ndarray:
    """Returns the source through resonators in a row whose frequencies change every `step` samples.

    Args:
      source: (S,).
      resonators: (frequency in Hz per step, bandwidth in Hz) each; gain 1 at 0 Hz.
      step: samples.
    """
    out = source
    for frequencies, width in resonators:
        radius = np.exp(-np.pi * width / RATE)
        result = np.empty_like(out)
        state = np.zeros(2)
        for index, frequency in enumerate(frequencies[: len(out) // step]):
            b = -2 * radius * np.cos(2 * np.pi * frequency / RATE)
            c = radius * radius
            piece = slice(index * step, (index + 1) * step)
            result[piece], state = signal.lfilter([1 + b + c], [1.0, b, c], out[piece], zi=state)
        out = result
    return out
