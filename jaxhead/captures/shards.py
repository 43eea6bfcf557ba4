"""A corpus as shards: clips of many captures in a few large ArrayRecord files, read in any order.

    index.json                     format "jaxhead-clips", version 2: the layout of the clips, the
                                   captures by number (name, digest, clips), the shards by name
                                   (records, bytes)
    clips-00000.array_record ...   one record per clip, see `captures.clips`

What the frames of a subject share beyond `K` (head model, plate) stays in its capture, which the
index names by its digest. The extra `corpora` brings ArrayRecord.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxhead.captures.clips import MAX_RECORD, Layout, clip_starts, layout_of, pack_clip
from jaxhead.captures.format import Capture, load_capture
from jaxhead.captures.validate import read_document
from jaxhead.files.atomic import new_folder, write_json
from jaxhead.files.errors import InputError

FORMAT, VERSION = "jaxhead-clips", 2
SPLITS = ("train", "test", "all")
_NAME = re.compile(r"clips-\d{5}\.array_record")
INSTALL = "pip install 'jaxhead[corpora]'"


@dataclasses.dataclass(frozen=True)
class Shards:
    """A folder of shards.

    Attributes:
      folder: where it lies.
      layout: of its clips.
      records: {file name: number of clips}, in the order of the clips' numbers.
      captures: per capture {"name", "digest", "clips"}.
    """

    folder: pathlib.Path
    layout: Layout
    records: dict[str, int]
    captures: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return sum(self.records.values())


def write_shards(
    captures: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    frames: int = 16,
    stride: int | None = None,
    split: str = "train",
    margin: float = 0.5,
    masks: bool = True,
    shard_bytes: int = 256 << 20,
    progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Make the folder `out` of shards from captures; it appears only when it is complete.

    Clips lie in runs of consecutive frames of the split, so that no frame that was dropped is in
    one; what is left over at the end of a run is left out.

    Args:
      captures: capture folders, all of one size, rate and head model.
      out: the folder to make.
      frames: of a clip.
      stride: frames from a clip to the next, by default `frames`: no frame is stored twice.
      split: "train", "test" or "all": which frames of each capture.
      margin: seconds of sound before and behind a clip's frames, for windows around each frame.
      masks: store the masks too.
      shard_bytes: a file that has grown beyond is followed by a next one.
      progress: called as progress(captures done, captures in all).

    Raises:
      InputError: a capture is at fault or unlike the first, nothing is long enough, `out` exists,
        array-record is not installed.
    """
    if split not in SPLITS or frames < 1 or (stride or 1) < 1 or not 0 <= margin <= 60:
        raise InputError(
            f"{frames} frames, stride {stride}, split {split!r}, margin {margin}: expected at "
            f"least 1, at least 1, one of {', '.join(SPLITS)}, and 0 to 60 s"
        )
    writer_of = _array_record().ArrayRecordWriter
    with new_folder(out) as folder:
        output = _Output(folder, writer_of, shard_bytes)
        layout, rows = None, []
        with contextlib.closing(output):
            for number, path in enumerate(captures):
                capture = load_capture(path)
                own = layout_of(capture, frames=frames, margin=margin, masks=masks)
                layout = layout or own
                _same(path, own, layout)
                starts = clip_starts(_ids(capture, split), frames, stride or frames)
                sound = capture.audio() if starts else None
                for start in starts:
                    output.write(pack_clip(capture, number, start, sound, layout))
                name = pathlib.Path(path).name
                rows.append({"name": name, "digest": capture.digest, "clips": len(starts)})
                if progress is not None:
                    progress(number + 1, len(captures))
        if layout is None or not output.records:
            raise InputError(f"{out}: no run of {frames} {split} frames in {len(rows)} captures")
        files = {
            name: {"records": count, "bytes": (folder / name).stat().st_size}
            for name, count in output.records.items()
        }
        index = {"format": FORMAT, "version": VERSION, "layout": dataclasses.asdict(layout),
                 "split": split, "captures": rows, "shards": files}  # fmt: skip
        write_json(folder / "index.json", index)
    return read_index(out)


