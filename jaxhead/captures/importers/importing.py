"""Import of a subject: read by its format's module, written as a capture, told in a few lines."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxhead.captures.background import MOST_FRAMES, clean_plate
from jaxhead.captures.crop import resize
from jaxhead.captures.format import CaptureWriter, split_frames
from jaxhead.captures.importers.cameras import scaled
from jaxhead.captures.importers.source import Options, Picture, Source
from jaxhead.captures.validate import DROPPED
from jaxhead.files.errors import InputError

FORMATS = {
    "insta": "insta",
    "metrical-tracker": "metrical_tracker",
    "vhap": "vhap",
    "radnerf": "adnerf",
    "adnerf": "adnerf",
    "nerface": "nerface",
}
"""Formats by the name on the command line, and the module of this package that reads them."""
HELD_OUT = ("insta", "metrical-tracker")
"""Formats whose split can be replaced by a number of last frames."""


def import_capture(
    form: str,
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    size: int | None = None,
    fps: float = 25.0,
    head: str | None = None,
    assets: str | None = None,
    held_out: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Makes the capture `out` of a subject that another program stored.

    Args:
      form: a key of `FORMATS`.
      folder: the subject.
      out: the capture folder to make.
      size: stored side in pixels, for square pictures; None keeps theirs.
      fps: frames per second of the source.
      head: "kind:path" of a statistical head model: makes the meshes where its parameters are
        stored, names regions and landmarks of meshes that have its vertices.
      assets: folder of third-party models.
      held_out: how many last frames are held out, for "insta" and "metrical-tracker"; None for the
        stored split.
      progress: called as progress(stage, frames done, frames in all).
      overwrite: replace an existing folder.

    Returns:
      what was found, what was missing and what was derived, also stored as the capture's notes.

    Raises:
      InputError: another format, or what a format needs is missing or malformed.
    """
    if form not in FORMATS:
        raise InputError(f"format {form!r}, expected one of {', '.join(FORMATS)}")
    if held_out is not None and form not in HELD_OUT:
        raise InputError(
            f"format {form}: a number of held-out frames is for {' and '.join(HELD_OUT)}"
        )
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected a subject of {form}")
    tell = progress or (lambda stage, done, total: None)
    module = importlib.import_module(f"jaxhead.captures.importers.{FORMATS[form]}")
    with contextlib.ExitStack() as stack:
        options = Options(
            fps, head, assets, scratch=_near(out), held_out=held_out, tell=tell, stack=stack
        )
        source = module.read(folder, options, *((form,) if FORMATS[form] == "adnerf" else ()))
        side = _side(source, size)
        writer = stack.enter_context(
            CaptureWriter(out, size=side, fps=fps, overwrite=overwrite)
        )
        return _write(writer, source, side, tell)


def _near(out: str | os.PathLike) -> str | None:
    """A folder that exists on the disk of the output."""
    parents = pathlib.Path(out).absolute().parents
    return next((str(parent) for parent in parents if os.access(parent, os.W_OK)), None)


def _side(source: Source, size: int | None) -> tuple[int, int]:
    if size is None or source.size == (size, size):
        return source.size
    if source.size[0] != source.size[1]:
        height, width = source.size
        raise InputError(
            f"{source.folder}: pictures of {width} x {height} pixels, only square ones can be "
            f"stored at another size ({size})"
        )
    return (size, size)


def _write(
    writer: CaptureWriter, source: Source, side: tuple[int, int], tell: Callable[..., None]
) -> list[str]:
    count = len(source)
    split = split_frames(source.status) if source.split is None else source.split
    train, test = (ids[source.status[ids] != DROPPED] for ids in split)
    split = train, test
    if not len(split[0]):
        raise InputError(f"{source.folder}: no usable frame in the training part of the subject")
    studied = set(split[0][:: max(1, -(-len(split[0]) // MOST_FRAMES))].tolist())
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for index in range(count):
        picture = _resized(source.picture(index), side)
        writer.add(*picture)
        if source.background is None and index in studied:
            kept.append((picture.frame, picture.masks[..., 0]))
        tell("frames", index + 1, count)
    notes = _summary(source, split, side)
    plate = source.background
    if plate is None:
        plate, share = clean_plate(*(np.stack(part) for part in zip(*kept)))
        notes.append(
            f"background: median of {len(kept)} training frames, {share:.0%} of it was uncovered"
        )
    writer.finish(
        tracking=_tracking(source, side),
        head=source.head,
        background=_resize(plate, side),
        audio=source.audio,
        audio_features=source.audio_features,
        source={"name": source.folder.absolute().name, "format": source.format,
                "documents": dict(source.digests)},
        reasons=source.reasons,
        split=split,
        extra={"notes": notes, "convention": dict(source.convention), **source.extra},
    )  # fmt: skip
    return notes


def _tracking(source: Source, side: tuple[int, int]) -> dict[str, Any]:
    """The arrays of tracking.npz; pixels are those of the stored size."""
    count, factor = len(source), side[0] / source.size[0]
    marks = np.zeros((count, 0, 2)) if source.landmarks is None else source.landmarks
    arrays: dict[str, Any] = {
        "K": scaled(source.K, factor),
        "head_to_camera": source.head_to_camera,
        "expression": source.expression,
        "landmarks": marks * factor,
        # Nothing but the head was tracked.
        "torso_motion": np.tile(np.eye(2, 3), (count, 1, 1)),
        "torso_measured": np.zeros(count, bool),
        "status": source.status,
    }
    if source.vertices is not None:
        arrays["vertices"] = source.vertices
    if source.face_rect is not None:
        arrays["face_rect"] = source.face_rect * factor
    if source.eye_openness is not None:
        arrays["eye_openness"] = source.eye_openness
    return arrays


def _summary(
    source: Source, split: tuple[np.ndarray, ...], side: tuple[int, int]
) -> list[str]:
    dropped = int((source.status == DROPPED).sum())
    height, width = source.size
    stored = "" if side == source.size else f", stored at {side[1]} x {side[0]}"
    return [
        f"{source.format}: {len(source)} frames of {width} x {height} pixels{stored}; "
        f"{len(split[0])} train, {len(split[1])} are held out, {dropped} are in neither",
        *source.found,
    ]


def _resized(picture: Picture, side: tuple[int, int]) -> Picture:
    if picture.frame.shape[:2] == side:
        return picture
    return Picture(
        _resize(picture.frame, side),
        _resize(picture.masks, side),
        {name: _layer(name, values, side) for name, values in picture.layers.items()},
    )


def _resize(picture: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    return picture if picture.shape[:2] == side else resize(picture, side[0])


def _layer(name: str, values: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """Colours are averaged; classes and depths are not numbers to average: the nearest is taken."""
    if name == "torso":
        return resize(values, side[0])
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(side, values.shape[:2])
    )
    return np.ascontiguousarray(values[rows[:, None], columns[None]])
