"""Pitch by autocorrelation, with the cheapest path through the candidates (Boersma 1993).

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound", Proc. Institute of Phonetic Sciences Amsterdam 17: the autocorrelation of
a windowed piece is divided by that of the window, its maxima are candidates, and a path through the
candidates of all rows pays for octave jumps and for changes between voiced and unvoiced. Defaults
are Praat's, with the range and voicing threshold of GeneFace and Real3D-Portrait (80 to 750 Hz,
0.6). Not differentiable: the path is a choice.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxhead.audio.mel import HOP, RATE, frames_of

# Lags between samples at which the autocorrelation is evaluated; a parabola does the rest.
_OVERSAMPLING = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class PitchSettings:
    """What counts as voice.

    Attributes:
        low, high: range of pitch in hertz.
        voicing: correlation from which a piece is voiced.
        silence: share of the loudest peak below which a piece is silent.
        octave_cost: favours higher candidates, per octave.
        jump_cost: of changing pitch from row to row, per octave.
        change_cost: of changing between voiced and unvoiced.
        candidates: largest number of maxima looked at.
    """

    low: float = 80.0
    high: float = 750.0
    voicing: float = 0.6
    silence: float = 0.03
    octave_cost: float = 0.01
    jump_cost: float = 0.35
    change_cost: float = 0.14
    candidates: int = 14


class Candidates(NamedTuple):
    """Possible pitches of N rows.

    Attributes:
        hertz: (N, C) frequencies, 0 where there is no candidate.
        strength: (N, C) autocorrelation there, at most 1; 0 where there is none.
        level: (N,) largest magnitude near the row's centre.
    """

    hertz: jax.Array
    strength: jax.Array
    level: jax.Array


class Pitch(NamedTuple):
    """Pitch of N rows.

    Attributes:
        hertz: (N,) float32, 0 where unvoiced.
        strength: (N,) float32 in [0, 1]: autocorrelation at the pitch, 0 where unvoiced.
    """

    hertz: jax.Array
    strength: jax.Array


def window_size(rate: int, settings: PitchSettings) -> int:
    """Returns the samples of one piece: three periods of the lowest pitch, an even number."""
    return 2 * (int(3.0 / settings.low * rate) // 2 - 1)


def pitch(
    samples: ArrayLike,
    *,
    rate: int = RATE,
    hop: int = HOP,
    first: int | None = None,
    rows: int | None = None,
    settings: PitchSettings = PitchSettings(),
) -> Pitch:
    """Returns the pitch of each row of `hop` samples. Not changed by a factor on the samples.

    Args:
        samples: (S,).
        rate: samples per second.
        hop: samples per row.
        first: row 0 lies between the samples first - 1 and first; None for the middle of the hop.
        rows: number of rows; None for one per begun `hop`.
        settings: what counts as voice.
    """
    samples = jnp.asarray(samples, jnp.float32)
    found = pitch_candidates(samples, rate=rate, hop=hop, first=first, rows=rows, settings=settings)
    if not samples.shape[0]:
        return Pitch(found.level, found.level)
    return best_path(found, peak=loudest(samples), step=hop / rate, settings=settings)


def praat_layout(
    samples: int,
    *,
    rate: int = RATE,
    hop: int = HOP,
    settings: PitchSettings = PitchSettings(),
) -> tuple[int, int]:
    """Returns (first, rows) for `pitch` as Praat lays rows into a sound: as many whole windows as
    fit, in its middle; (0, 0) where none fits. GeneFace repeats the last one up to the length of
    its mel.

    Args:
        samples, rate, hop: of the sound.
        settings: its lowest pitch gives the window.
    """
    seconds, window, step = samples / rate, 3.0 / settings.low, hop / rate
    # A window that fits but for rounding fits.
    rows = int(np.floor((seconds - window) / step + 1e-9)) + 1
    if rows < 1:
        return 0, 0
    return int(np.floor(rate * (seconds - (rows - 1) * step) / 2 + 0.5)), rows


def coarse_pitch(hertz: ArrayLike) -> jax.Array:
    """Returns int32 classes 1 to 255 of pitches: GeneFace's and Real3D-Portrait's embedding index.

    254 steps of the mel scale 1127 ln(1 + f / 700) from 50 to 1100 Hz; unvoiced (0 Hz) is 1.

    Args:
        hertz: (...) pitches, 0 where unvoiced.
    """
    mel = lambda f: 1127.0 * jnp.log1p(f / 700.0)  # noqa: E731
    low, high = 1127.0 * np.log1p(50 / 700.0), 1127.0 * np.log1p(1100 / 700.0)
    place = 1.0 + 254.0 * (mel(jnp.asarray(hertz, jnp.float32)) - low) / (high - low)
    return jnp.floor(jnp.clip(place, 1.0, 255.0) + 0.5).astype(jnp.int32)


def loudest(samples: ArrayLike) -> jax.Array:
    """Returns (): the largest distance of a sample from the mean, to which `silence` refers."""
    return jnp.max(jnp.abs(samples - jnp.mean(samples)), initial=0.0)


def pitch_candidates(
    samples: ArrayLike,
    *,
    rate: int = RATE,
    hop: int = HOP,
    first: int | None = None,
    rows: int | None = None,
    settings: PitchSettings = PitchSettings(),
) -> Candidates:
    """Returns the maxima of each row's normalised autocorrelation; arguments as for `pitch`."""
    size = window_size(rate, settings)
    if size < 8 or not 0 < settings.low < settings.high <= rate / 2:
        raise ValueError(
            f"pitch from {settings.low} to {settings.high} Hz at {rate} samples per second"
        )
    first = hop // 2 if first is None else first
    samples = jnp.asarray(samples, jnp.float32)
    period = int(rate / settings.low)
    around = frames_of(samples, size=2 * period, hop=hop, lead=period - first, rows=rows)
    pieces = frames_of(samples, size=size, hop=hop, lead=size // 2 - first, rows=rows)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, size + 1) / (size + 1))
    pieces = (pieces - around.mean(1, keepdims=True)) * window.astype(np.float32)
    half = period // 2 + 1
    middle = slice(max(0, size // 2 - half), size // 2 + half)
    level = jnp.max(jnp.abs(pieces[:, middle]), axis=1, initial=0.0)
    return Candidates(*_maxima(_autocorrelation(pieces, window), rate, settings), level)


def _autocorrelation(pieces: jax.Array, window: np.ndarray) -> jax.Array:
    """(N, L): normalised autocorrelation at lags of 1 / _OVERSAMPLING samples, 1 at lag 0.

    Zeros behind the power spectrum are band-limited interpolation of the autocorrelation.
    """
    size = pieces.shape[1]
    length = 1 << int(np.ceil(np.log2(1.5 * size)))
    fine, lags = length * _OVERSAMPLING, size // 2 * _OVERSAMPLING
    scale = jnp.maximum(jnp.max(jnp.abs(pieces), axis=1, keepdims=True, initial=0.0), 1e-30)
    spectrum = jnp.fft.rfft(pieces / scale, n=length)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    power = jnp.pad(power, ((0, 0), (0, fine // 2 - length // 2)))
    raw = jnp.fft.irfft(power, n=fine)[:, :lags]
    own = np.abs(np.fft.rfft(window, n=length)) ** 2
    own = np.fft.irfft(np.pad(own, (0, fine // 2 - length // 2)), n=fine)[:lags]
    energy = jnp.where(raw[:, :1] > 0, raw[:, :1], 1.0)
    return raw / energy / (own / own[0]).astype(np.float32)


def _maxima(r: jax.Array, rate: int, settings: PitchSettings) -> tuple[jax.Array, jax.Array]:
    """(N, C) frequencies and strengths of the strongest local maxima in the range."""
    scale = rate * _OVERSAMPLING
    low = max(1, int(np.floor(scale / settings.high)))
    high = min(r.shape[1] - 2, int(np.ceil(scale / settings.low)))
    left, here, right = r[:, low - 1 : high], r[:, low : high + 1], r[:, low + 1 : high + 2]
    curve = 2 * here - left - right
    shift = 0.5 * (right - left) / jnp.where(curve > 0, curve, 1.0)
    hertz = scale / (np.arange(low, high + 1, dtype=np.float32) + shift)
    value = here + 0.25 * (right - left) * shift
    value = jnp.where(value > 1, 1 / value, value)
    inside = (hertz > settings.low) & (hertz < settings.high)
    is_peak = (here > left) & (here >= right) & (here > 0.5 * settings.voicing) & inside
    rank = jnp.where(is_peak, value - settings.octave_cost * jnp.log2(settings.low / hertz), -9.0)
    found, place = jax.lax.top_k(rank, min(settings.candidates, rank.shape[1]))
    there = found > -9.0
    take = lambda x: jnp.where(there, jnp.take_along_axis(x, place, 1), 0.0)  # noqa: E731
    return take(hertz), take(value)


def best_path(
    found: Candidates,
    *,
    peak: jax.Array | np.ndarray | np.floating | float,
    step: float,
    settings: PitchSettings = PitchSettings(),
    valid: ArrayLike | None = None,
) -> Pitch:
    """Returns the pitch along the path of greatest strength less costs (Viterbi).

    Args:
        found: candidates of N rows.
        peak: () loudest magnitude of the whole sound.
        step: seconds from row to row; costs are per 10 ms.
        settings: what counts as voice.
        valid: (N,) bool, rows that are there; others, behind the last, change nothing.
    """
    rows = found.hertz.shape[0]
    valid = jnp.ones(rows, bool) if valid is None else jnp.asarray(valid)
    if not rows:
        return Pitch(found.level, found.level)
    voiced = found.hertz > 0
    octaves = jnp.where(voiced, jnp.log2(jnp.where(voiced, found.hertz, 1.0)), 0.0)
    worth = found.strength - settings.octave_cost * (np.log2(settings.high) - octaves)
    level = jnp.where(peak > 0, found.level / jnp.where(peak > 0, peak, 1.0), 0.0)
    silent = 2.0 - jnp.minimum(level, 1.0) * (1 + settings.voicing) / settings.silence
    unvoiced = settings.voicing + jnp.maximum(0.0, silent)
    # Place 0 is "unvoiced", candidates that are not there never win.
    worth = jnp.concatenate([unvoiced[:, None], jnp.where(voiced, worth, -1e9)], 1)
    octaves = jnp.pad(octaves, ((0, 0), (1, 0)))
    is_voiced = np.arange(worth.shape[1]) > 0
    correction = 0.01 / step

    def forward(carry, row):
        total, former = carry
        worth, octaves, valid = row
        jump = settings.jump_cost * correction * jnp.abs(former[:, None] - octaves[None])
        changed = is_voiced[:, None] != is_voiced[None]
        cost = jnp.where(is_voiced[:, None] & is_voiced[None], jump, 0.0)
        cost = jnp.where(changed, settings.change_cost * correction, cost)
        value = total[:, None] - cost
        back = jnp.where(valid, jnp.argmax(value, 0), np.arange(len(is_voiced)))
        after = jnp.max(value, 0) + worth
        # Only differences count: what the best path has collected is taken off, for long sounds.
        after = jnp.where(valid, after - jnp.max(after), total)
        return (after, jnp.where(valid, octaves, former)), back

    start = (worth[0], octaves[0])
    (total, _), back = jax.lax.scan(forward, start, (worth[1:], octaves[1:], valid[1:]))
    last = jnp.argmax(total)
    first, places = jax.lax.scan(lambda now, row: (row[now], now), last, back, reverse=True)
    places = jnp.concatenate([first[None], places])[:, None]
    pick = lambda x: jnp.take_along_axis(jnp.pad(x, ((0, 0), (1, 0))), places, 1)[:, 0]  # noqa: E731
    keep = valid & (places[:, 0] > 0)
    return Pitch(
        jnp.where(keep, pick(found.hertz), 0.0), jnp.where(keep, pick(found.strength), 0.0)
    )
