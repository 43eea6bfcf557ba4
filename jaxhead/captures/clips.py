"""One clip as one record: consecutive frames of a capture, their numbers and their sound, as bytes.

A record is an uncompressed .npz archive. T frames, S samples of sound; shapes as in `Capture`:

    frames, masks            (bytes,) uint8: the capture's PNG files one after the other, unchanged
    frames_end, masks_end    (T,) int64: where each of them ends
    K                        (3, 3) float32
    sway_box                 (2, 2) float32
    head_to_camera (T, 4, 4), expression (T, E), vertices (T, V, 3), landmarks (T, L, 2),
    torso_motion (T, 2, 3), sway (T, G, G, 2) float32; torso_measured (T,) bool; status (T,) uint8
    sound                    (S,) int16: of the frames and of a margin before and behind them,
                             silence where there is none
    capture, first           () int32: number of the capture, and the first frame's number in it

The masks are absent where the writer was told so. Pictures stay the PNG files that they are:
decoded they take several times the space, and a part of a clip is read without decoding the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.sheet import NODES
from jaxhead.files.arrays import pack_npz, unpack_npz
from jaxhead.files.errors import InputError
from jaxhead.files.images import decode_image

PICTURES = ("frames", "masks")
PER_FRAME = (
    "head_to_camera", "expression", "vertices", "landmarks", "torso_motion", "torso_measured",
    "status", "sway",
)  # fmt: skip
PER_CLIP = ("K", "sway_box", "capture", "first")
FIELDS = (*PICTURES, *PER_FRAME, *PER_CLIP, "sound")
# Far above what clips need, and far below what a machine has.
MAX_RECORD = 1 << 30


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is the same for all clips of a set of shards; a batch needs equal shapes.

    Attributes:
      frames: T, frames of a clip.
      fps: frames per second.
      size: (height, width) of the pictures in pixels.
      audio_rate: samples of sound per second.
      margin: seconds of sound before the first frame and behind the last.
      masks: whether the masks are there.
      counts: {"expression": E, "vertices": V, "landmarks": L, "sway": G}.
    """

    frames: int
    fps: float
    size: tuple[int, int]
    audio_rate: int
    margin: float
    masks: bool
    counts: Mapping[str, int]

    def samples(self, frames: int) -> int:
        """Samples of sound of so many frames, the margins included."""
        return round(frames * self.audio_rate / self.fps) + 2 * self.margin_samples()

    def margin_samples(self) -> int:
        """Samples of one margin."""
        return round(self.margin * self.audio_rate)

    def fields(self) -> tuple[str, ...]:
        """The names of what a clip holds."""
        return tuple(name for name in FIELDS if self.masks or name != "masks")


def layout_of(capture: Capture, *, frames: int, margin: float, masks: bool) -> Layout:
    """The layout of clips of `frames` frames of a capture, with `margin` seconds of sound."""
    return Layout(
        frames=frames,
        fps=capture.fps,
        size=capture.size,
        audio_rate=capture.audio_rate,
        margin=margin,
        masks=masks,
        counts={
            "expression": capture.expression.shape[1],
            "vertices": capture.vertices.shape[1],
            "landmarks": capture.landmarks.shape[1],
            # A lattice that stands still is one of any size: it fits those of other captures.
            "sway": capture.sway.shape[1] if capture.sway.any() else NODES,
        },
    )


def clip_starts(ids: np.ndarray, frames: int, stride: int) -> list[int]:
    """First frames of the clips in a sorted list of frame numbers (N,), gaps never inside a clip.

    Args:
      ids: numbers of the frames that may be used.
      frames: length of a clip.
      stride: frames from a clip to the next within a run without gaps.
    """
    ids = np.asarray(ids, np.int64)
    starts: list[int] = []
    for run in np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1):
        starts += run[: max(0, len(run) - frames + 1) : stride].tolist()
    return starts


def pack_clip(
    capture: Capture, number: int, first: int, sound: np.ndarray | None, layout: Layout
) -> bytes:
    """The record of one clip.

    Args:
      capture: where it is from; number: of the capture in its corpus.
      first: the first frame.
      sound: (n,) float32 of the whole capture, or None.
      layout: of the record.

    Raises:
      InputError: a picture of the capture is missing or damaged.
    """
    frames = slice(first, first + layout.frames)
    arrays: dict[str, Any] = {name: getattr(capture, name)[frames] for name in PER_FRAME}
    for name in PICTURES[: 1 + layout.masks]:
        files = [_picture(capture, name, index) for index in range(first, first + layout.frames)]
        arrays[name] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{name}_end"] = np.cumsum([len(file) for file in files], dtype=np.int64)
    arrays["sound"] = _sound_of(sound, first, layout)
    if not arrays["sway"].any():
        arrays["sway"] = np.zeros(_shape("sway", layout)[0], np.float32)
    arrays |= {"K": capture.K, "sway_box": capture.sway_box}
    arrays |= {"capture": np.int32(number), "first": np.int32(first)}
    return pack_npz(arrays)


