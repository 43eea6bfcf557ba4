"""One entry to all features of speech: waveforms in, rows per second out, whole or block by block.

| kind | width | rows per second | needs |
|---|---|---|---|
| `mel` | 83 | 50 | nothing |

Rows are not normalised: a system fits mean and deviation on its training frames.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.audio.mel import BANDS, FLOOR, HOP, RATE, log_energy, log_mel
from jaxhead.audio.pitch import Candidates, best_path, pitch_candidates
from jaxhead.audio.waveforms import mono, piece
from jaxhead.audio.windows import SIZE, check_length, frame_windows
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile

_BLOCK = 512
_MARGIN = HOP


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


class FeatureStream(NamedTuple):
    """Features that are computed while they are read.

    Attributes:
        count: number of rows.
        rate, beyond: as in `Features`.
        blocks: the rows in order, (n, W) float32 at a time.
    """

    count: int
    rate: float
    beyond: np.ndarray
    blocks: Iterator[np.ndarray]


def features(
    samples: np.ndarray | RowFile, rate: int, *, kind: str = "mel", what: str = "the sound"
) -> Features:
    """Returns the features of a whole sound.

    Args:
        samples: (S,) or (S, channels), floats in [-1, 1] or int16; S may be 0.
        rate: samples per second.
        kind: see the table above.
        what: name of the sound, for messages.

    Raises:
        InputError: an unknown kind, or samples or a rate that cannot be used.
    """
    stream = feature_stream(samples, rate, kind=kind, what=what)
    blocks = list(stream.blocks)
    rows = np.concatenate(blocks) if blocks else np.zeros((0, len(stream.beyond)), np.float32)
    return Features(rows, stream.rate, stream.beyond)


def feature_stream(
    samples: np.ndarray | RowFile, rate: int, *, kind: str = "mel", what: str = "the sound"
) -> FeatureStream:
    """Returns the features of a sound block by block; arguments as for `features`."""
    if kind not in _KINDS:
        raise InputError(f"feature {kind!r} is unknown, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind](mono(samples, rate, what=what))


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


def _mel_stream(samples: np.ndarray | RowFile) -> FeatureStream:
    """log10 mel bands 0 to 79, log2 of pitch / 100 Hz (0 where unvoiced), voicing in [0, 1], log10
    of the root mean square.

    The pitch is chosen along the whole sound, for which its candidates (120 bytes per row) are
    held.
    """
    count = -(-len(samples) // HOP)
    beyond = np.full(BANDS + 3, np.log10(FLOOR), np.float32)
    beyond[BANDS : BANDS + 2] = 0.0

    def blocks() -> Iterator[np.ndarray]:
        track = _pitch_track(samples, count)
        for start in range(0, count, _BLOCK):
            stop = min(count, start + _BLOCK)
            values = np.asarray(_mel_block(_segment(samples, start)))[: stop - start]
            yield np.concatenate([values[:, :BANDS], track[start:stop], values[:, BANDS:]], 1)

    return FeatureStream(count, RATE / HOP, beyond, blocks())


def _segment(samples: np.ndarray | RowFile, row: int) -> np.ndarray:
    """The samples of a block of rows and a margin, of one length so that one program serves all."""
    return piece(samples, row * HOP - _MARGIN, (row + _BLOCK) * HOP + _MARGIN)


def _pitch_track(samples: np.ndarray | RowFile, count: int) -> np.ndarray:
    """(count, 2): octaves above 100 Hz, 0 where unvoiced, and voicing."""
    if not count:
        return np.zeros((0, 2), np.float32)
    parts = [_pitch_block(_segment(samples, start)) for start in range(0, count, _BLOCK)]
    found = Candidates(*(np.concatenate(part) for part in zip(*jax.device_get(parts))))
    valid = np.arange(len(found.level)) < count
    hertz, strength = jax.device_get(_path(found, _loudest(samples), valid))
    octaves = np.log2(np.where(hertz > 0, hertz, 100.0) / 100.0)
    return np.stack([octaves, strength], 1).astype(np.float32)[:count]


def _loudest(samples: np.ndarray | RowFile) -> np.float32:
    """The largest distance from the mean, read in blocks."""
    spans = [slice(i, i + (1 << 20)) for i in range(0, len(samples), 1 << 20)]
    mean = sum(float(np.sum(samples[span], dtype=np.float64)) for span in spans) / len(samples)
    return np.float32(max(float(np.max(np.abs(samples[span] - mean))) for span in spans))


@jax.jit
def _mel_block(segment: jax.Array) -> jax.Array:
    lead = (512 - HOP) // 2 - _MARGIN
    mel = log_mel(segment, lead=lead, rows=_BLOCK)
    return jnp.concatenate([mel, log_energy(segment, lead=lead, rows=_BLOCK)[:, None]], 1)


@jax.jit
def _pitch_block(segment: jax.Array) -> Candidates:
    return pitch_candidates(segment, first=HOP // 2 + _MARGIN, rows=_BLOCK)


_path = jax.jit(
    lambda found, peak, valid: best_path(found, peak=peak, step=HOP / RATE, valid=valid)
)

_KINDS: dict[str, Callable[..., FeatureStream]] = {"mel": _mel_stream}
