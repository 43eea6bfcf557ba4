"""Media files opened safely: container known by its first bytes, local, complete, of bounded size.

FFmpeg would follow playlists and URLs wherever they lead. So the file is opened here, by Python,
its first bytes decide which one demuxer may read it, and the library sees a stream without a name.
"""

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from jaxhead.files.errors import InputError

MAX_FRAME_PIXELS = 16_000_000
MAX_TOTAL_PIXELS = 500_000_000_000
# swscale flags BILINEAR | ACCURATE_RND | FULL_CHR_H_INT: its default repeats chroma and is darker.
ACCURATE = 0x2 | 0x40000 | 0x2000
VIDEO_KINDS = ("mov", "matroska", "avi")
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


class Media(NamedTuple):
    """An open container: `container` as PyAV gives it, `kind` the demuxer, `path` for messages."""

    container: Any
    kind: str
    path: Path


class _File(io.BufferedReader):
    """A file whose impossible seeks, asked for by damaged indices, fail without PyAV's printing."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


def import_av() -> Any:
    """PyAV with FFmpeg's own messages off; InputError where it is not installed."""
    try:
        import av
        import av.logging
    except ImportError as error:
        raise InputError(
            f"reading and writing media needs PyAV ({error}): pip install 'jaxhead[capture]'"
        ) from error
    av.logging.set_level(None)
    return av


def local_file(path: str | os.PathLike, what: str) -> Path:
    """`path` as a Path to an existing, non-empty regular file; InputError otherwise."""
    text = os.fspath(path)
    try:
        place = Path(path)
        if not text or not place.exists():
            hint = "a local file, not an address," if "://" in str(text) else "an existing file,"
            raise InputError(f"{str(text)!r}: not found; expected {hint} {what}")
        if not place.is_file():
            raise InputError(f"{place}: is not a file, expected {what}")
        if place.stat().st_size == 0:
            raise InputError(f"{place}: is empty, expected {what}")
    except (OSError, ValueError) as error:
        raise InputError(f"{str(text)!r}: not a usable path ({error})") from error
    return place


def _kind(head: bytes) -> str | None:
    """The demuxer for a file that begins with `head`, None for all that is not allowed."""
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WAVE": "wav"}.get(head[8:12])
    return "flac" if head[:4] == b"fLaC" else None


@contextlib.contextmanager
def open_media(
    path: str | os.PathLike,
    *,
    kinds: tuple[str, ...] = VIDEO_KINDS,
    what: str = "a video (mp4, mov, mkv, webm or avi)",
) -> Iterator[Media]:
    """An open `Media`, closed at the end of the block.

    Args:
        path: a local file.
        kinds: the demuxers that are allowed.
        what: what was expected, for messages.

    Raises:
        InputError: missing, empty, a folder, of another kind, cut off, or not understood.
    """
    av = import_av()
    place = local_file(path, what)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_File(io.FileIO(place)))
            kind = _kind(file.read(16))
        except OSError as error:
            raise InputError(f"{place}: cannot be read ({error.strerror})") from error
        if kind not in kinds:
            raise InputError(f"{place}: its first bytes are not those of {what}")
        size = place.stat().st_size
        cut = declared_size(file, kind, size) > size
        file.seek(0)
        try:
            container = stack.enter_context(av.open(file, "r", **_options(av, kind)))
        except Exception as error:
            reason = "cut off before its index" if cut else explain(error)
            raise InputError(f"{place}: not readable as {what} ({reason})") from error
        media = Media(container, kind, place)
        if cut:
            raise InputError(
                f"{place}: cut off after second {_last_second(container):.2f}: it has {size} bytes "
                f"and declares {declared_size(file, kind, size)}"
            )
        yield media


def _options(av: Any, kind: str) -> dict[str, Any]:
    options = {"protocol_whitelist": "none", "max_pixels": str(MAX_FRAME_PIXELS)}
    result: dict[str, Any] = {"format": kind, "options": options, "buffer_size": 1 << 16}
    if int(av.__version__.split(".")[0]) < 19:
        # Titles in another encoding than UTF-8 are no reason to refuse a clip; 19 replaces them.
        result["metadata_errors"] = "replace"
    return result


def explain(error: BaseException) -> str:
    """A short reason out of whatever FFmpeg or PyAV raised."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]


def decoded_frames(media: Media, stream: Any) -> Iterator[Any]:
    """The decoded frames of one stream; what FFmpeg raises becomes an InputError naming the second.

    Packets before the first frame may be undecodable: a clip cut out of a longer stream may
    begin between two key frames.
    """
    packets = iter(media.container.demux(stream))
    last: float | None = None
    while True:
        packet = None
        try:
            packet = next(packets, None)
            if packet is None:
                return
            corrupt, frames = packet.is_corrupt, packet.decode()
        except Exception as error:
            # The packet without a time is the one that drains the decoder.
            if last is None and packet is not None and packet.dts is not None:
                continue
            raise InputError(
                f"{media.path}: damaged after second {last or 0:.2f} ({explain(error)})"
            ) from error
        for frame in frames:
            last = frame.time if frame.time is not None else last or 0.0
            yield frame
        # The last packet of a WAV of unknown length is always shorter than asked for.
        if corrupt and last is not None and media.kind != "wav":
            raise InputError(f"{media.path}: cut off or damaged after second {last:.2f}")


def _last_second(container: Any) -> float:
    """Time of the last whole packet in seconds; reads the file, decodes nothing."""
    last = 0.0
    try:
        for packet in container.demux():
            if packet.is_corrupt:
                break
            if packet.pts is not None and packet.time_base is not None:
                last = max(last, float(packet.pts * packet.time_base))
    except Exception:  # a damaged end is what is being looked for
        return last
    return last


def declared_size(file: IO[bytes], kind: str, size: int) -> int:
    """The least number of bytes that the top-level headers announce (0: they do not say)."""
    try:
        if kind == "mov":
            return _mov_size(file, size)
        if kind == "matroska":
            return _matroska_size(file)
        if kind in ("avi", "wav"):
            return _riff_size(file, size)
    except (struct.error, IndexError, OSError):
        return 0
    return 0


def _mov_size(file: IO[bytes], size: int) -> int:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8:  # 0: until the end of the file
            return 0
        position += length
        if position > size:
            # Only these hold pictures or their index; anything else at the end is not missed.
            return position if name in (b"mdat", b"moov", b"moof") else 0
    return position


def _vint(data: bytes, start: int) -> tuple[int, int]:
    """(value, end) of the EBML variable-length number at `start`; -1 stands for unknown."""
    length = 9 - data[start].bit_length()
    value = int.from_bytes(data[start : start + length], "big") & ((1 << 7 * length) - 1)
    return (-1 if value == (1 << 7 * length) - 1 else value), start + length


def _matroska_size(file: IO[bytes]) -> int:
    file.seek(0)
    data = file.read(4096)
    header, end = _vint(data, 4)
    start = end + header
    if header < 0 or data[start : start + 4] != b"\x18S\x80g":
        return 0
    segment, end = _vint(data, start + 4)
    return end + segment if segment >= 0 else 0


def _riff_size(file: IO[bytes], size: int) -> int:
    # Above 1 GiB an AVI continues in further RIFF chunks. An unfinished recording has size 0 or -1.
    position = 0
    while position + 12 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):
            return 0
        position += 8 + length + length % 2
    # Writers differ on whether the header and the padding count.
    return max(position - 16, 0)
