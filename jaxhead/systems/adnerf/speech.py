"""What a frame hears: features of speech on the scale of the training frames.

Fitted on training frames only: what a held-out frame sounds like changes no number of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxhead.audio.features import extractor
from jaxhead.audio.waveforms import mono
from jaxhead.audio.windows import BEFORE, frame_windows
from jaxhead.files.rows import RowFile
from jaxhead.systems.adnerf.config import AudioConfig

MOST_DEVIATIONS = 4.0
"""Features farther from the training frames' mean are held there: digital silence, a loud click."""


class SpeechStream(NamedTuple):
    """Rows of features in the making, see `audio.streams.FeatureStream` and `Extractor`."""

    count: int
    rate: float
    beyond: np.ndarray
    blocks: Iterator[np.ndarray]


def speech_stream(samples: np.ndarray | RowFile, rate: int, config: AudioConfig) -> SpeechStream:
    """The features of a sound that a run with this configuration hears, not normalised."""
    found = extractor(config.features)
    stream = found.stream(mono(samples, rate))
    return SpeechStream(stream.count, found.rate, found.beyond, stream.blocks)


def fit_scale(
    rows: np.ndarray, rate: float, fps: float, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (W,) of the rows (N, W) that the training frames begin and end with."""
    per_frame = rate / fps
    first = np.floor(train * per_frame).astype(int)
    last = np.ceil((train + 1) * per_frame).astype(int)
    used = np.zeros(len(rows), bool)
    for start, stop in zip(first, last):
        used[start:stop] = True
    chosen = rows[used] if used.any() else rows
    mean = chosen.mean(0) if len(chosen) else np.zeros(rows.shape[1])
    deviation = chosen.std(0) if len(chosen) else np.ones(rows.shape[1])
    # A feature that never moved says nothing, whatever it does later.
    return mean.astype(np.float32), np.where(deviation > 1e-5, deviation, np.inf).astype(np.float32)


def normalised(rows: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(..., W) float32 rows in deviations from the mean, held within `MOST_DEVIATIONS`."""
    return np.clip((rows - mean) / deviation, -MOST_DEVIATIONS, MOST_DEVIATIONS).astype(np.float32)


class Speech:
    """Normalised rows of a sound in a file, and the windows of a frame and its neighbours.

    Memory does not grow with the sound: rows go to disk as they are made.
    """

    def __init__(self, stream: SpeechStream, mean: np.ndarray, deviation: np.ndarray):
        self.rate = stream.rate
        self.beyond = normalised(stream.beyond, mean, deviation)
        self.rows: RowFile | np.ndarray = RowFile(None, (len(mean),))
        for block in stream.blocks:
            self.rows.append(normalised(block, mean, deviation))

    @classmethod
    def of_rows(cls, rows: np.ndarray, rate: float, beyond: np.ndarray) -> Speech:
        """Speech whose normalised rows (N, W) are in memory."""
        speech = cls.__new__(cls)
        speech.rows, speech.rate, speech.beyond = rows, rate, beyond
        return speech

    def __len__(self) -> int:
        return len(self.rows)

    def windows(self, frame: int, *, fps: float, size: int, count: int) -> np.ndarray:
        """(count, size, W): the windows of the frames around a frame, see `neighbours_of`."""
        frames = neighbours_of(np.int32(frame), count)
        low = int(np.floor(frames[0] / fps * self.rate)) - size
        high = int(np.ceil(frames[-1] / fps * self.rate)) + size + 1
        start, stop = (min(max(0, edge), len(self)) for edge in (low, high))
        rows = np.broadcast_to(self.beyond, (high - low, len(self.beyond))).copy()
        rows[start - low : stop - low] = self.rows[start:stop]
        per_frame = self.rate / fps
        first = np.floor(frames * per_frame + 0.5005).astype(int) - size // 2 - low
        return rows[first[:, None] + np.arange(size)]


def neighbours_of(frames: np.ndarray, count: int) -> np.ndarray:
    """(..., count) int32: the frames that smoothing looks at, from 4 before to 3 behind for 8."""
    before = BEFORE if count > BEFORE else count // 2
    return np.asarray(frames)[..., None] + np.arange(-before, count - before, dtype=np.int32)


def device_windows(rows, beyond, frames, *, rate: float, fps: float, size: int, count: int):
    """(..., count, size, W) like `Speech.windows`, of rows (N, W) on the device, inside jit."""
    before = BEFORE if count > BEFORE else count // 2
    around = frames[..., None] + np.arange(-before, count - before, dtype=np.int32)
    return frame_windows(rows, around, rate=rate, fps=fps, size=size, beyond=beyond)
