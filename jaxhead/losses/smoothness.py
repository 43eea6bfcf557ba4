"""Smoothness of pictures, depth maps and grids: total variation, plain or edge-aware."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def total_variation(values: jax.Array, *, axes: Sequence[int], power: int = 1) -> jax.Array:
    """Returns the sum over axes of the mean of |difference of neighbours|**power, a scalar.

    Args:
        values: floats of any shape: an image [H, W, C] with axes (0, 1), a grid with three axes.
        axes: axes along which neighbours are compared; an axis of length 1 adds nothing.
        power: 1 (total variation) or 2 (squared differences).
    """
    if power not in (1, 2):
        raise ValueError(f"power is {power}, expected 1 or 2")
    total = jnp.zeros((), values.dtype)
    for axis in axes:
        if values.shape[axis] > 1:
            difference = jnp.diff(values, axis=axis)
            total += jnp.mean(jnp.abs(difference) if power == 1 else jnp.square(difference))
    return total


def depth_smoothness(depth: jax.Array, image: jax.Array | None = None) -> jax.Array:
    """Returns mean |dx| + mean |dy| of a depth map, a scalar in the map's unit.

    Args:
        depth: [H, W].
        image: [H, W, C] in [0, 1]; if given, every difference is multiplied by exp(-m), m the mean
            over channels of the image's absolute difference at the same place, so that depth may
            jump where the image does (edge-aware smoothness of Godard et al. 2017, equation 3).
    """
    if image is None:
        return total_variation(depth, axes=(0, 1))
    total = jnp.zeros((), depth.dtype)
    for axis in (0, 1):
        edges = jnp.mean(jnp.abs(jnp.diff(image, axis=axis)), axis=-1)
        total += jnp.mean(jnp.abs(jnp.diff(depth, axis=axis)) * jnp.exp(-edges))
    return total


def neighbour_smoothness(
    depth: jax.Array, beside: jax.Array, colour: jax.Array, colour_beside: jax.Array
) -> jax.Array:
    """Returns each |difference| of `depth_smoothness` with an image, for pixels drawn singly.

    Args:
        depth, beside: [...] at pixels and at their neighbours to the right or below.
        colour, colour_beside: [..., C] of the image there, in [0, 1].

    Returns:
        [...] |depth - beside| exp(-mean |colour - colour_beside|).
    """
    edges = jnp.mean(jnp.abs(colour - colour_beside), axis=-1)
    return jnp.abs(depth - beside) * jnp.exp(-edges)
