"""What folders of talking heads hold beside pictures: sound, its features, landmarks, blinks."""

from __future__ import annotations

import csv
import pathlib

import numpy as np

from jaxhead.captures.importers.documents import read_numbers
from jaxhead.captures.record import fitted_audio
from jaxhead.captures.stored import AUDIO_RATE
from jaxhead.captures.validate import file_digest
from jaxhead.files.arrays import as_kind, read_npy_mmap
from jaxhead.files.errors import InputError
from jaxhead.files.sound import read_audio
from jaxhead.files.torch_files import read_torch

MARKS = 68
_FILES = {"aud_ds.npy": "deepspeech", "aud_eo.npy": "esperanto", "aud_hu.npy": "hubert"}
_SHAPES = {(16, 29): "deepspeech", (16, 44): "esperanto", (2, 1024): "hubert"}
_SOUNDS = ("aud.wav", "audio.wav")
_MAX_CSV = 1 << 28


def audio_features(
    folder: pathlib.Path, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """(N, ...) float32 features per frame by extractor, and what to tell.

    aud.npy is called by its shape, since every program writes another extractor's there.

    Args:
      folder: the subject.
      rows: (N,) the row of each frame; one beyond the last row takes the last, as AD-NeRF does.
    """
    found, told = {}, []
    # A file that names its extractor keeps that name before one that is called by its shape.
    for path in sorted(folder.glob("aud*.npy"), key=lambda p: (p.name not in _FILES, p.name)):
        array = as_kind(read_npy_mmap(path), np.float32, str(path))
        if array.ndim < 2 or not array.size:
            raise InputError(f"{path}: shape {array.shape}, expected one row per frame")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: values that are not finite")
        name = _FILES.get(path.name) or _SHAPES.get(array.shape[1:], path.stem)
        if name in found:
            name = path.stem
        found[name] = np.asarray(array[np.minimum(rows, len(array) - 1)])
        short = int((rows >= len(array)).sum())
        repeated = f", the last row stands for {short} frames more" if short else ""
        told.append(f"audio features: {path.name} {array.shape} as {name}{repeated}")
    return found, told or ["audio features: missing (aud*.npy)"]


def sound(
    folder: pathlib.Path, frames: int, fps: float
) -> tuple[np.ndarray | None, list[str]]:
    """The sound of so many frames as 16 kHz mono, None for none, and what to tell."""
    for name in _SOUNDS:
        if (folder / name).is_file():
            samples, notes = fitted_audio(read_audio(folder / name, rate=AUDIO_RATE), frames, fps)
            return samples, [f"sound: {name}", *notes]
    return None, [f"sound: missing ({' or '.join(_SOUNDS)})"]


def read_landmarks(folder: pathlib.Path, frames: np.ndarray) -> tuple[np.ndarray | None, str]:
    """(N, 68, 2) pixels of the files NUMBER.lms, or None where one is missing, and what to tell.

    Args:
      folder: where they are.
      frames: (N,) the frame whose landmarks each frame gets.
    """
    paths = {int(i): folder / f"{i}.lms" for i in np.unique(frames)}
    missing = [index for index, path in paths.items() if not path.is_file()]
    if len(missing) == len(paths):
        return None, "landmarks: missing"
    if missing:
        # RAD-NeRF's preprocessing counts on where a frame has no face, AD-NeRF's leaves it out.
        return None, (
            f"landmarks: {len(missing)} listed frames have none, {missing[0]} is the first; poses "
            "from there on may belong to other frames"
        )
    marks = {}
    for index, path in paths.items():
        marks[index] = read_numbers(path, 2)
        if len(marks[index]) != MARKS:
            raise InputError(f"{path}: {len(marks[index])} landmarks, expected {MARKS}")
    return np.stack([marks[int(i)] for i in frames]), f"landmarks: {MARKS} per frame"


def face_rects(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, 4) x, y, width, height by AD-NeRF's rule from 68 landmarks (N, 68, 2)."""
    height, width = size
    rects = []
    for marks in landmarks:
        low, high = marks[:, 0].min(), marks[:, 0].max()
        cx, cy = int((low + high) / 2), int(marks[27, 1])
        hw, hh = int((high - cx) * 1.5), int((marks[8, 1] - cy) * 1.15)
        x, y = max(cx - hw, 0), max(cy - hh, 0)
        rects.append([x, y, min(width - 1 - x, 2 * hw), min(height - 1 - y, 2 * hh)])
    return np.array(rects, np.float64)


def eye_openness(path: pathlib.Path, count: int) -> np.ndarray | None:
    """(N,) in [0, 1] from OpenFace's AU45_r, which ER-NeRF reads: 1 - clip(AU45, 0, 2) / 2.

    Rows beyond the last repeat it; None where there is no file.
    """
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_CSV:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_CSV}")
    try:
        text = path.read_text(encoding="utf-8").splitlines()
        rows = list(csv.reader(text, skipinitialspace=True))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({str(error)[:120]})") from None
    names = [name.strip() for name in rows[0]] if rows else []
    if "AU45_r" not in names or len(rows) < 2:
        raise InputError(f"{path}: column AU45_r is missing or empty")
    place = names.index("AU45_r")
    try:
        values = np.array([float(row[place]) for row in rows[1:] if row])
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: AU45_r: {str(error)[:120]}, expected numbers") from None
    if not len(values) or not np.isfinite(values).all():
        raise InputError(f"{path}: AU45_r holds values that are not finite")
    return 1 - np.clip(values, 0, 2)[np.minimum(np.arange(count), len(values) - 1)] / 2


def tracked_expression(
    folder: pathlib.Path, places: np.ndarray
) -> tuple[np.ndarray, dict[str, str], list[str]]:
    """(N, 79) coefficients of the Basel face model, digest of their file, and what to tell.

    Without track_params.pt there are none, (N, 0).

    Args:
      folder: the subject.
      places: (N,) which of the tracked frames each frame is, counted without those that were not.
    """
    path = folder / "track_params.pt"
    if not path.is_file():
        missing = "expression coefficients: missing (track_params.pt)"
        return np.zeros((len(places), 0), np.float32), {}, [missing]
    stored = read_torch(path)
    exp = stored.get("exp") if isinstance(stored, dict) else None
    if not isinstance(exp, np.ndarray) or exp.ndim != 2 or not len(exp):
        raise InputError(f"{path}: exp is missing or has another shape than frames x coefficients")
    values = as_kind(exp, np.float32, f"{path}: exp")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: exp holds values that are not finite")
    told = [f"expression: {values.shape[1]} coefficients of track_params.pt"]
    listed = int(places.max()) + 1
    if len(values) != listed:
        told.append(f"track_params.pt holds {len(values)} rows for {listed} listed frames")
    rows = np.minimum(places, len(values) - 1)
    return values[rows], {path.name: file_digest(path)}, told
