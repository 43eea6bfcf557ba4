"""Sines and cosines of positions (Mildenhall et al. 2020, section 5.1, without the factor pi)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.encodings.sincos import sincos

SPACINGS = ("log", "linear")


def frequency(
    x: jax.Array, *, bands: int, include_input: bool = True, spacing: str = "log"
) -> jax.Array:
    """Returns sines and cosines of x at growing frequencies, in the order of AD-NeRF and NeRFace.

    Args:
        x: positions [..., D].
        bands: number of frequencies B; 0 leaves only the input.
        include_input: whether x itself comes first.
        spacing: "log" for 2^0, 2^1 .. 2^(B-1), "linear" for B even steps over the same range.

    Returns:
        [..., D (2 B + 1)] (or D 2 B without the input): x, then per frequency the sines of all
        axes, then their cosines.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"spacing is {spacing!r}, expected one of {', '.join(SPACINGS)}")
    if bands < 0 or not (bands or include_input):
        raise ValueError(f"bands is {bands}, which leaves nothing to return")
    last = max(bands - 1, 0)
    steps = 2.0 ** np.arange(bands) if spacing == "log" else np.linspace(1, 2.0**last, bands)
    # A product per frequency, not a matrix product, which accelerators would round to bfloat16.
    angles = x[..., None, :] * jnp.asarray(steps, x.dtype)[:, None]
    waves = jnp.stack(sincos(angles), axis=-2)
    waves = waves.reshape(*x.shape[:-1], 2 * bands * x.shape[-1])
    return jnp.concatenate([x, waves], axis=-1) if include_input else waves
