"""Cosine similarity of codes, and the prior that joins a picture's code with a pose."""

import jax
import jax.numpy as jnp


def unit(vectors: jax.Array) -> jax.Array:
    """Returns vectors [..., D] divided by their length; zero stays zero, with a finite gradient."""
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    # Both sides of the `where` are finite, so that the gradient at zero is.
    long_enough = square > jnp.finfo(vectors.dtype).tiny
    return vectors * jnp.where(long_enough, jax.lax.rsqrt(jnp.where(long_enough, square, 1)), 0)


def cosine_similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the cosine of the angle between vectors [..., D], in [-1, 1] (a loss is 1 - it)."""
    return jnp.sum(unit(a) * unit(b), axis=-1)


def semantic_prior(code: jax.Array, pose: jax.Array) -> jax.Array:
    """Returns [unit code, pose], the prior vector of patent CN117115331B, stage 3.

    Args:
        code: image code [..., D].
        pose: pose parameters [..., P], used as they are.

    Returns:
        [..., D + P].
    """
    return jnp.concatenate([unit(code), pose], axis=-1)
