"""Videos read frame by frame: turned upright, at a constant rate, in constant memory."""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from jaxhead.files.containers import (
    ACCURATE,
    MAX_FRAME_PIXELS,
    MAX_TOTAL_PIXELS,
    Media,
    decoded_frames,
    explain,
    open_media,
)
from jaxhead.files.errors import InputError
from jaxhead.files.video_writer import VideoWriter

__all__ = ["VideoInfo", "VideoWriter", "decode", "probe"]

# A cover picture is stored as a video stream of one frame, marked by this bit.
_ATTACHED_PICTURE = 0x400
_MAX_GAP = 5.0
_LONGEST_STEP = 1.0
_MAX_SIDE = 16384


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video's headers and its first frame say.

    Attributes:
        width: pixels of the upright frame, square pixels.
        height: pixels of the upright frame.
        fps: average frames per second of the file (not of what `decode` gives).
        duration: seconds; 0 where the file does not say (a recording that was never finished).
        frames: number of stored frames; estimated from duration and rate where it is not stated.
        rotation: degrees, counter-clockwise, that the stored frames are turned by to stand upright.
        has_audio: whether there is a sound track.
        codec: name of the video codec.
    """

    width: int
    height: int
    fps: float
    duration: float
    frames: int
    rotation: int
    has_audio: bool
    codec: str


def probe(path: str | os.PathLike) -> VideoInfo:
    """The `VideoInfo` of a local mp4/mov, mkv/webm or avi file, whose first frame is decoded.

    Raises:
        InputError: missing, empty, not such a file (whatever its name), without pictures, cut off,
            damaged, of more than 16 million pixels per frame or 5e11 in all.
    """
    with open_media(path) as media:
        stream = _video_stream(media)
        info = _describe(media, stream)
        first = next(_source_frames(media, stream), None)
        if first is None:
            raise InputError(f"{media.path}: holds no picture that can be decoded")
        upright = _Upright.of(stream, first[1])
        return dataclasses.replace(
            info, width=upright.width, height=upright.height, rotation=upright.rotation
        )


def decode(
    path: str | os.PathLike, *, fps: float = 25.0, max_frames: int | None = None
) -> Iterator[np.ndarray]:
    """The frames of a video at a constant rate, one at a time.

    Frame k is the stored frame whose time is nearest to the first frame's time plus k / fps, so a
    clip at that rate comes out frame by frame, a faster one is thinned out, a slower or variable
    one repeats frames. Headers are checked at once; decoding begins with the first frame taken.

    Args:
        path: a local mp4/mov, mkv/webm or avi file.
        fps: frames per second of the result, above 0 and at most 1000.
        max_frames: stop after that many.

    Returns:
        An iterator of uint8 (H, W, 3) RGB arrays, all of one size, each the caller's own.

    Raises:
        InputError: as `probe` does, or, while iterating, with the second at which the file is
        damaged.
    """
    if not 0 < fps <= 1000:
        raise InputError(f"fps is {fps}, expected a rate above 0 and at most 1000")
    probe(path)
    return itertools.islice(_resample(path, Fraction(fps).limit_denominator(100_000)), max_frames)


def _video_stream(media: Media) -> Any:
    for stream in media.container.streams.video:
        if not int(stream.disposition) & _ATTACHED_PICTURE:
            break
    else:
        raise InputError(f"{media.path}: holds no video track")
    if stream.codec_context is None:
        raise InputError(f"{media.path}: its video codec is unknown to this FFmpeg")
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = min(4, os.cpu_count() or 1)
    # The decoder refuses before it allocates, also when frames differ from what the header says.
    stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    return stream


def _describe(media: Media, stream: Any) -> VideoInfo:
    """What the headers say, within bounds; width and height as stored."""
    width, height = int(stream.codec_context.width), int(stream.codec_context.height)
    if width * height > MAX_FRAME_PIXELS or max(width, height) > _MAX_SIDE:
        raise InputError(
            f"{media.path}: frames of {width} x {height}, expected at most {MAX_FRAME_PIXELS} px"
        )
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    duration = 0.0
    if stream.duration is not None and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    elif media.container.duration is not None:
        duration = media.container.duration / 1e6
    duration = max(duration, 0.0)
    frames = max(int(stream.frames), 0) or round(duration * rate)
    if max(frames, duration * 25) * max(width * height, 1) > MAX_TOTAL_PIXELS:
        raise InputError(
            f"{media.path}: {frames} frames of {width} x {height} in {duration:.0f} s, expected at "
            f"most {MAX_TOTAL_PIXELS:.0e} pixels in all: cut a shorter clip out of it"
        )
    return VideoInfo(
        width=width,
        height=height,
        fps=rate,
        duration=duration,
        frames=frames,
        rotation=0,
        has_audio=bool(media.container.streams.audio),
        codec=str(stream.codec_context.name),
    )


def _source_frames(media: Media, stream: Any) -> Iterator[tuple[float, Any]]:
    """(seconds, decoded frame) in order of presentation; times strictly increase."""
    step = _step(stream)
    last: float | None = None
    pixels = kept = dropped = 0
    for frame in decoded_frames(media, stream):
        time = frame.time
        if time is None:
            time = 0.0 if last is None else last + step
        if last is not None and time <= last:
            dropped += 1
            continue
        if last is not None and time - last > _MAX_GAP:
            raise InputError(
                f"{media.path}: no frame between second {last:.2f} and {time:.2f}, "
                f"expected gaps of at most {_MAX_GAP:.0f} s"
            )
        pixels += frame.width * frame.height
        if pixels > MAX_TOTAL_PIXELS:
            raise InputError(f"{media.path}: more than {MAX_TOTAL_PIXELS:.0e} pixels in all")
        last, kept = time, kept + 1
        yield time, frame
    if dropped > max(5, 0.1 * kept):
        raise InputError(
            f"{media.path}: {dropped} of {dropped + kept} frames are not later than the last, "
            "expected time stamps that increase: convert the clip to a new file"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Upright:
    """How stored frames become upright ones of square pixels: resized, transposed, mirrored."""

    stored_width: int
    stored_height: int
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, stream: Any, frame: Any) -> "_Upright":
        width, height = frame.width, frame.height
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        if Fraction(1, 4) <= aspect <= 4:  # beyond that it is damage; the longer side is kept
            if aspect > 1:
                width = round(width * aspect)
            else:
                height = round(height / aspect)
        size = {"stored_width": width, "stored_height": height}
        side = frame.side_data.get("DISPLAYMATRIX")
        if side is None:
            return cls(**size)
        # 3 x 3 in 16.16 fixed point: (x, y) goes to (a x + c y, b x + d y), y down. Phones also
        # store mirrored matrices, which an angle alone does not tell.
        a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side), np.int32)[:5])
        if abs(b) > abs(a):
            return cls(**size, transpose=True, flip_x=c < 0, flip_y=b < 0)
        return cls(**size, flip_x=a < 0, flip_y=d < 0)

    @property
    def width(self) -> int:
        return self.stored_height if self.transpose else self.stored_width

    @property
    def height(self) -> int:
        return self.stored_width if self.transpose else self.stored_height

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise; a mirrored picture counts as turned after mirroring."""
        if self.transpose:
            return 90 if self.flip_y else 270
        return 180 if self.flip_y else 0

    def __call__(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8 of its own memory, from a decoded frame."""
        pixels = frame.to_ndarray(
            format="rgb24",
            width=self.stored_width,
            height=self.stored_height,
            interpolation=ACCURATE,
        )
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        pixels = pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(pixels)


def _resample(path: str | os.PathLike, fps: Fraction) -> Iterator[np.ndarray]:
    """Upright frames at a constant rate: each the nearest in time of those stored."""
    with open_media(path) as media:
        stream = _video_stream(media)
        upright, start, count = None, 0.0, 0
        for frame, begin, end in _shown(media, stream, float(0.5 / fps)):
            if upright is None:
                upright, start = _Upright.of(stream, frame), begin
            pixels = None
            while start + count / fps < end:
                # Only frames that are shown are converted; a repeated one must not share memory.
                pixels = _pixels(media, upright, frame) if pixels is None else pixels.copy()
                yield pixels
                count += 1


def _shown(media: Media, stream: Any, slack: float) -> Iterator[tuple[Any, float, float]]:
    """(frame, begin, end): the seconds between which this frame is the nearest one stored.

    The last one is shown for its own duration less `slack`, half a step of the result, so that the
    result's length is the clip's, rounded to whole steps.
    """
    step = _step(stream)
    frames = _source_frames(media, stream)
    time, frame = next(frames, (0.0, None))
    if frame is None:
        raise InputError(f"{media.path}: holds no picture that can be decoded")
    begin = time
    for next_time, next_frame in frames:
        end = 0.5 * (time + next_time)
        yield frame, begin, end
        begin, time, frame = end, next_time, next_frame
    duration = float(frame.duration * frame.time_base) if frame.duration else step
    duration = duration if 0 < duration <= _LONGEST_STEP else step
    # Even the only frame of a clip shorter than a step is shown once.
    yield frame, begin, max(time + duration - slack, time + 1e-6)


def _step(stream: Any) -> float:
    """Seconds from frame to frame on average; 1/25 where the file says nothing sensible."""
    rate = float(stream.average_rate or 0)
    return 1.0 / rate if rate * _LONGEST_STEP >= 1 else 0.04


def _pixels(media: Media, upright: _Upright, frame: Any) -> np.ndarray:
    """The frame's pixels; what the conversion raises becomes an InputError."""
    try:
        return upright(frame)
    except Exception as error:
        raise InputError(
            f"{media.path}: frame at second {frame.time or 0:.2f} cannot be converted "
            f"({explain(error)})"
        ) from error
