"""Samples as every feature wants them: one channel, 16 kHz, float32."""

import math

import numpy as np

from jaxhead.audio.mel import RATE
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile

# Below, speech has no consonants left; above, a header is wrong.
_RATES = (4000, 192_000)


def mono(
    samples: np.ndarray | RowFile, rate: int, *, what: str = "the sound"
) -> np.ndarray | RowFile:
    """Returns (S,) float32 samples at 16 kHz.

    Channels are averaged. Other rates are resampled by SciPy's polyphase filter, so that S is the
    rounded-up length in seconds times 16000. Samples in a file stay there where nothing changes.

    Args:
        samples: (S,) or (S, channels), floats in [-1, 1] or int16.
        rate: samples per second, 4000 to 192000.
        what: name of the sound, for messages.

    Raises:
        InputError: another shape, type or rate, or values that are not finite.
    """
    if not _RATES[0] <= rate <= _RATES[1] or rate != int(rate):
        raise InputError(
            f"{what}: {rate} samples per second, expected a whole number from {_RATES[0]} to "
            f"{_RATES[1]}"
        )
    if isinstance(samples, RowFile):
        if samples.ndim == 1 and samples.dtype == np.float32 and rate == RATE:
            return samples
        samples = samples[:]
    samples = np.asarray(samples)
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / np.float32(32768.0)
    if samples.ndim not in (1, 2) or samples.dtype.kind != "f" or 0 in samples.shape[1:]:
        raise InputError(
            f"{what}: samples of shape {samples.shape} and type {samples.dtype}, expected (S,) or "
            "(S, channels) of float or int16"
        )
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2:
        samples = samples.mean(1, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise InputError(f"{what}: holds samples that are not finite")
    if rate == RATE or not len(samples):
        return samples
    from scipy import signal

    common = math.gcd(int(rate), RATE)
    return signal.resample_poly(samples, RATE // common, int(rate) // common).astype(np.float32)


def piece(samples: np.ndarray | RowFile, start: int, stop: int) -> np.ndarray:
    """Returns (stop - start,) float32 samples, zero where there are none."""
    result = np.zeros(stop - start, np.float32)
    low, high = max(0, start), min(len(samples), stop)
    if high > low:
        result[low - start : high - start] = samples[low:high]
    return result
