"""Mel-frequency cepstral coefficients and what Mozilla DeepSpeech 0.1.0 makes of them.

The coefficients are those of python_speech_features 0.6 for 16-bit samples at 16 kHz (pre-emphasis,
400 samples every 160 without a window function, 26 triangles up to 8 kHz, orthonormal cosine
transform, liftering, logarithm of the energy in place of coefficient 0). DeepSpeech reads every
second row with nine rows of context on each side, less one mean and divided by one deviation of the
whole sound: no value is known before the sound has ended.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxhead.audio.mel import RATE, frames_of

SIZE, STEP, FFT = 400, 160, 512
BANDS = 26
CONTEXT = 9
EMPHASIS = 0.97
_LIFTER = 22
# What python_speech_features puts in place of zeros before the logarithm: double precision's
#     epsilon.
_LEAST = float(np.finfo(np.float64).eps)


def row_count(samples: int) -> int:
    """Returns the number of coefficient rows of so many samples; the last one may be padded."""
    return 1 if samples <= SIZE else 1 + -(-(samples - SIZE) // STEP)


def filters() -> np.ndarray:
    """Returns (257, 26) float32: triangles with corners at whole frequencies, peaks of one."""
    mel = np.linspace(0.0, 2595.0 * np.log10(1 + RATE / 2 / 700.0), BANDS + 2)
    corners = np.floor((FFT + 1) * 700.0 * (10 ** (mel / 2595.0) - 1) / RATE)
    at = np.arange(FFT // 2 + 1)[:, None]
    left, peak, right = corners[:-2], corners[1:-1], corners[2:]
    rising = np.where((at >= left) & (at < peak), (at - left) / np.maximum(peak - left, 1), 0.0)
    falling = np.where((at >= peak) & (at < right), (right - at) / np.maximum(right - peak, 1), 0.0)
    return (rising + falling).astype(np.float32)


def cosines() -> np.ndarray:
    """Returns (26, 26) float32: the orthonormal cosine transform (type 2) and the lifter."""
    order, band = np.arange(BANDS), np.arange(BANDS)[:, None]
    basis = np.sqrt(2.0 / BANDS) * np.cos(np.pi * order * (2 * band + 1) / (2 * BANDS))
    basis[:, 0] /= np.sqrt(2.0)
    return (basis * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER))).astype(np.float32)


def emphasised(samples: ArrayLike) -> jax.Array:
    """Returns (S,) float32: each sample less 0.97 of the one before; the first stays what it is."""
    samples = jnp.asarray(samples, jnp.float32)
    former = jnp.pad(samples, (1, 0))[:-1] if samples.shape[0] else samples
    return samples - jnp.float32(EMPHASIS) * former


def coefficients(emphasised: ArrayLike, *, every: int = 1, rows: int | None = None) -> jax.Array:
    """Returns (rows, 26) float32 coefficients of (S,) samples after pre-emphasis.

    Differentiable where no sample is zero throughout a row.

    Args:
        emphasised: (S,), the scale of 16-bit integers; zeros follow behind them.
        every: keeps every so many rows: 1 gives 100 rows per second, 2 DeepSpeech's 50.
        rows: number of rows; None for all of the sound (see `row_count`).
    """
    emphasised = jnp.asarray(emphasised, jnp.float32)
    rows = -(-row_count(emphasised.shape[0]) // every) if rows is None else rows
    pieces = frames_of(emphasised, size=SIZE, hop=STEP * every, lead=0, rows=rows)
    spectrum = jnp.fft.rfft(pieces, n=FFT)
    power = (jnp.square(spectrum.real) + jnp.square(spectrum.imag)) / FFT
    energy = power.sum(-1, keepdims=True)
    matmul = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    bands = matmul(power, filters())
    log = lambda x: jnp.log(jnp.where(x == 0, _LEAST, x))  # noqa: E731
    return jnp.concatenate([log(energy), matmul(log(bands), cosines())[:, 1:]], 1)


def mfcc(samples: ArrayLike, *, every: int = 1) -> jax.Array:
    """Returns (rows, 26) float32 coefficients of (S,) samples at 16 kHz, see `coefficients`.

    Args:
        samples: (S,) on the scale of 16-bit integers, -32768 to 32767.
        every: keeps every so many rows.
    """
    return coefficients(emphasised(samples), every=every)


class Scale(NamedTuple):
    """The one mean and deviation of the network's whole input, () float32 each."""

    mean: jax.Array | np.float32
    deviation: jax.Array | np.float32


def context_scale(coefficients: ArrayLike) -> Scale:
    """Returns mean and deviation of the (T, 494) inputs without making them.

    Args:
        coefficients: (T, 26), at least one row. Rows near the ends stand in fewer windows, and the
            windows there hold zeros.
    """
    coefficients = jnp.asarray(coefficients)
    count = coefficients.shape[0]
    at = np.arange(count)
    windows = np.minimum(at, CONTEXT) + np.minimum(count - 1 - at, CONTEXT) + 1
    total = count * (2 * CONTEXT + 1) * BANDS
    weight = (windows / total).astype(np.float32)[:, None]
    mean = jnp.sum(weight * coefficients)
    zeros = np.float32(1 - windows.sum() * BANDS / total)
    variance = jnp.sum(weight * jnp.square(coefficients - mean)) + zeros * jnp.square(mean)
    # Only a sound whose every row has the energy 1 has none.
    return Scale(mean, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)))


def with_context(
    coefficients: ArrayLike, scale: Scale, *, start: int = 0, rows: int | None = None
) -> jax.Array:
    """Returns (rows, 494) float32: DeepSpeech's input for the rows from `start` on.

    Args:
        coefficients: (T, 26); rows that do not exist are zero.
        scale: see `context_scale`.
        start: first row wanted.
        rows: number of rows; None for all from `start` on.
    """
    coefficients = jnp.asarray(coefficients)
    rows = coefficients.shape[0] - start if rows is None else rows
    padded = jnp.pad(coefficients, ((CONTEXT, CONTEXT + max(0, rows)), (0, 0)))
    parts = [padded[start + i : start + i + rows] for i in range(2 * CONTEXT + 1)]
    return (jnp.concatenate(parts, 1) - scale.mean) / scale.deviation


def deepspeech_inputs(samples: ArrayLike) -> jax.Array:
    """Returns (T, 494) float32: DeepSpeech's input for (S,) samples on the scale of 16-bit
    integers.

    T is half the number of coefficient rows, rounded up: 50 rows per second.
    """
    coefficients = mfcc(samples, every=2)
    return with_context(coefficients, context_scale(coefficients))
