"""Small clips as phones and recorders make them; their pixels hold the frame number."""

import os
import pathlib
from fractions import Fraction

import numpy as np

_BITS = 7


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """The number as black and white bars; the upper left is red, the upper right green."""
    frame = np.zeros((height, width, 3), np.uint8)
    bits = (number >> np.arange(_BITS)) & 1
    frame[height // 2 :] = 255 * np.repeat(bits, -(-width // _BITS))[:width, None]
    frame[: height // 4, : width // 4] = (255, 0, 0)
    frame[: height // 4, -(width // 4) :] = (0, 255, 0)
    return frame


def number_of(frame: np.ndarray) -> int:
    """The frame number that `picture` stored."""
    height, width = frame.shape[:2]
    bar = -(-width // _BITS)
    row = frame[height * 3 // 4].mean(-1)
    return sum(int(row[min(bar * i + bar // 2, width - 1)] > 127) << i for i in range(_BITS))


def clip(
    path: os.PathLike, *, times=None, frames=50, fps=25, codec="libx264", **options
) -> pathlib.Path:
    """Writes a clip of `picture`s.

    `times` are time stamps in milliseconds, `rotation` a display rotation, `aspect` a pixel aspect,
    `sound` mono samples at 16 kHz, `delay` the sound's start in seconds, `flags` those of mov,
    `container` any other options of the container.
    """
    import av

    flags = options.get("container", {})
    if "flags" in options:
        flags = {"movflags": options["flags"]}
    with av.open(str(path), "w", options=flags) as container:
        video = container.add_stream(codec, rate=fps)
        video.height, video.width = options.get("size", (48, 64))
        video.pix_fmt = "yuv420p"
        video.codec_context.options = {"crf": "10"} if codec == "libx264" else {"qscale": "2"}
        if times is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if "rotation" in options:
            video.set_display_rotation(options["rotation"])
        if "matrix" in options:
            video.set_display_matrix(options["matrix"])
        if "aspect" in options:
            video.codec_context.sample_aspect_ratio = options["aspect"]
        if "sound" in options:
            audio = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(frames if times is None else len(times)):
            frame = av.VideoFrame.from_ndarray(
                picture(i, video.height, video.width), format="rgb24"
            )
            frame.pts = i if times is None else times[i]
            frame.time_base = Fraction(1, fps if times is None else 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if "sound" in options:
            offset = round(16000 * options.get("delay", 0.0))
            for start in range(0, len(options["sound"]), 1024):
                piece = np.asarray(options["sound"][start : start + 1024], np.float32)
                frame = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
                frame.rate, frame.pts, frame.time_base = 16000, start + offset, Fraction(1, 16000)
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return pathlib.Path(path)


def mutated(data: bytes, seed: int) -> bytes:
    """`data` with damage of one of six kinds, decided by the seed."""
    rng = np.random.default_rng(seed)
    result = bytearray(data)
    kind = rng.integers(6)
    first, last = sorted(rng.integers(0, len(data), 2))
    if kind == 3:
        return bytes(result[:first] + result[last:])
    if kind == 4:  # a part is there twice
        return bytes(result[:last] + result[first:])
    if kind == 5:  # lengths and counts at the ends of their range
        for _ in range(rng.integers(1, 6)):
            word = [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000][rng.integers(4)]
            place = rng.integers(0, max(1, len(data) - 4))
            result[place : place + 4] = word.to_bytes(4, ["big", "little"][rng.integers(2)])
        return bytes(result)
    low, high = [(0, len(data)), (0, min(len(data), 800)), (max(0, len(data) - 1500), len(data))][
        kind
    ]
    for _ in range(rng.integers(1, 20)):
        result[rng.integers(low, high)] = rng.integers(256)
    return bytes(result)
