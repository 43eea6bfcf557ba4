"""The feature that needs no asset, in blocks: log-mel bands, pitch, voicing and loudness.

Columns 0 to 79 are log10 mel bands, column 80 is log2 of the pitch / 100 Hz (0 where unvoiced), 81
the voicing in [0, 1], 82 log10 of the root mean square. A factor on the samples adds a constant to
the bands and to 82 above their floor and changes nothing else; the constant goes with the
normalisation that a system fits.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.audio.mel import BANDS, FLOOR, HOP, RATE, SIZE, log_energy, log_mel
from jaxhead.audio.pitch import Candidates, best_path, pitch_candidates
from jaxhead.audio.streams import Extractor, FeatureStream
from jaxhead.audio.waveforms import piece
from jaxhead.files.rows import RowFile

WIDTH = BANDS + 3
_BLOCK = 128
_MARGIN = HOP


def mel_extractor() -> Extractor:
    """Returns the extractor; silence stands before the sound and behind it."""
    beyond = np.full(WIDTH, np.log10(FLOOR), np.float32)
    beyond[BANDS : BANDS + 2] = 0.0
    return Extractor(RATE / HOP, beyond, mel_stream)


def mel_stream(samples: np.ndarray | RowFile) -> FeatureStream:
    """Returns (n, 83) blocks of (S,) samples at 16 kHz: a row per begun 20 ms.

    The pitch is chosen along the whole sound, for which its candidates (120 bytes per row) are
    held.
    """
    count = -(-len(samples) // HOP)

    def blocks() -> Iterator[np.ndarray]:
        track = _pitch_track(samples, count)
        for start in range(0, count, _BLOCK):
            stop = min(count, start + _BLOCK)
            values = np.asarray(_mel_block(_segment(samples, start)))[: stop - start]
            yield np.concatenate([values[:, :BANDS], track[start:stop], values[:, BANDS:]], 1)

    return FeatureStream(count, blocks())


def _segment(samples: np.ndarray | RowFile, row: int) -> np.ndarray:
    """The samples of a block of rows and a margin, of one length so that one program serves all."""
    return piece(samples, row * HOP - _MARGIN, (row + _BLOCK) * HOP + _MARGIN)


def _pitch_track(samples: np.ndarray | RowFile, count: int) -> np.ndarray:
    """(count, 2): octaves above 100 Hz, 0 where unvoiced, and voicing."""
    if not count:
        return np.zeros((0, 2), np.float32)
    # Fetched one by one: dispatched at once, all blocks would be in memory at once.
    parts = [
        jax.device_get(_pitch_block(_segment(samples, start))) for start in range(0, count, _BLOCK)
    ]
    joined: list[Any] = [np.concatenate(part) for part in zip(*parts)]
    found = Candidates(*joined)
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
    lead = (SIZE - HOP) // 2 - _MARGIN
    mel = log_mel(segment, lead=lead, rows=_BLOCK)
    return jnp.concatenate([mel, log_energy(segment, lead=lead, rows=_BLOCK)[:, None]], 1)


@jax.jit
def _pitch_block(segment: jax.Array) -> Candidates:
    return pitch_candidates(segment, first=HOP // 2 + _MARGIN, rows=_BLOCK)


_path = jax.jit(
    lambda found, peak, valid: best_path(found, peak=peak, step=HOP / RATE, valid=valid)
)
