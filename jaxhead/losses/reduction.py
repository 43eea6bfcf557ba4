"""Means and weighted sums that turn element-wise losses into a number."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp


def weighted_mean(values: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Returns the mean of values, or sum(weights * values) / sum(weights).

    Args:
        values: floats [...].
        weights: not negative, broadcast against values; all zero gives 0, not NaN.
    """
    if weights is None:
        return jnp.mean(values)
    weights = jnp.broadcast_to(weights, values.shape).astype(values.dtype)
    total = jnp.sum(weights)
    return jnp.sum(weights * values) / jnp.where(total > 0, total, 1)


def total_loss(terms: Mapping[str, jax.Array], weights: Mapping[str, float]) -> jax.Array:
    """Returns the sum of weight * term over the weights' names; a term that is missing is refused.

    Args:
        terms: scalar losses by name; names without a weight are only logged, not summed.
        weights: factor of each term.
    """
    missing = sorted(set(weights) - set(terms))
    if missing:
        raise ValueError(f"no loss term named {', '.join(missing)}; there are {sorted(terms)}")
    return sum((weights[name] * terms[name] for name in weights), jnp.float32(0))
