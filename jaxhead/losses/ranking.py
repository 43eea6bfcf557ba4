"""Relative depth: which of two pixels is deeper, and the pairs for which that is asked."""

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


def sample_pairs(key: jax.Array, count: int, pairs: int) -> jax.Array:
    """Returns int32 [pairs, 2]: numbers i != j of `count` pixels, drawn uniformly.

    Args:
        key: typed key.
        count: of pixels, at least 2.
        pairs: how many.
    """
    if count < 2:
        raise ValueError(f"count is {count}, expected at least 2 pixels")
    first, second = jax.random.split(key)
    i = jax.random.randint(first, (pairs,), 0, count)
    # The other one by how far it lies behind, so that it is never the same.
    j = (i + jax.random.randint(second, (pairs,), 1, count)) % count
    return jnp.stack([i, j], axis=-1)


def depth_order(reference: jax.Array, pairs: jax.Array, *, tie: jax.Array | float) -> jax.Array:
    """Returns the order of pairs in a reference depth, as `depth_ranking` takes it.

    Args:
        reference: depth of P pixels [P], larger is deeper, in any unit.
        pairs: int [K, 2].
        tie: differences up to this, in the reference's unit, are none.

    Returns:
        int32 [K]: +1 where the first of a pair is deeper, -1 where the second is, 0 for a tie.
    """
    difference = reference[pairs[:, 0]] - reference[pairs[:, 1]]
    return jnp.where(jnp.abs(difference) <= tie, 0, jnp.sign(difference)).astype(jnp.int32)
