"""Windows of feature rows per video frame, and the neighbouring windows that smoothing looks at.

Row k of features at `rate` rows per second stands for the time from k / rate to (k + 1) / rate,
frame t of a video for the time t / fps. A window of `size` rows begins size // 2 rows before the
row at which its frame begins: for 16 rows at 50 per second and 25 frames per second these are the
rows 2 t - 8 to 2 t + 7, which is AD-NeRF's rule (windows of 16 with stride 2 over rows that are
padded by 8 zero rows on both sides).
"""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

SIZE = 16
BEFORE, AFTER = 4, 3


def frame_rows(frames: ArrayLike, *, rate: float, fps: float) -> jax.Array:
    """Returns int32 like `frames`: the row at which each frame begins, ties rounded up.

    Args:
        frames: integer frame numbers of any shape, below 2^17.
        rate: rows per second.
        fps: frames per second.
    """
    if not (rate > 0 and fps > 0):
        raise ValueError(f"rate={rate}, fps={fps}: expected values above 0")
    ratio = float(rate) / float(fps)
    if ratio == round(ratio):
        return jnp.asarray(frames, jnp.int32) * round(ratio)
    # The half of a thousandth keeps exact halves from falling to either side by rounding.
    return jnp.floor(jnp.asarray(frames, jnp.float32) * ratio + 0.5005).astype(jnp.int32)


def frame_windows(
    rows: ArrayLike,
    frames: ArrayLike,
    *,
    rate: float,
    fps: float = 25.0,
    size: int = SIZE,
    beyond: ArrayLike | None = 0.0,
) -> jax.Array:
    """Returns (..., size, W): the window of each frame.

    Differentiable in `rows` and `beyond`.

    Args:
        rows: (N, W) features, N may be 0.
        frames: (...) integer frame numbers, also outside the rows.
        rate: rows per second.
        fps: frames per second.
        size: rows per window.
        beyond: () or (W,), stands for rows before the first and behind the last; None repeats these
            two, as DINet does (5 rows at 25 per second, N at least 1).
    """
    rows = jnp.asarray(rows)
    if rows.ndim != 2 or size < 1 or (beyond is None and not rows.shape[0]):
        raise ValueError(f"rows {rows.shape}, size={size}: expected (N, W) and at least 1")
    first = frame_rows(frames, rate=rate, fps=fps) - size // 2
    return _taken(rows, first[..., None] + np.arange(size, dtype=np.int32), beyond)


def adnerf_windows(rows: ArrayLike) -> jax.Array:
    """Returns (ceil(N / 2), 16, W) windows of (N, W) rows at 50 per second: AD-NeRF's `aud.npy`."""
    frames = np.arange(-(-jnp.shape(rows)[0] // 2), dtype=np.int32)
    return frame_windows(rows, frames, rate=50.0, fps=25.0)


def neighbours(
    windows: ArrayLike, frames: ArrayLike, *, before: int = BEFORE, after: int = AFTER
) -> jax.Array:
    """Returns (..., before + 1 + after, *rest): what belongs to the frames around each frame.

    Frames that are not there are zero. AD-NeRF smooths over the codes of the frames t - 4 to t + 3;
    its zeros stand before the audio network, so that such a frame's code is not zero.

    Args:
        windows: (F, *rest), such as (F, size, W).
        frames: (...) integer frame numbers.
        before: frames before each frame.
        after: frames behind it.
    """
    offsets = np.arange(-before, after + 1, dtype=np.int32)
    return _taken(jnp.asarray(windows), jnp.asarray(frames, jnp.int32)[..., None] + offsets, 0.0)


def _taken(rows: jax.Array, index: jax.Array, beyond: ArrayLike | None) -> jax.Array:
    """Rows by number, `beyond` or the nearest for numbers that do not exist."""
    if beyond is None:
        return rows[jnp.clip(index, 0, rows.shape[0] - 1)]
    beyond = jnp.broadcast_to(jnp.asarray(beyond, rows.dtype), rows.shape[1:])
    if not rows.shape[0]:
        return jnp.broadcast_to(beyond, (*index.shape, *rows.shape[1:]))
    inside = (index >= 0) & (index < rows.shape[0])
    found = rows[jnp.clip(index, 0, rows.shape[0] - 1)]
    return jnp.where(inside.reshape(*index.shape, *(1,) * (rows.ndim - 1)), found, beyond)


def check_length(
    seconds: float, *, frames: int, fps: float, what: str = "the sound", tolerance: float = 1.0
) -> str | None:
    """Compares the length of sound or features with that of pictures.

    Returns:
        None where they differ by at most one frame, else one line that says what is done about it;
        the line is also logged as a warning.

    Args:
        seconds: length of the sound.
        frames: number of pictures.
        fps: pictures per second.
        what: name of the sound, for the message.
        tolerance: frames of difference that nobody needs to know of.
    """
    excess = seconds - frames / fps
    if abs(excess) * fps <= tolerance + 1e-6:
        return None
    done = "what is longer is not used" if excess > 0 else "silence follows"
    note = f"{what} lasts {seconds:.2f} s, the {frames} pictures {frames / fps:.2f} s: {done}"
    logging.getLogger(__name__).warning("%s", note)
    return note
