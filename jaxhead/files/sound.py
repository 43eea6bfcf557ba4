"""Sound: mono float32 samples out of videos, WAV and FLAC files, and 16-bit WAV files."""

import os
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxhead.files.atomic import new_file
from jaxhead.files.containers import (
    VIDEO_KINDS,
    Media,
    decoded_frames,
    explain,
    local_file,
    open_media,
)
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile

_WHAT = "sound (wav, flac) or a video (mp4, mov, mkv, webm, avi)"
_MAX_SECONDS = 2 * 3600
# Time stamps of sound jitter by their resolution; a larger step is a hole or an overlap.
_JITTER = 0.05
# Recorders go up to 768 kHz. A damaged header says anything up to 4 GHz, for which the resampler's
# filter takes seconds and gigabytes.
_STORED_RATES = (1000, 1_000_000)
_BLOCK = 1 << 18


def read_audio(path: str | os.PathLike, *, rate: int = 16000) -> np.ndarray | None:
    """The sound of a file as float32 (S,) mono samples in [-1, 1] at `rate` per second.

    For a video sample 0 belongs to the first frame's time (a track that begins later is preceded by
    silence, one that begins earlier loses its head), so that frame t is centred on sample t / fps *
    rate. Channels are averaged. A 16-bit WAV at this rate is read without PyAV.

    Args:
        path: a WAV or FLAC file, or a video.
        rate: samples per second of the result.

    Returns:
        The samples, or None for a video without a sound track. A WAV without samples gives shape
        (0,).

    Raises:
        InputError: missing, of another kind, damaged, cut off, with values that are not finite, or
            longer than two hours.
    """
    if not 1000 <= rate <= 192_000:
        raise InputError(f"rate is {rate}, expected 1000 to 192000 samples per second")
    samples = _read_plain_wav(local_file(path, _WHAT), rate)
    if samples is not None:
        return samples
    with open_media(path, kinds=(*VIDEO_KINDS, "wav", "flac"), what=_WHAT) as media:
        if not media.container.streams.audio:
            return None
        samples = _collect(media, rate)
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: holds samples that are not finite")
    return np.clip(samples, -1.0, 1.0, out=samples)  # two hours are half a gigabyte


def audio_rows(
    path: str | os.PathLike, *, rate: int = 16000, folder: str | os.PathLike | None = None
) -> RowFile | None:
    """The sound of a file as `read_audio` returns it, on disk instead of in memory.

    Args:
        path: a WAV or FLAC file, or a video.
        rate: samples per second of the result.
        folder: on the disk that shall hold the samples; None for the system's temporary folder.

    Returns:
        A file without a name of float32 samples in [-1, 1], sliced like (S,); None for a video
        without a sound track.

    Raises:
        InputError: as for `read_audio`.
    """
    if not 1000 <= rate <= 192_000:
        raise InputError(f"rate is {rate}, expected 1000 to 192000 samples per second")
    place = local_file(path, _WHAT)
    rows = RowFile(folder, ())
    try:
        if _plain_wav_frames(place, rate) is not None:
            try:
                for block in _plain_wav_blocks(place):
                    rows.append(block)
                return rows
            except (wave.Error, EOFError, ValueError):  # what is wrong, FFmpeg says below
                rows.close()
                rows = RowFile(folder, ())
        with open_media(path, kinds=(*VIDEO_KINDS, "wav", "flac"), what=_WHAT) as media:
            if media.container.streams.audio:
                _store(media, rate, rows)
                return rows
    except BaseException:
        rows.close()
        raise
    rows.close()
    return None


def _store(media: Media, rate: int, rows: RowFile) -> None:
    """Writes the samples as they come; what may be padding at the end is held back."""
    origin, count, kept, held = _start(media), 0, 0, []
    for chunk in _placed(media, rate, origin):
        if not np.isfinite(chunk).all():
            raise InputError(f"{media.path}: holds samples that are not finite")
        held.append(np.clip(chunk, -1.0, 1.0))
        count += len(chunk)
        if count - kept > 2 * _BLOCK:
            together = np.concatenate(held)
            rows.append(together[:-_BLOCK])
            kept, held = kept + len(together) - _BLOCK, [together[-_BLOCK:].copy()]
    together = np.concatenate(held) if held else np.zeros(0, np.float32)
    rows.append(together[: _stated_end(media, rate, origin, count) - kept])