def _picture(capture: Capture, folder: str, index: int) -> bytes:
    name = f"{folder}/{index:06d}.png"
    path = pathlib.Path(capture.path) / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != capture.info["files"].get(name):
        raise InputError(f"{path}: damaged (its SHA-256 is not that of capture.json)")
    return data


def _sound_of(sound: np.ndarray | None, first: int, layout: Layout) -> np.ndarray:
    result = np.zeros(layout.samples(layout.frames), np.int16)
    if sound is not None:
        begin = round(first * layout.audio_rate / layout.fps) - layout.margin_samples()
        low, high = max(0, begin), min(len(sound), begin + len(result))
        if high > low:
            scaled = np.clip(np.rint(sound[low:high] * 32768.0), -32768, 32767)
            result[low - begin : high - begin] = scaled.astype(np.int16)
    return result


def unpack_clip(
    data: bytes,
    name: str,
    layout: Layout,
    *,
    fields: Sequence[str] | None = None,
    offset: int = 0,
    frames: int | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of a clip, or of a part of its frames.

    Args:
      data: the record; name: where it came from, for messages.
      layout: what it has to be.
      fields: names of the arrays that are wanted, all by default.
      offset, frames: the part of the clip, by default the whole.

    Returns:
      {name: array}: "frames", "masks" (n, H, W, 3) uint8; "sound" (`layout.samples(n)`,) float32 in
      [-1, 1]; "first" the number of the part's first frame; the others as in the record.

    Raises:
      InputError: damaged, or of another layout.
    """
    count = layout.frames if frames is None else frames
    arrays = unpack_npz(data, name, max_bytes=MAX_RECORD)
    part = slice(offset, offset + count)
    result: dict[str, np.ndarray] = {}
    for field in layout.fields() if fields is None else fields:
        value = arrays.get(field)
        if value is None:
            raise InputError(f"{name}: holds no {field}")
        if field in PICTURES:
            ends = arrays.get(f"{field}_end", np.zeros(0))
            result[field] = _decoded(value, ends, part, f"{name}: {field}", layout)
            continue
        expected, kind = _shape(field, layout)
        if value.shape != expected or value.dtype != kind:
            raise InputError(
                f"{name}: {field} is {value.dtype}{list(value.shape)}, expected "
                f"{np.dtype(kind)}{list(expected)}"
            )
        if field in PER_FRAME:
            value = value[part]
        elif field == "sound":
            begin = round(offset * layout.audio_rate / layout.fps)
            # Rounding of the two ends may differ by one sample from that of the length.
            begin = min(begin, len(value) - layout.samples(count))
            value = value[begin : begin + layout.samples(count)].astype(np.float32) / 32768
        elif field == "first":
            value = value + np.int32(offset)
        result[field] = value
    return result


def _shape(field: str, layout: Layout) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype that a field of a record has."""
    T, counts = layout.frames, layout.counts
    return {
        "head_to_camera": ((T, 4, 4), np.float32),
        "expression": ((T, counts["expression"]), np.float32),
        "vertices": ((T, counts["vertices"], 3), np.float32),
        "landmarks": ((T, counts["landmarks"], 2), np.float32),
        "torso_motion": ((T, 2, 3), np.float32),
        "torso_measured": ((T,), np.bool_),
        "status": ((T,), np.uint8),
        "sway": ((T, counts["sway"], counts["sway"], 2), np.float32),
        "sway_box": ((2, 2), np.float32),
        "K": ((3, 3), np.float32),
        "capture": ((), np.int32),
        "first": ((), np.int32),
        "sound": ((layout.samples(T),), np.int16),
    }[field]


def _decoded(
    value: np.ndarray, ends: np.ndarray, part: slice, name: str, layout: Layout
) -> np.ndarray:
    """(n, H, W, 3) uint8: the pictures of a part."""
    if (
        value.dtype != np.uint8
        or ends.shape != (layout.frames,)
        or ends.dtype != np.int64
        or (np.diff(ends, prepend=0) < 0).any()
        or ends[-1] != value.size
    ):
        raise InputError(f"{name}: the ends of its pictures do not fit")
    begins = np.concatenate([[0], ends[:-1]])
    pictures = np.empty((part.stop - part.start, *layout.size, 3), np.uint8)
    limit = layout.size[0] * layout.size[1]
    for place, (begin, end) in enumerate(zip(begins[part], ends[part])):
        picture = decode_image(value[begin:end].tobytes(), name, max_pixels=limit)
        if picture.shape != pictures.shape[1:]:
            raise InputError(f"{name}: a picture is {picture.shape}, expected {layout.size} RGB")
        pictures[place] = picture
    return pictures