def _ids(capture: Capture, split: str) -> Any:
    if split == "all":
        return sorted([*capture.train.tolist(), *capture.test.tolist()])
    return sorted(getattr(capture, split).tolist())


def _same(path: str | os.PathLike, own: Layout, first: Layout) -> None:
    for field in dataclasses.fields(Layout):
        here, there = getattr(own, field.name), getattr(first, field.name)
        if here != there:
            raise InputError(f"{path}: {field.name} {here}, the first capture has {there}")


class _Output:
    """Files of records; `records` counts them by file name."""

    def __init__(self, folder: pathlib.Path, writer_of: Any, shard_bytes: int):
        self.records: dict[str, int] = {}
        self._folder, self._writer_of, self._limit = folder, writer_of, shard_bytes
        self._writer: Any = None
        self._name, self._size = "", 0

    def write(self, record: bytes) -> None:
        with _writing(self._folder):
            if self._writer is None:
                self._name, self._size = f"clips-{len(self.records):05d}.array_record", 0
                # Groups of one: any record is read without its neighbours. PNG files do not shrink.
                path = str(self._folder / self._name)
                self._writer = self._writer_of(path, "group_size:1,uncompressed")
                self.records[self._name] = 0
            self._writer.write(record)
        self.records[self._name] += 1
        self._size += len(record)
        if self._size >= self._limit:
            self.close()

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with _writing(self._folder):
                writer.close()


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
    """ArrayRecord says a full disk as a RuntimeError or a ValueError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: shards cannot be written ({reason})") from error


def _array_record() -> Any:
    try:
        from array_record.python import (
            array_record_module,  # pyright: ignore[reportAttributeAccessIssue]
        )
    except ImportError as error:
        raise InputError(
            f"array-record is not installed, and shards need it: {INSTALL}"
        ) from error
    return array_record_module


def read_index(folder: str | os.PathLike) -> Shards:
    """The shards of a folder, whose files are there in full length; records are checked when read.

    Raises:
      InputError: not a folder of shards, another version, a missing or cut file.
    """
    folder = pathlib.Path(folder)
    info = read_document(folder, "index.json", FORMAT, VERSION, "a folder of shards")
    path = folder / "index.json"
    try:
        layout = _layout(info["layout"])
        captures = tuple(dict(row) for row in info["captures"])
        files = {str(name): (int(row["records"]), int(row["bytes"]))
                 for name, row in info["shards"].items()}  # fmt: skip
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: malformed ({type(error).__name__}: {error})") from None
    for name, (records, size) in files.items():
        # A name with a slash would lead out of the folder.
        if not _NAME.fullmatch(name) or records < 1:
            raise InputError(f"{path}: {name!r} with {records} records is no shard")
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise InputError(f"{folder / name}: missing or cut off, expected {size} bytes")
    if not files:
        raise InputError(f"{path}: names no shards")
    return Shards(folder, layout, {name: records for name, (records, _) in files.items()}, captures)


def _layout(given: dict[str, Any]) -> Layout:
    layout = Layout(
        frames=int(given["frames"]),
        fps=float(given["fps"]),
        size=(int(given["size"][0]), int(given["size"][1])),
        audio_rate=int(given["audio_rate"]),
        margin=float(given["margin"]),
        masks=bool(given["masks"]),
        counts={str(name): int(count) for name, count in given["counts"].items()},
    )
    numbers = (layout.frames, layout.fps, *layout.size, layout.audio_rate)
    if not all(0 < number < 1e6 for number in numbers) or not 0 <= layout.margin <= 60:
        raise ValueError(f"layout {given}")
    if layout.frames * layout.size[0] * layout.size[1] * 3 > MAX_RECORD:
        raise ValueError(f"{layout.frames} pictures of {layout.size}")
    if set(layout.counts) != {"expression", "vertices", "landmarks", "sway"}:
        raise ValueError(f"counts {layout.counts}")
    return layout
