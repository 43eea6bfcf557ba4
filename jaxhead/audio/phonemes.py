"""Phonemes: what the mouth aims at and what is heard, and babble made of them.

Formants are those of an adult male speaker (Peterson and Barney 1952, rounded), noises and
durations textbook values. Targets are chosen such that loudness says little about the opening of
the mouth: close vowels and nasals are as loud as open ones, sibilants are loud behind closed teeth.
"""

from typing import NamedTuple

import numpy as np


class Phoneme(NamedTuple):
    """One speech sound.

    Attributes:
      jaw, spread, round, closure: targets in [0, 1]: opening of the jaw, spreading and rounding of
        the lips, pressing together of the lips.
      jaw_weight, lip_weight, closure_weight: how much the sound insists on its jaw, on spreading
          and
        rounding, and on its closure against its neighbours.
      formants: Hz.
      voice, breath, noise: strength of the voice, of breath through the formants, and of noise at
        the teeth or lips.
      centre: Hz, of that noise.
      seconds: mean duration.
    """

    jaw: float
    spread: float
    round: float
    closure: float
    jaw_weight: float
    lip_weight: float
    closure_weight: float
    formants: tuple[float, float, float]
    voice: float
    breath: float
    noise: float
    centre: float
    seconds: float


def _vowel(jaw, spread, round_, formants, voice, seconds=0.13):
    return Phoneme(
        jaw, spread, round_, 0.0, 1.0, 1.2, 1.0, formants, voice, 0.0, 0.0, 4000.0, seconds
    )


def _consonant(
    jaw, *, jaw_weight, formants, closure=0.0, closure_weight=1.0, round_=0.0, lip_weight=0.15,
    spread=0.2, voice=0.0, breath=0.0, noise=0.0, centre=4000.0, seconds=0.08,
):  # fmt: skip
    return Phoneme(
        jaw, spread, round_, closure, jaw_weight, lip_weight, closure_weight, formants, voice,
        breath, noise, centre, seconds,
    )  # fmt: skip


