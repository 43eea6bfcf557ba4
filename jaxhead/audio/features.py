"""One entry to all features of speech: waveforms in, rows per second out, whole or block by block.

| kind | width | rows per second | needs |
|---|---|---|---|
| `mel` | 83 | 50 | nothing |
| `deepspeech` | 29 | 50 | DeepSpeech 0.1.0; AD-NeRF's rows |
| `deepspeech-25` | 29 | 25 | DeepSpeech 0.1.0; DINet's rows |
| `hubert` | 1024 | 50 | HuBERT-large; GeneFace's, Real3D-Portrait's and ER-NeRF's rows |

Rows are not normalised: a system fits mean and deviation on its training frames.
"""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxhead.audio.deepspeech import deepspeech_extractor
from jaxhead.audio.hubert import hubert_extractor
from jaxhead.audio.mel_stream import mel_extractor
from jaxhead.audio.streams import Extractor, gathered, write_stream
from jaxhead.audio.waveforms import mono
from jaxhead.audio.windows import SIZE, check_length, frame_windows
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile


class Features(NamedTuple):
    """Features of one sound.

    Attributes:
        rows: (N, W) float32; row k stands for the time from k / rate to (k + 1) / rate.
        rate: rows per second.
        beyond: (W,) float32, what stands for rows before the sound and behind it: silence for
            `mel`, zero for networks that were trained with zeros there.
    """

    rows: np.ndarray
    rate: float
    beyond: np.ndarray


def extractor(kind: str = "mel", *, assets: str | os.PathLike | None = None) -> Extractor:
    """Returns what makes features of one kind; networks are read once, for any number of sounds.

    Args:
        kind: see the table above.
        assets: the weights, or a folder that holds them (see `files.weights`).

    Raises:
        InputError: an unknown kind, or weights that are missing or of another network.
    """
    if kind not in _KINDS:
        raise InputError(f"feature {kind!r} is unknown, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind](assets)


def features(
    samples: np.ndarray | RowFile,
    rate: int,
    *,
    kind: str | Extractor = "mel",
    assets: str | os.PathLike | None = None,
    what: str = "the sound",
) -> Features:
    """Returns the features of a whole sound.

    Args:
        samples: (S,) or (S, channels), floats in [-1, 1] or int16; S may be 0.
        rate: samples per second.
        kind: see the table above, or what `extractor` returned.
        assets: as for `extractor`.
        what: name of the sound, for messages.

    Raises:
        InputError: an unknown kind, missing weights, or samples or a rate that cannot be used.
    """
    found = extractor(kind, assets=assets) if isinstance(kind, str) else kind
    stream = found.stream(mono(samples, rate, what=what))
    return Features(gathered(stream, len(found.beyond)), found.rate, found.beyond)


def write_features(
    path: str | os.PathLike,
    samples: np.ndarray | RowFile,
    rate: int,
    *,
    kind: str | Extractor = "mel",
    assets: str | os.PathLike | None = None,
    what: str = "the sound",
) -> int:
    """Writes the features of a sound to an .npy file as they are made; returns the number of rows.

    Besides the samples, memory holds blocks and a few numbers per row. The file appears when it is
    complete: (rows, W) float32.

    Args:
        path: the file; one that exists is replaced.
        samples, rate, kind, assets, what: as for `features`. A `RowFile` of samples at 16 kHz is
            read in pieces.
    """
    found = extractor(kind, assets=assets) if isinstance(kind, str) else kind
    stream = found.stream(mono(samples, rate, what=what))
    write_stream(path, stream, len(found.beyond))
    return stream.count


def video_features(
    found: Features, *, frames: int, fps: float = 25.0, size: int = SIZE, what: str = "the sound"
) -> np.ndarray:
    """Returns (frames, size, W) float32: the window of each frame of a video (see `frame_windows`).

    Sound that is longer or shorter than the pictures by more than a frame is a warning (see
    `check_length`); `beyond` stands for what is missing.

    Args:
        found: of the video's sound.
        frames: number of pictures.
        fps: pictures per second.
        size: rows per window.
        what: name of the sound, for the warning.
    """
    check_length(len(found.rows) / found.rate, frames=frames, fps=fps, what=what)
    windows = frame_windows(
        found.rows, np.arange(frames), rate=found.rate, fps=fps, size=size, beyond=found.beyond
    )
    return np.asarray(windows)


_KINDS: dict[str, Callable[..., Extractor]] = {
    "mel": lambda assets: mel_extractor(),
    "deepspeech": deepspeech_extractor,
    "deepspeech-25": functools.partial(deepspeech_extractor, halved=True),
    "hubert": hubert_extractor,
}
