"""Segments of phonemes to the mouth's motion and to sound, with co-articulation.

Each phoneme pulls each articulator towards its target with a strength that falls off exponentially
before and behind it; the articulator takes the weighted mean (Cohen and Massaro 1993, "Modeling
coarticulation in synthetic visual speech"). Lips are rounded early, a mouth that must close for m
closes whatever stands around it, an h has the mouth of its vowel. The sound comes from the same
tracks: a voice through formants that follow the actual jaw, noises, and silences with releases.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage, signal

from jaxhead.audio.phonemes import PHONEMES, STOPS, Phoneme, Segment, babble
from jaxhead.audio.speechlike import RATE, Speech, resonate

_CONTROL_RATE = 200
_STEP = RATE // _CONTROL_RATE
# Falling off of a phoneme's pull per second, before it and behind it.
_JAW, _LIPS, _CLOSURE, _TRACT = (22.0, 26.0), (14.0, 22.0), (90.0, 90.0), (45.0, 55.0)
_REACH = 0.35
_REST = {"jaw": 0.02, "spread": 0.2, "round": 0.0, "closure": 0.25}


def phoneme_speech(*, frames: int, fps: float = 25.0, seed: int = 0) -> Speech:
    """Returns `frames` video frames of babble and the motion of the mouth that says it.

    Frame t shows the mouth at the time t / fps of the sound. Unlike `speechlike` the opening of the
    mouth cannot be read off the loudness.

    Args:
      frames: number of video frames, at least 1.
      fps: video frames per second.
      seed: fixes everything.
    """
    if frames < 1 or fps <= 0:
        raise ValueError(
            f"frames={frames}, fps={fps}: expected at least one frame at a rate above 0"
        )
    rng = np.random.default_rng([seed, 72])
    seconds = frames / fps
    return spoken(babble(seconds, rng), frames=frames, fps=fps, rng=rng)


def spoken(
    segments: Sequence[Segment], *, frames: int, fps: float, rng: np.random.Generator
) -> Speech:
    """Returns sound and mouth of segments in order; arguments as for `phoneme_speech`."""
    count = int(np.ceil(frames / fps * _CONTROL_RATE)) + 2
    tracks = articulate(segments, count)
    samples = _sound(segments, tracks, count, rng)[: int(round(frames / fps * RATE))]
    return Speech(samples=samples, **at_frames(tracks, frames, fps))


def at_frames(tracks: dict[str, np.ndarray], frames: int, fps: float) -> dict[str, np.ndarray]:
    """Returns (frames,) float32 of each of the mouth's tracks at the times t / fps."""
    at = np.arange(frames) / fps * _CONTROL_RATE
    return {
        name: np.interp(at, np.arange(len(tracks[name])), tracks[name]).astype(np.float32)
        for name in ("jaw", "spread", "round", "closure", "voiced")
    }


def articulate(segments: Sequence[Segment], count: int) -> dict[str, np.ndarray]:
    """Returns (count,) tracks at 200 per second: jaw, spread, round, closure, voiced in [0, 1], and
    the formants f1 to f3 in Hz.
    """
    tracks = {
        "jaw": _pulled(segments, count, _jaw, lambda p: p.jaw_weight, _JAW, _REST["jaw"]),
        "closure": _pulled(
            segments, count, lambda p, s: p.closure, lambda p: p.closure_weight, _CLOSURE,
            _REST["closure"],
        ),
    }  # fmt: skip
    for name in ("spread", "round"):
        tracks[name] = _pulled(
            segments, count, lambda p, s, name=name: getattr(p, name), lambda p: p.lip_weight,
            _LIPS, _REST[name],
        )  # fmt: skip
    for i in range(3):
        tracks[f"f{i + 1}"] = _pulled(
            segments, count, lambda p, s, i=i: p.formants[i], lambda p: 1.0, _TRACT,
            (500.0, 1500.0, 2500.0)[i],
        )  # fmt: skip
    # A jaw has mass.
    for name in ("jaw", "spread", "round"):
        tracks[name] = ndimage.gaussian_filter1d(tracks[name], 0.012 * _CONTROL_RATE)
    # Half of the first formant is the jaw's: a hurried vowel is less open and sounds like it.
    tracks["f1"] = 0.5 * tracks["f1"] + 0.5 * (250 + 530 * tracks["jaw"])
    tracks["voiced"] = np.clip(_held(segments, count, lambda p: p.voice), 0, 1)
    return tracks


def _jaw(phoneme: Phoneme, segment: Segment) -> float:
    return min(1.0, phoneme.jaw * (0.6 + 0.4 * segment.stress))


