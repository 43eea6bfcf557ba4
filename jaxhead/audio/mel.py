"""Log-mel spectrograms and loudness.

A row covers `hop` samples; its window of `size` samples lies with its centre on the row's by
default. The filters are those of Slaney's Auditory Toolbox as librosa has them: triangles of unit
area on a scale that is linear up to 1 kHz and logarithmic above.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

RATE = 16000
HOP = 320
SIZE = 512
BANDS = 80
FLOOR = 1e-6


def hertz_to_mel(hertz: ArrayLike) -> np.ndarray:
    """Returns Slaney's mel scale: 15 mel at 1 kHz, 27 steps for a factor of 6.4 above."""
    hertz = np.asarray(hertz, np.float64)
    above = 15.0 + 27.0 * np.log(np.maximum(hertz, 1000.0) / 1000.0) / np.log(6.4)
    return np.where(hertz < 1000.0, hertz * 3.0 / 200.0, above)


def mel_to_hertz(mel: ArrayLike) -> np.ndarray:
    """Returns the inverse of `hertz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    above = 1000.0 * np.exp(np.log(6.4) * (np.maximum(mel, 15.0) - 15.0) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, above)


def mel_filters(
    *,
    bands: int = BANDS,
    size: int = SIZE,
    rate: int = RATE,
    low: float = 80.0,
    high: float = 7600.0,
) -> np.ndarray:
    """Returns (size // 2 + 1, bands) float32: the weight of each frequency in each band.

    Args:
        bands: number of bands.
        size: samples of the Fourier transform.
        rate: samples per second.
        low, high: ends of the range in hertz, 0 <= low < high <= rate / 2.
    """
    if not (bands > 0 and 0 <= low < high <= rate / 2):
        raise ValueError(f"{bands} bands from {low} to {high} Hz at {rate} samples per second")
    edges = mel_to_hertz(np.linspace(hertz_to_mel(low), hertz_to_mel(high), bands + 2))
    frequency = np.arange(size // 2 + 1)[:, None] * (rate / size)
    rising = (frequency - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - frequency) / np.diff(edges)[1:]
    area = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(0.0, np.minimum(rising, falling)) * area).astype(np.float32)


def frames_of(
    samples: ArrayLike, *, size: int, hop: int, lead: int, rows: int | None = None
) -> jax.Array:
    """Returns (rows, size): overlapping pieces; sample k * hop - lead is the first of row k.

    Samples before the first and behind the last are zero.

    Args:
        samples: (S,).
        size: samples per row.
        hop: samples from row to row.
        lead: samples that row 0 begins before the first sample; negative begins behind it.
        rows: number of rows; None for one per begun `hop`.
    """
    samples = jnp.asarray(samples)
    rows = -(-samples.shape[0] // hop) if rows is None else rows
    if not rows:
        return jnp.zeros((0, size), samples.dtype)
    needed = (rows - 1) * hop + size
    tail = max(0, needed - lead - samples.shape[0])
    padded = jnp.pad(samples, (max(0, lead), tail))[max(0, -lead) :]
    # Whole hops side by side instead of one gather per sample.
    parts = -(-size // hop)
    padded = jnp.pad(padded, (0, max(0, (rows + parts - 1) * hop - padded.shape[0])))
    hops = padded[: (rows + parts - 1) * hop].reshape(-1, hop)
    return jnp.concatenate([hops[i : i + rows] for i in range(parts)], 1)[:, :size]


def log_mel(
    samples: ArrayLike,
    *,
    rate: int = RATE,
    hop: int = HOP,
    size: int = SIZE,
    bands: int = BANDS,
    low: float = 80.0,
    high: float = 7600.0,
    lead: int | None = None,
    rows: int | None = None,
) -> jax.Array:
    """Returns (rows, bands) float32: log10 of the mel bands of the magnitude spectrum, floor -6.

    The default numbers and the formula are GeneFace's mel, which lies 96 samples later: `lead=0`
    and `rows=1 + (S - 512) // 320` give its rows. Twice the amplitude adds 0.301 to every value
    above the floor. Differentiable; zero below the floor.

    Args:
        samples: (S,) in [-1, 1].
        rate: samples per second.
        hop: samples per row.
        size: samples per window (Hann) and of the Fourier transform.
        bands, low, high: see `mel_filters`.
        lead, rows: see `frames_of`; None lays the window's centre on the row's.
    """
    samples = jnp.asarray(samples, jnp.float32)
    lead = (size - hop) // 2 if lead is None else lead
    pieces = frames_of(samples, size=size, hop=hop, lead=lead, rows=rows)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    spectrum = jnp.fft.rfft(pieces * window.astype(np.float32))
    # The root of a power that is zero would have no gradient; this floor is far below the log's.
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    magnitude = jnp.sqrt(jnp.maximum(power, 1e-20))
    filters = mel_filters(bands=bands, size=size, rate=rate, low=low, high=high)
    mel = jnp.matmul(magnitude, filters, precision=jax.lax.Precision.HIGHEST)
    return jnp.log10(jnp.maximum(mel, FLOOR))


def log_energy(
    samples: ArrayLike,
    *,
    hop: int = HOP,
    size: int = SIZE,
    lead: int | None = None,
    rows: int | None = None,
) -> jax.Array:
    """Returns (rows,) float32: log10 of the root mean square of each window, floor -6.

    Args:
        samples: (S,) in [-1, 1].
        hop, size, lead, rows: as for `log_mel`.
    """
    lead = (size - hop) // 2 if lead is None else lead
    samples = jnp.asarray(samples, jnp.float32)
    pieces = frames_of(samples, size=size, hop=hop, lead=lead, rows=rows)
    return 0.5 * jnp.log10(jnp.maximum(jnp.mean(jnp.square(pieces), 1), FLOOR**2))
