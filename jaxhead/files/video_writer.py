"""Videos written frame by frame: H.264 and AAC in an mp4 that gets its name when it is whole."""

import contextlib
import logging
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from jaxhead.files.atomic import new_file
from jaxhead.files.containers import ACCURATE, explain, import_av
from jaxhead.files.errors import InputError

_SUFFIXES = (".mp4", ".mov", ".mkv")
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_FRAME = 1024
# Numbers of ITU-T H.273 for BT.709 with the limited range, what players assume for H.264.
_BT709, _LIMITED = 1, 1


class VideoWriter:
    """A context manager that encodes frames, and one sound track, into `path`.

    The file appears under its name when the block ends without an exception; an interrupted one
    leaves nothing. Sides that are odd are padded to even ones by repeating the last row or column
    (4:2:0 video has no odd ones). Sound is fed along with the frames, so memory does not grow with
    the length.

        with VideoWriter("out.mp4", 25, audio=samples) as writer:
            for frame in frames:
                writer.write(frame)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float,
        size: tuple[int, int] | None = None,
        audio: np.ndarray | None = None,
        audio_rate: int = 16000,
        crf: int = 18,
        *,
        preset: str = "medium",
        overwrite: bool = False,
    ):
        """Checks the arguments; nothing is written before the block begins.

        Args:
            path: ends in .mp4, .mov or .mkv.
            fps: frames per second.
            size: (height, width) that every frame must have; None takes the first frame's.
            audio: mono samples in [-1, 1], (S,) float; sample 0 sounds with frame 0. What reaches
                beyond the last frame is left out, with a warning if it is more than one frame.
            audio_rate: samples per second, one of AAC's.
            crf: constant quality of x264, 0 (best) to 51.
            preset: speed of x264, "ultrafast" to "veryslow".
            overwrite: replace a file that exists.

        Raises:
            InputError: another suffix, or a rate that cannot be stored.
        """
        self._path = Path(path)
        if self._path.suffix.lower() not in _SUFFIXES:
            raise InputError(f"{path}: suffix, expected one of {', '.join(_SUFFIXES)}")
        if not 0 < fps <= 1000:
            raise InputError(f"{path}: fps is {fps}, expected a rate above 0 and at most 1000")
        if audio is not None and audio_rate not in _AAC_RATES:
            raise InputError(f"{path}: audio rate {audio_rate}, expected one of {_AAC_RATES}")
        if audio is not None and np.ndim(audio) != 1:
            raise ValueError(f"audio has shape {np.shape(audio)}, expected (samples,)")
        self._fps = Fraction(fps).limit_denominator(1001)
        self._size = size
        self._audio, self._audio_rate = audio, int(audio_rate)
        self._options = {"crf": str(int(crf)), "preset": preset}
        self._overwrite = overwrite
        self._stack = contextlib.ExitStack()
        self._container: Any = None
        self._frames = 0
        self._samples = 0

    def __enter__(self) -> "VideoWriter":
        import_av()
        self._temporary = self._stack.enter_context(new_file(self._path, overwrite=self._overwrite))
        return self

    def write(self, frame: np.ndarray) -> None:
        """Appends one uint8 (H, W, 3) RGB frame."""
        frame = np.asarray(frame)
        size = self._size or frame.shape[:2]
        if frame.dtype != np.uint8 or frame.shape != (*size, 3):
            raise ValueError(f"frame is {frame.dtype} {frame.shape}, expected uint8 {(*size, 3)}")
        self._size = size
        height, width = size
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._translated():
            if self._container is None:
                self._open(frame.shape[0], frame.shape[1])
            self._encode(np.ascontiguousarray(frame))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, value, trace)
        with self._stack, self._translated():
            if self._container is None:
                raise InputError(f"{self._path}: no frame to write")
            self._finish()
        return None

    @contextlib.contextmanager
    def _translated(self):
        try:
            yield
        except (InputError, OSError):
            raise  # a full disk is explained by new_file, which knows the place
        except self._av.FFmpegError as error:
            raise InputError(f"{self._path}: cannot be encoded ({explain(error)})") from error

    @property
    def _av(self) -> Any:
        return import_av()

    def _open(self, height: int, width: int) -> None:
        options = {"movflags": "faststart"} if self._path.suffix.lower() != ".mkv" else {}
        # With its protocol, so that a colon in the name is not taken for one.
        place = "file:" + os.path.abspath(self._temporary)
        kind = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}[self._path.suffix.lower()]
        self._container = self._av.open(place, "w", format=kind, options=options)
        # Closed before the file is renamed or removed.
        self._stack.callback(self._close)
        self._video = self._container.add_stream("libx264", rate=self._fps, options=self._options)
        self._video.width, self._video.height = width, height
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.time_base = 1 / self._fps
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        if self._audio is not None:
            self._sound = self._container.add_stream("aac", rate=self._audio_rate, layout="mono")
            self._sound.codec_context.bit_rate = 64_000 if self._audio_rate <= 16_000 else 128_000

    def _close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(Exception):  # only on the way out of another exception
                container.close()

    def _encode(self, pixels: np.ndarray) -> None:
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(
            format="yuv420p",
            dst_colorspace="ITU709",
            dst_color_range="MPEG",
            interpolation=ACCURATE,
        )
        frame.pts, frame.time_base = self._frames, 1 / self._fps
        self._container.mux(self._video.encode(frame))
        self._frames += 1
        self._feed_audio()

    def _feed_audio(self, *, last: bool = False) -> None:
        """Encodes the sound up to the end of the newest frame, in AAC frames until the last."""
        if self._audio is None:
            return
        end = min(len(self._audio), round(self._frames / self._fps * self._audio_rate))
        while self._samples < end and (last or end - self._samples >= _AAC_FRAME):
            count = min(_AAC_FRAME, end - self._samples)
            samples = np.asarray(self._audio[self._samples : self._samples + count], np.float32)
            samples = np.clip(np.nan_to_num(samples), -1.0, 1.0)
            frame = self._av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.rate, frame.pts = self._audio_rate, self._samples
            frame.time_base = Fraction(1, self._audio_rate)
            self._container.mux(self._sound.encode(frame))
            self._samples += count

    def _finish(self) -> None:
        self._feed_audio(last=True)
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._sound.encode(None))
            beyond = len(self._audio) / self._audio_rate - float(self._frames / self._fps)
            if beyond > 1.0 / self._fps + 1e-6:
                logging.getLogger(__name__).warning(
                    "%s: %.2f s of sound beyond the last frame left out", self._path, beyond
                )
        container, self._container = self._container, None
        container.close()