def _pulled(
    segments: Sequence[Segment],
    count: int,
    target: Callable[[Phoneme, Segment], float],
    weight: Callable[[Phoneme], float],
    fall: tuple[float, float],
    rest: float,
) -> np.ndarray:
    """(count,): the mean of all targets, weighted by the pull of each phoneme at each time."""
    least = 0.03
    total, pull = np.full(count, least * rest), np.full(count, least)
    for segment in segments:
        phoneme = PHONEMES[segment.name]
        first = max(0, int((segment.start - _REACH) * _CONTROL_RATE))
        last = min(count, int((segment.stop + _REACH) * _CONTROL_RATE) + 1)
        time = np.arange(first, last) / _CONTROL_RATE
        # Its middle half is the phoneme's own.
        quarter = 0.25 * (segment.stop - segment.start)
        early = np.maximum(0.0, segment.start + quarter - time)
        late = np.maximum(0.0, time - segment.stop + quarter)
        strength = weight(phoneme) * np.exp(-fall[0] * early - fall[1] * late)
        total[first:last] += strength * target(phoneme, segment)
        pull[first:last] += strength
    return total / pull


def _held(
    segments: Sequence[Segment], count: int, value: Callable[[Phoneme], float], *, scaled=False
) -> np.ndarray:
    """(count,): a value of the phoneme that is being said, zero in pauses, with soft edges."""
    track = np.zeros(count)
    for segment in segments:
        factor = segment.loudness if scaled else 1.0
        span = slice(round(segment.start * _CONTROL_RATE), round(segment.stop * _CONTROL_RATE))
        track[span] = factor * value(PHONEMES[segment.name])
    return ndimage.gaussian_filter1d(track, 0.006 * _CONTROL_RATE)


def _sound(
    segments: Sequence[Segment],
    tracks: dict[str, np.ndarray],
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    length = (count - 1) * _STEP
    at = np.arange(length) / _STEP

    def heard(value: Callable[[Phoneme], float]) -> np.ndarray:
        return np.interp(at, np.arange(count), _held(segments, count, value, scaled=True))

    pulse = np.diff(np.floor(np.cumsum(_pitch(segments, count, at, rng)) / RATE), prepend=0.0)
    source = signal.lfilter([1.0], [1.0, -0.96], pulse) * heard(lambda p: p.voice)
    source += 0.25 * rng.normal(0, 1, length) * heard(lambda p: p.breath)
    formants = (("f1", 70.0), ("f2", 100.0), ("f3", 150.0))
    voice = resonate(source, [(tracks[name], width) for name, width in formants], _STEP)
    centre = np.full(count, 4000.0)
    for segment in segments:
        span = slice(int(segment.start * _CONTROL_RATE), int(segment.stop * _CONTROL_RATE) + 1)
        centre[span] = PHONEMES[segment.name].centre
    noise = rng.normal(0, 1, length) * (heard(lambda p: p.noise))
    burst, place = _releases(segments, count)
    noise += rng.normal(0, 1, length) * np.interp(at, np.arange(count), burst)
    centre = np.where(place > 0, place, centre)
    hiss = resonate(noise, [(centre, 900.0)], _STEP)
    # Resonators let low tones through.
    hiss = np.asarray(signal.lfilter([1.0, -1.0], [1.0, -0.9], hiss))
    sound = voice / (np.percentile(np.abs(voice), 99.5) + 1e-9)
    sound = sound + 0.35 * hiss / (np.percentile(np.abs(hiss), 99.5) + 1e-9)
    return (0.8 * sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def _releases(segments: Sequence[Segment], count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,) strength and Hz of the noise with which stops open, at the end of each."""
    strength, place = np.zeros(count), np.zeros(count)
    for segment in segments:
        if segment.name in STOPS:
            end = round(segment.stop * _CONTROL_RATE)
            voiced = PHONEMES[segment.name].voice > 0
            span = slice(max(0, end - (2 if voiced else 4)), max(0, end))
            strength[span] = segment.loudness * (0.3 if voiced else 0.6)
            place[span] = STOPS[segment.name]
    return strength, place


def _pitch(
    segments: Sequence[Segment], count: int, at: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Hz per sample: a slow tune around 118, higher on stressed syllables."""
    stress = np.ones(count)
    for segment in segments:
        span = slice(int(segment.start * _CONTROL_RATE), int(segment.stop * _CONTROL_RATE) + 1)
        stress[span] = segment.stress
    tune = ndimage.gaussian_filter1d(rng.normal(0, 1, count), 0.3 * _CONTROL_RATE, mode="wrap")
    tune /= tune.std() + 1e-9
    stress = ndimage.gaussian_filter1d(stress, 0.04 * _CONTROL_RATE)
    return np.interp(at, np.arange(count), 118 * 2 ** (0.1 * tune + 0.3 * (stress - 1)))
