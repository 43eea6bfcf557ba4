"""Features that were computed before: the `aud*.npy` files of AD-NeRF, RAD-NeRF and ER-NeRF, and
rows.

| array | whose | what |
|---|---|---|
| (F, 16, 29) | AD-NeRF, RAD-NeRF `aud_ds.npy` | windows of DeepSpeech's logits |
| (F, 16, 44) | RAD-NeRF `aud_eo.npy` | windows of wav2vec's logits ("esperanto") |
| (F, 2, 1024) | ER-NeRF `aud_hu.npy` | two rows of HuBERT per frame |
| (F, 29, 16), (F, 44, 16), (F, 1024, 2) | after those programs' loaders | the same, turned |
| (N, W) | `write_features` | rows |
"""

import os
from typing import NamedTuple

import numpy as np

from jaxhead.audio.features import Features
from jaxhead.audio.mel_stream import WIDTH, mel_extractor
from jaxhead.audio.windows import check_length
from jaxhead.files.arrays import as_kind, read_npy_mmap
from jaxhead.files.errors import InputError

WINDOWS = {"deepspeech": (16, 29), "esperanto": (16, 44), "hubert": (2, 1024)}
"""Rows and width of a window by kind."""


class StoredWindows(NamedTuple):
    """One window per video frame.

    Attributes:
        windows: (F, size, W) float32.
        kind: key of `WINDOWS`, or "" for another shape.
    """

    windows: np.ndarray
    kind: str


def load_features(
    path: str | os.PathLike,
    *,
    frames: int | None = None,
    fps: float = 25.0,
    size: int | None = None,
) -> StoredWindows:
    """Returns stored windows, one per frame of a video at 25 frames per second.

    The last window stands for frames that have none, windows beyond the last frame are left out; a
    difference of more than a frame is a warning.

    Args:
        path: an .npy file of one of the shapes above, or of any (F, size, W).
        frames: number of pictures of the video that they belong to; None takes all windows.
        fps: pictures per second of that video.
        size: rows per window; tells (F, size, W) from (F, W, size) where the shape is not a known
            one. None accepts known shapes, and takes others as they are.

    Raises:
        InputError: missing, damaged, of another shape, with values that are not finite, or of
            another rate than one window per frame.
    """
    stored = read_npy_mmap(path)
    if stored.ndim != 3 or 0 in stored.shape:
        hint = "; rows are read by load_rows" if stored.ndim == 2 else ""
        raise InputError(f"{path}: shape {stored.shape}, expected (frames, rows, width){hint}")
    kind, turned = _kind_of(stored.shape[1:])
    if not kind and size is not None:
        if size not in stored.shape[1:]:
            raise InputError(f"{path}: shape {stored.shape}, expected windows of {size} rows")
        turned = stored.shape[1] != size
    if size is not None and kind and WINDOWS[kind][0] != size:
        raise InputError(
            f"{path}: windows of {WINDOWS[kind][0]} rows of {kind}, expected {size} rows"
        )
    if frames is not None:
        _same_rate(path, len(stored), frames, fps)
        stored = stored[np.minimum(np.arange(frames), len(stored) - 1)]
    windows = as_kind(stored, np.float32, str(path))
    if not np.isfinite(windows).all():
        raise InputError(f"{path}: holds values that are not finite")
    return StoredWindows(np.ascontiguousarray(windows.swapaxes(1, 2) if turned else windows), kind)


def load_rows(
    path: str | os.PathLike, *, rate: float, frames: int | None = None, fps: float = 25.0
) -> Features:
    """Returns stored rows for `video_features`.

    Args:
        path: an .npy file (N, W).
        rate: rows per second.
        frames: number of pictures of the video that they belong to, to compare the length with.
        fps: pictures per second of that video.

    Raises:
        InputError: missing, damaged, of another shape, with values that are not finite, or of
            another rate than `rate`.
    """
    stored = read_npy_mmap(path)
    if stored.ndim != 2 or not stored.shape[1]:
        raise InputError(f"{path}: shape {stored.shape}, expected (rows, width)")
    if frames is not None:
        _right_rate(path, len(stored), rate, frames / fps)
        check_length(len(stored) / rate, frames=frames, fps=fps, what=str(path))
    rows = as_kind(stored, np.float32, str(path))
    if not np.isfinite(rows).all():
        raise InputError(f"{path}: holds values that are not finite")
    beyond = mel_extractor().beyond if rows.shape[1] == WIDTH else np.zeros(rows.shape[1])
    return Features(np.asarray(rows), float(rate), beyond.astype(np.float32))


def _kind_of(shape: tuple[int, ...]) -> tuple[str, bool]:
    """The kind with this shape, and whether its axes are turned."""
    for kind, known in WINDOWS.items():
        if shape in (known, known[::-1]):
            return kind, shape != known
    return "", False


def _same_rate(path: str | os.PathLike, windows: int, frames: int, fps: float) -> None:
    """One window per frame, or the error that says what else it looks like."""
    if abs(fps - 25.0) > 0.01:
        raise InputError(
            f"{path}: one window per frame at 25 frames per second, the video has {fps:g}: "
            "features of another rate; compute them anew from the sound"
        )
    _right_rate(path, windows, 25.0, frames / fps)
    check_length(windows / 25.0, frames=frames, fps=fps, what=str(path))


def _right_rate(path: str | os.PathLike, rows: int, rate: float, seconds: float) -> None:
    """Refuses rows whose number fits another usual rate better, by far more than an odd length."""
    if not rows or seconds < 1:
        return
    for other in (25.0, 30.0, 50.0, 60.0, 62.5, 100.0):
        near = abs(rows - other * seconds) <= 0.03 * other * seconds
        if near and abs(rows - rate * seconds) > 0.1 * rate * seconds:
            raise InputError(
                f"{path}: {rows} rows for {seconds:.2f} s are {other:g} per second, expected "
                f"{rate:g}: features of another rate"
            )
