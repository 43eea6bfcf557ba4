"""English from eSpeak NG, where it is installed, with the mouth of the phonemes that it names.

The sound is eSpeak's; the mouth comes from its phonemes and their times through the same targets
and co-articulation as babble (`articulation`).
"""

import json
import subprocess
import sys

import numpy as np
from scipy import signal

from jaxhead.audio.articulation import articulate, at_frames
from jaxhead.audio.phonemes import Segment
from jaxhead.audio.speechlike import RATE, Speech
from jaxhead.files.errors import InputError

VOICE = "en-us"
_WORDS_PER_SECOND = 3.5
# Every phoneme of English, in words that are short.
_WORDS = (
    "a apple arm away baby back bad beautiful before big bird blue boat book boy bring brother "
    "brown build bush buy cake call car chair cheese child choose church city cloud coffee cold "
    "come cook cup dance day dear dog door dream drink early earth east easy eight every eye face "
    "fall family far fast father few field find fish five flower foot forest four fox fresh "
    "friend full game garden girl give go gold good grass green group hand happy have head hear "
    "heavy help here high home hope horse house how ice idea jacket job join joy judge jump keep "
    "king kitchen know lake lamp language large laugh leaf learn leave letter light lion little "
    "long look love machine make mama map measure meet mild milk moon more morning mother mouth "
    "move much music my name near new night nine north nose now number ocean often oil old one "
    "open orange our over paper park past peace people phone pig place play pleasure please point "
    "poor pull put queen quick quiet rain read red rich ride right river road room round rule run "
    "sad same school sea see seven sharp she sheep ship shoe short show simple sing sister six "
    "sleep slow small smile snow soft some song soup south speak spoon spring star stone story "
    "street strong sugar summer sun sure sweet table take talk tea teach tell ten thank that "
    "their thin thing think this three through time together told tooth top town tree true two "
    "under use usual value very view voice wait walk warm wash watch water way we weather week "
    "well west wet what wheel where which white who wide wife wind window winter with woman "
    "wonder wood word work world write year yellow yes yesterday you young zebra zero zoo"
).split()
# eSpeak's mnemonics, without stress, length and numbers, to ours; a diphthong is two.
_NAMES = {
    "@": "@", "3": "@", "V": "a", "a": "a", "A": "a", "0": "O", "O": "O", "E": "E", "e": "e",
    "i": "i", "I": "I", "u": "u", "U": "u", "o": "o", "Y": "y", "y": "y", "Q": "O",
    "aI": "a I", "aU": "a u", "eI": "e i", "oU": "o u", "OI": "O i", "@U": "@ u", "aI@": "a I @",
    "aU@": "a u @", "A@": "a r", "O@": "O r", "o@": "o r", "e@": "E r", "i@": "i r", "U@": "u r",
    "I@": "i r", "@L": "@ l", "p": "p", "b": "b", "m": "m", "f": "f", "v": "v", "t": "t", "d": "d",
    "n": "n", "N": "g", "s": "s", "z": "z", "S": "S", "Z": "S", "tS": "t S", "dZ": "d S", "T": "s",
    "D": "z", "l": "l", "L": "l", "r": "r", "k": "k", "g": "g", "h": "h", "w": "w", "j": "j",
    "x": "h", "?": "h", "R": "r",
}  # fmt: skip


def espeak_speech(*, frames: int, fps: float = 25.0, seed: int = 0) -> Speech:
    """Returns `frames` video frames of English words and the motion of the mouth that says them.

    Equal seeds give equal words; the sound depends on the release of eSpeak NG.

    Args:
        frames: number of video frames, at least 1.
        fps: video frames per second.
        seed: chooses the words.

    Raises:
        InputError: eSpeak NG is not installed, or fails.
    """
    if frames < 1 or fps <= 0:
        raise ValueError(
            f"frames={frames}, fps={fps}: expected at least one frame at a rate above 0"
        )
    seconds = frames / fps
    rate, named, sound = _process(text_for(seconds, np.random.default_rng([seed, 73])))
    common = np.gcd(rate, RATE)
    samples = signal.resample_poly(sound / 32768.0, RATE // common, rate // common)
    count = int(round(seconds * RATE))
    samples = np.pad(samples[:count], (0, max(0, count - len(samples)))).astype(np.float32)
    tracks = articulate(segments_of(named), int(np.ceil(seconds * 200)) + 2)
    return Speech(samples=np.clip(samples, -1, 1), **at_frames(tracks, frames, fps))


def text_for(seconds: float, rng: np.random.Generator) -> str:
    """Returns words in phrases, enough for so many seconds."""
    words = []
    for _ in range(int(np.ceil(seconds * _WORDS_PER_SECOND)) + 10):
        words.append(str(rng.choice(_WORDS)))
        if rng.random() < 0.15:
            words[-1] += str(rng.choice([",", "."]))
    return " ".join(words)


def segments_of(named: list[list]) -> list[Segment]:
    """Returns segments from [milliseconds, eSpeak's mnemonic] in order; pauses and what is unknown
    are gaps.
    """
    segments = []
    for (start, name), (stop, _) in zip(named, named[1:]):
        ours = _ours(name)
        if not ours or stop <= start:
            continue
        edges = np.linspace(start, stop, len(ours) + 1) / 1000.0
        for part, first, last in zip(ours, edges, edges[1:]):
            segments.append(Segment(part, float(first), float(last), 1.0, 1.0))
    return segments


def _ours(name: str) -> list[str]:
    """Our phonemes of a mnemonic: a known one after leaving out marks from its end."""
    name = name.strip("',%=;_|^").replace(":", "").replace("#", "").replace("-", "")
    while name and name not in _NAMES:
        name = name[:-1]
    return _NAMES.get(name, "").split()


def _process(text: str) -> tuple[int, list[list], np.ndarray]:
    """Samples per second, phonemes and 16-bit samples from a process of its own."""
    command = [sys.executable, "-m", "jaxhead.audio.espeak_process", VOICE]
    limit = 60 + len(text) // 100
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"eSpeak NG did not end within {limit} s") from error
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1][:200]
        raise InputError(
            f"speech by eSpeak NG: {reason or f'it ended with {done.returncode}'}; install it "
            "(espeak-ng), or take the built-in phonemes"
        )
    head, _, sound = done.stdout.partition(b"\n")
    stored = json.loads(head)
    return int(stored["rate"]), stored["phonemes"], np.frombuffer(sound, "<i2").astype(np.float64)
