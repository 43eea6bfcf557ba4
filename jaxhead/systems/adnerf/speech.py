"""What a frame hears: features of speech on the scale of the training frames.

Fitted on training frames only: what a held-out frame sounds like changes no number of these.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxhead.audio.features import extractor
from jaxhead.audio.streams import gathered
from jaxhead.audio.waveforms import mono
from jaxhead.audio.windows import BEFORE, check_length, frame_windows
from jaxhead.captures.format import Capture
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile
from jaxhead.systems.adnerf.config import AudioConfig

MOST_DEVIATIONS = 4.0
"""Features farther from the training frames' mean are held there: digital silence, a loud click."""


class Scale(NamedTuple):
    """What puts features on a common scale.

    Attributes:
      mean, deviation: (W,) float32; limit: () float32, in deviations.
    """

    mean: np.ndarray
    deviation: np.ndarray
    limit: np.ndarray | np.float32

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(..., W) float32 rows in deviations from the mean, held within the limit."""
        scaled = (rows - self.mean) / self.deviation
        return np.clip(scaled, -self.limit, self.limit).astype(np.float32)

    @classmethod
    def identity(cls, width: int) -> Scale:
        """Leaves rows as they are, as published networks want them."""
        zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
        return cls(zeros, ones, np.float32(np.inf))


class Heard(NamedTuple):
    """What a capture sounds like: rows (N, W) float32, not scaled; rows per second; (W,) beyond."""

    rows: np.ndarray
    rate: float
    beyond: np.ndarray


def heard_by(capture: Capture, config: AudioConfig) -> Heard:
    """The features of a capture: those that came with it under that name, else of its sound.

    Raises:
      InputError: it has neither.
    """
    stored = capture.audio_features() if hasattr(capture, "audio_features") else {}
    if config.features in stored:
        return rows_of_windows(stored[config.features], float(capture.fps))
    samples = capture.audio()
    if samples is None or not len(samples):
        also = f" and no features {config.features!r}" if stored else ""
        raise InputError(f"{capture.path}: has no sound{also}, expected the speech of its frames")
    check_length(
        len(samples) / capture.audio_rate, frames=len(capture), fps=capture.fps,
        what=str(capture.path),
    )  # fmt: skip
    found = extractor(config.features)
    stream = found.stream(mono(samples, capture.audio_rate, what=str(capture.path)))
    return Heard(gathered(stream, len(found.beyond)), float(found.rate), found.beyond)


def rows_of_windows(windows: np.ndarray, fps: float) -> Heard:
    """Rows in time from windows per frame: AD-NeRF's (N, 16, 29), ER-NeRF's (N, 2, 1024), (N, W).

    The middle two rows of a window are those of its frame; frames without one more have one row.
    """
    if windows.ndim == 2 or windows.shape[1] == 1:
        rows, rate = windows.reshape(len(windows), -1), fps
    else:
        middle = windows.shape[1] // 2
        # Of two rows both are the frame's; of sixteen it begins at the ninth.
        first = 0 if windows.shape[1] == 2 else middle
        rows, rate = windows[:, first : first + 2].reshape(-1, windows.shape[-1]), 2 * fps
    return Heard(rows.astype(np.float32), rate, np.zeros(rows.shape[-1], np.float32))


def fit_scale(rows: np.ndarray, rate: float, fps: float, train: np.ndarray) -> Scale:
    """The scale of the rows (N, W) that the training frames begin and end with."""
    per_frame = rate / fps
    used = np.zeros(len(rows), bool)
    for frame in train:
        used[int(np.floor(frame * per_frame)) : int(np.ceil((frame + 1) * per_frame))] = True
    chosen = rows[used] if used.any() else rows
    if not len(chosen):
        return Scale.identity(rows.shape[1])
    deviation = chosen.std(0)
    # A feature that never moved says nothing, whatever it does later.
    deviation = np.where(deviation > 1e-5, deviation, np.inf)
    return Scale(
        chosen.mean(0).astype(np.float32), deviation.astype(np.float32),
        np.float32(MOST_DEVIATIONS),
    )  # fmt: skip


class Speech:
    """Scaled rows of a sound in a file, and the windows of a frame and its neighbours.

    Memory does not grow with the sound: rows go to disk as they are made.
    """

    def __init__(self, samples: np.ndarray | RowFile, config: AudioConfig, scale: Scale):
        """Listens to samples (S,) at 16 kHz.

        Raises:
          InputError: weights of the features' network are missing, or were not trained with.
        """
        found = extractor(config.features)
        if len(found.beyond) != len(scale.mean):
            raise InputError(
                f"audio.features={config.features}: {len(found.beyond)} numbers per row, the run "
                f"was trained on {len(scale.mean)}"
            )
        self.rate, self.beyond = float(found.rate), scale(found.beyond)
        self.rows: RowFile | np.ndarray = RowFile(None, (len(scale.mean),))
        for block in found.stream(samples).blocks:
            self.rows.append(scale(block))

    @classmethod
    def of_rows(cls, rows: np.ndarray, rate: float, beyond: np.ndarray) -> Speech:
        """Speech whose scaled rows (N, W) are in memory."""
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


def neighbours_of(frames: np.ndarray | np.int32, count: int) -> np.ndarray:
    """(..., count) int32: the frames that smoothing looks at, from 4 before to 3 behind for 8."""
    before = BEFORE if count > BEFORE else count // 2
    return np.asarray(frames)[..., None] + np.arange(-before, count - before, dtype=np.int32)


def device_windows(rows, beyond, frames, *, rate: float, fps: float, size: int, count: int):
    """(..., count, size, W) like `Speech.windows`, of rows (N, W) on the device, inside jit."""
    before = BEFORE if count > BEFORE else count // 2
    around = frames[..., None] + np.arange(-before, count - before, dtype=np.int32)
    return frame_windows(rows, around, rate=rate, fps=fps, size=size, beyond=beyond)