def _read_plain_wav(path: Path, rate: int) -> np.ndarray | None:
    """The samples of a 16-bit PCM WAV at `rate`, None for any other file."""
    if _plain_wav_frames(path, rate) is None:
        return None
    try:
        blocks = list(_plain_wav_blocks(path))
    except Exception:  # FFmpeg says what is wrong, or reads what the wave module does not know
        return None
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _plain_wav_frames(path: Path, rate: int) -> int | None:
    """Number of samples per channel of a 16-bit PCM WAV at `rate`, None for any other file."""
    try:
        with wave.open(str(path), "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            if width != 2 or file.getframerate() != rate:
                return None
            if file.getnframes() > 0x7FF00000 // channels:
                return None  # a recording of unknown length, as pipes write them
            frames, held = file.getnframes(), path.stat().st_size // (2 * channels)
    except Exception:
        return None
    if frames > held:
        raise InputError(f"{path}: cut off at second {held / rate:.2f} of {frames / rate:.2f}")
    if frames > _MAX_SECONDS * rate:
        raise InputError(f"{path}: {frames / rate:.0f} s, expected at most {_MAX_SECONDS}")
    return frames


def _plain_wav_blocks(path: Path) -> Iterator[np.ndarray]:
    """Mono float32 samples in order."""
    with wave.open(str(path), "rb") as file:
        channels = file.getnchannels()
        while stored := file.readframes(_BLOCK):
            data = np.frombuffer(stored, "<i2", len(stored) // (2 * channels) * channels)
            samples = data.reshape(-1, channels).astype(np.float32)
            yield samples.mean(axis=1, dtype=np.float32) / np.float32(32768.0)


def _collect(media: Media, rate: int) -> np.ndarray:
    """All samples at `rate`, placed by their time stamps relative to the first picture."""
    origin = _start(media)
    chunks = list(_placed(media, rate, origin))
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return samples[: _stated_end(media, rate, origin, samples.size)]


def _placed(media: Media, rate: int, origin: float) -> Iterator[np.ndarray]:
    """Samples in order from `origin` on, silence where there are none."""
    count, begun = 0, False
    for time, samples in _resampled(media, rate):
        if time is not None:
            ahead = round((time - origin) * rate) - count
            if ahead > (_JITTER * rate if begun else 0):
                _bound(media, count + ahead, rate)
                count, begun = count + ahead, True
                yield np.zeros(ahead, np.float32)
            elif ahead < (-_JITTER * rate if begun else 0):
                samples = samples[-ahead:]
        if samples.size:
            count, begun = count + samples.size, True
            _bound(media, count, rate)
            yield samples


def _stated_end(media: Media, rate: int, origin: float, count: int) -> int:
    """Number of samples up to the track's end; older FFmpeg also decodes the codec's padding."""
    stream = media.container.streams.audio[0]
    if media.kind != "mov" or stream.duration is None or not stream.time_base:
        return count
    end = float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin
    end = round(end * rate)
    # Only padding, at most a frame or two of the codec, is cut: a wrong duration loses no speech.
    return end if 0 < count - end <= 4096 * rate / max(stream.rate or rate, 1) else count


def _bound(media: Media, count: int, rate: int) -> None:
    if count > _MAX_SECONDS * rate:
        raise InputError(f"{media.path}: more than {_MAX_SECONDS} s of sound")


def _start(media: Media) -> float:
    """Time of the first picture in seconds, or of the first sample where there is no picture."""
    streams = media.container.streams
    for stream in (*streams.video, *streams.audio):
        if stream.start_time is not None and stream.time_base:
            return float(stream.start_time * stream.time_base)
    return 0.0


def _resampled(media: Media, rate: int) -> Iterator[tuple[float | None, np.ndarray]]:
    """(seconds or None, mono float32 samples) in stored order."""
    import av

    stream = media.container.streams.audio[0]
    if stream.codec_context is None:
        raise InputError(f"{media.path}: its audio codec is unknown to this FFmpeg")
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
    for frame in decoded_frames(media, stream):
        time = frame.time
        if not _STORED_RATES[0] <= frame.sample_rate <= _STORED_RATES[1]:
            raise InputError(
                f"{media.path}: sound of {frame.sample_rate} samples per second, expected "
                f"{_STORED_RATES[0]} to {_STORED_RATES[1]}"
            )
        try:
            pieces = resampler.resample(frame)
        except Exception as error:
            raise InputError(
                f"{media.path}: sound changes its kind at second {time or 0:.2f} ({explain(error)})"
            ) from error
        for piece in pieces:
            yield time, piece.to_ndarray()[0]
            time = None
    for piece in resampler.resample(None):
        yield None, piece.to_ndarray()[0]


def write_wav(path: str | os.PathLike, samples: np.ndarray, rate: int) -> None:
    """Writes mono samples as a 16-bit WAV at once, replacing a former file.

    Args:
        path: the file.
        samples: (S,) float in [-1, 1]; values beyond are clipped.
        rate: samples per second.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise ValueError(f"samples have shape {samples.shape}, expected finite values of (S,)")
    with (
        new_file(path, overwrite=True, needed=2 * len(samples) + 44) as temporary,
        open(temporary, "wb") as stream,
        wave.open(stream, "wb") as file,
    ):
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(rate))
        # In blocks: an hour of sound takes more than the recording's pictures ever do.
        for start in range(0, len(samples), _BLOCK):
            block = np.rint(samples[start : start + _BLOCK] * 32768.0)
            file.writeframesraw(np.clip(block, -32768, 32767).astype("<i2").tobytes())