# A resonator's gain at its frequency falls with the formant: the voice of close vowels makes up
# for it, so that they are about as loud as open ones.
VOWELS = {
    "i": _vowel(0.10, 1.00, 0.00, (270, 2290, 3010), 1.35),
    "I": _vowel(0.25, 0.70, 0.00, (390, 1990, 2550), 1.05, 0.09),
    "e": _vowel(0.42, 0.75, 0.00, (480, 1900, 2550), 0.95),
    "E": _vowel(0.60, 0.50, 0.00, (560, 1800, 2500), 0.85),
    "a": _vowel(1.00, 0.35, 0.00, (760, 1250, 2550), 0.70, 0.15),
    "O": _vowel(0.70, 0.00, 0.45, (600, 880, 2450), 0.75, 0.14),
    "o": _vowel(0.38, 0.00, 0.80, (450, 800, 2350), 0.95),
    "u": _vowel(0.12, 0.00, 1.00, (300, 760, 2240), 1.35),
    "y": _vowel(0.12, 0.10, 0.95, (280, 1800, 2200), 1.35),
    "@": _vowel(0.35, 0.30, 0.05, (500, 1400, 2450), 0.95, 0.06),
}
_LIPS = {"jaw_weight": 0.7, "closure": 1.0, "closure_weight": 60.0, "formants": (250, 900, 2200)}
_TIP = (320, 1700, 2600)
CONSONANTS = {
    "p": _consonant(0.12, **_LIPS, breath=0.0, seconds=0.085),
    "b": _consonant(0.12, **_LIPS, voice=0.25, seconds=0.07),
    "m": _consonant(0.12, **_LIPS, voice=0.95, seconds=0.08),
    "f": _consonant(0.14, jaw_weight=1.2, closure=0.55, closure_weight=20.0,
                    formants=(300, 1100, 2300), noise=0.30, centre=5200.0, seconds=0.09),
    "v": _consonant(0.14, jaw_weight=1.0, closure=0.55, closure_weight=20.0,
                    formants=(300, 1100, 2300), voice=0.7, noise=0.12, centre=5200.0, seconds=0.06),
    "t": _consonant(0.12, jaw_weight=1.5, formants=_TIP, seconds=0.075),
    "d": _consonant(0.14, jaw_weight=1.2, formants=_TIP, voice=0.25, seconds=0.06),
    "n": _consonant(0.16, jaw_weight=0.8, formants=(280, 1600, 2600), voice=1.05, seconds=0.065),
    "s": _consonant(0.06, jaw_weight=4.0, formants=_TIP, noise=0.85, centre=6000.0, seconds=0.10),
    "z": _consonant(0.07, jaw_weight=4.0, formants=_TIP, voice=0.6, noise=0.45, centre=6000.0),
    "S": _consonant(0.08, jaw_weight=4.0, formants=(320, 1800, 2400), round_=0.7, lip_weight=1.0,
                    noise=0.95, centre=3100.0, seconds=0.105),
    "l": _consonant(0.28, jaw_weight=0.5, formants=(360, 1150, 2600), voice=1.1, seconds=0.065),
    "r": _consonant(0.25, jaw_weight=0.5, formants=(330, 1150, 1650), round_=0.4, lip_weight=0.5,
                    voice=1.1, seconds=0.07),
    "k": _consonant(0.25, jaw_weight=0.3, formants=(320, 1900, 2200), seconds=0.08),
    "g": _consonant(0.25, jaw_weight=0.3, formants=(320, 1900, 2200), voice=0.25, seconds=0.065),
    "h": _consonant(0.40, jaw_weight=0.05, lip_weight=0.02, formants=(500, 1500, 2500),
                    breath=0.5, seconds=0.06),
    "w": _consonant(0.14, jaw_weight=0.8, formants=(300, 650, 2200), round_=1.0, lip_weight=2.0,
                    spread=0.0, voice=1.15, seconds=0.07),
    "j": _consonant(0.12, jaw_weight=0.8, formants=(270, 2200, 2900), spread=0.9, lip_weight=0.8,
                    voice=1.15, seconds=0.065),
}  # fmt: skip
PHONEMES = VOWELS | CONSONANTS
STOPS = {"p": 1300.0, "b": 1000.0, "t": 4200.0, "d": 3800.0, "k": 2000.0, "g": 1800.0}
"""Hz at which a stop's release is heard."""


class Segment(NamedTuple):
    """A phoneme in time.

    Attributes:
      name: key of `PHONEMES`.
      start, stop: seconds.
      loudness: factor on what is heard.
      stress: 1 on average; lengthens, opens and raises the pitch.
    """

    name: str
    start: float
    stop: float
    loudness: float
    stress: float


def babble(seconds: float, rng: np.random.Generator) -> list[Segment]:
    """Returns segments in order: phrases of syllables, between them pauses in which nothing is
    said.

    The loudness changes from phrase to phrase and from syllable to syllable (4 dB each), not with
    the openness of the vowel.

    Args:
      seconds: length to fill; the last segment begins before it.
      rng: of everything random.
    """
    segments, now = [], 0.12
    consonants, vowels = list(CONSONANTS), list(VOWELS)
    while now < seconds:
        tempo, loudness = rng.uniform(0.85, 1.25), 10 ** (rng.normal(0, 4) / 20)
        for _ in range(rng.integers(4, 13)):
            stress = rng.uniform(0.75, 1.25)
            level = loudness * 10 ** (rng.normal(0, 4) / 20)
            names = [str(rng.choice(consonants)), str(rng.choice(vowels))]
            if rng.random() < 0.15:
                names = names[1:]
            if rng.random() < 0.3:
                names.append(str(rng.choice(consonants)))
            for name in names:
                length = PHONEMES[name].seconds * tempo * rng.uniform(0.8, 1.25)
                length *= stress if name in VOWELS else 1.0
                segments.append(Segment(name, now, now + length, level, stress))
                now += length
        now += rng.uniform(0.2, 0.6)
    return [segment for segment in segments if segment.start < seconds]
