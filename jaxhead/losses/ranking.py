"""Relative depth: which of two pixels is deeper."""

import jax
import jax.numpy as jnp


def depth_ranking(depth: jax.Array, pairs: jax.Array, order: jax.Array) -> jax.Array:
    """Returns the paired ordinal depth loss of every pair (Chen et al. 2016, equation 1).

    Args:
        depth: rendered depth of P pixels, [P].
        pairs: pixel numbers (i, j), int [K, 2].
        order: int [K]; +1 if i should be deeper, -1 if j should be, 0 if they should be equal.

    Returns:
        [K]: log(1 + exp(-(z_i - z_j))) for +1, log(1 + exp(z_i - z_j)) for -1, (z_i - z_j)^2 for 0.
    """
    difference = depth[pairs[:, 0]] - depth[pairs[:, 1]]
    order = order.astype(difference.dtype)
    return jnp.where(order == 0, difference**2, jax.nn.softplus(-order * difference))
