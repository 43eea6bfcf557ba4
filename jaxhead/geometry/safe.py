"""Functions whose value and gradient stay finite where the textbook form has none.

Both sides of every `where` are guarded: a gradient of inf times zero would be nan.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def dot(a: ArrayLike, b: ArrayLike, *, keepdims: bool = False) -> jax.Array:
    """Returns the inner product over the last axis, by plain sums (never in reduced precision)."""
    return jnp.sum(jnp.asarray(a) * jnp.asarray(b), axis=-1, keepdims=keepdims)


def safe_sqrt(x: ArrayLike) -> jax.Array:
    """Returns sqrt(x) with zero value and zero gradient where x <= 0."""
    x = jnp.asarray(x)
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def safe_divide(numerator: ArrayLike, denominator: ArrayLike) -> jax.Array:
    """Returns numerator / denominator, and zero where |denominator| is below the dtype's tiny."""
    numerator, denominator = jnp.asarray(numerator), jnp.asarray(denominator)
    usable = jnp.abs(denominator) > jnp.finfo(denominator.dtype).tiny
    return jnp.where(usable, numerator / jnp.where(usable, denominator, 1.0), 0.0)


def safe_norm(x: ArrayLike, *, keepdims: bool = False) -> jax.Array:
    """Returns the Euclidean norm over the last axis; its gradient at the zero vector is zero."""
    return safe_sqrt(dot(x, x, keepdims=keepdims))


def safe_normalize(x: ArrayLike) -> jax.Array:
    """Returns x over its norm along the last axis; the zero vector stays zero.

    The largest component is divided out first, so that neither tiny nor huge vectors under- or
    overflow when squared.
    """
    x = jnp.asarray(x)
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    scaled = safe_divide(x, jnp.broadcast_to(size, x.shape))
    return safe_divide(scaled, jnp.broadcast_to(safe_norm(scaled, keepdims=True), x.shape))
