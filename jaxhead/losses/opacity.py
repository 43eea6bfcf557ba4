"""Losses of rendered opacity: agreement with a mask, and decidedness."""

import jax
import jax.numpy as jnp


def _squeeze(alpha: jax.Array, margin: float) -> jax.Array:
    # An affine map and not a clip, so that an opacity of exactly 0 or 1 still gets a gradient.
    return margin + (1 - 2 * margin) * jnp.clip(alpha, 0, 1)


def mask_cross_entropy(alpha: jax.Array, mask: jax.Array, *, margin: float = 1e-3) -> jax.Array:
    """Returns the binary cross-entropy of every opacity against its mask.

    Args:
        alpha: rendered opacity [...] in [0, 1].
        mask: wanted opacity, the same shape, in [0, 1].
        margin: opacities are mapped to [margin, 1 - margin], which bounds the slope by 1 / margin.

    Returns:
        -mask log(alpha) - (1 - mask) log(1 - alpha), [...].
    """
    alpha = _squeeze(alpha, margin)
    return -mask * jnp.log(alpha) - (1 - mask) * jnp.log1p(-alpha)


def opacity_entropy(alpha: jax.Array, *, margin: float = 1e-3) -> jax.Array:
    """Returns the entropy (nats) of every opacity: 0 at 0 and 1, log 2 at 1/2.

    Args:
        alpha: rendered opacity [...] in [0, 1].
        margin: see `mask_cross_entropy`; the entropy at 0 and 1 is subtracted.
    """
    inner = _squeeze(alpha, margin)
    ends = _entropy(jnp.asarray(margin, inner.dtype))
    return _entropy(inner) - ends


def _entropy(p: jax.Array) -> jax.Array:
    return -p * jnp.log(p) - (1 - p) * jnp.log1p(-p)
