"""Volume rendering sums: from densities along a ray to colour, opacity and depth.

Letters: S samples along a ray, front to back; sigma density (per unit length), delta the length
that a sample stands for; C features (RGB is the case of three). Max 1995, "Optical models for
direct volume rendering"; patent CN117115331B, stage 6.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Rendered(NamedTuple):
    """What a ray sees.

    Attributes:
        rgb: features [..., C], background included.
        alpha: opacity [...] in [0, 1].
        depth: sum of weight * t [...]; divide by alpha for the mean distance of what was hit.
    """

    rgb: jax.Array
    alpha: jax.Array
    depth: jax.Array


def closed(seen: Rendered, solid: jax.Array, *, least: float = 0.05) -> Rendered:
    """Returns the same without pinholes: what ends in something solid hides the background.

    Args:
        seen: over nothing.
        solid: bool [...], rays that end in something no light passes.
        least: opacity below which a ray saw too little to tell its colour, and stays as it is.
    """
    factor = jnp.where(solid & (seen.alpha > least), 1 / jnp.maximum(seen.alpha, least), 1.0)
    return Rendered(seen.rgb * factor[..., None], seen.alpha * factor, seen.depth * factor)


def transmittance(sigma: jax.Array, delta: jax.Array) -> jax.Array:
    """Returns the share of light that reaches each sample, and what passes all of them.

    Computed as exp of minus a sum, not as a product of (1 - alpha), so that neither opaque samples
    nor many thin ones lose precision, and gradients stay finite.

    Args:
        sigma: density [..., S], not negative; infinity is allowed.
        delta: lengths that broadcast against sigma, not negative.

    Returns:
        [..., S + 1] in [0, 1], starting with 1, not increasing.
    """
    depth = jnp.cumsum(optical_thickness(sigma, delta), axis=-1)
    return jnp.exp(-jnp.concatenate([jnp.zeros_like(depth[..., :1]), depth], axis=-1))


def volume_weights(sigma: jax.Array, delta: jax.Array, *, stop: float = 0.0) -> jax.Array:
    """Returns each sample's weight T_n alpha_n in the sum, alpha = 1 - exp(-sigma delta).

    Args:
        sigma: density [..., S], not negative; infinity is allowed.
        delta: lengths that broadcast against sigma, not negative.
        stop: samples that less than this share of the light reaches get weight 0, as in renderers
            with early termination (instant-ngp stops at 1e-4); 0 keeps all.

    Returns:
        Weights [..., S], not negative; their sum is at most 1.
    """
    reaching = transmittance(sigma, delta)[..., :-1]
    weights = reaching * -jnp.expm1(-optical_thickness(sigma, delta))
    return jnp.where(reaching >= stop, weights, 0) if stop > 0 else weights


def alive(sigma: jax.Array, delta: jax.Array, *, stop: float = 1e-4) -> jax.Array:
    """Returns a mask [..., S] of the samples that at least `stop` of the light reaches.

    Samples behind it need no colour: use the mask with `compaction.compact`.
    """
    return transmittance(sigma, delta)[..., :-1] >= stop


def composite(
    weights: jax.Array, rgb: jax.Array, t: jax.Array, background: jax.Array | None = None
) -> Rendered:
    """Returns the sums of colour, opacity and depth along rays.

    Args:
        weights: [..., S], see `volume_weights`.
        rgb: features of the samples [..., S, C].
        t: distances of the samples [..., S].
        background: features [..., C] behind the last sample, which get the light that is left;
            None leaves it out (black, premultiplied colour).

    Returns:
        See `Rendered`.
    """
    chex.assert_equal_shape([weights, t])
    alpha = jnp.sum(weights, axis=-1)
    color = jnp.sum(weights[..., None] * rgb, axis=-2)
    if background is not None:
        color = over(color, alpha, background)
    return Rendered(color, alpha, jnp.sum(weights * t, axis=-1))


def over(rgb: jax.Array, alpha: jax.Array, behind: jax.Array) -> jax.Array:
    """Returns premultiplied colour [..., C] of opacity alpha [...] over what is behind it."""
    return rgb + jnp.maximum(1 - alpha, 0)[..., None] * behind


def optical_thickness(sigma: jax.Array, delta: jax.Array) -> jax.Array:
    """Returns sigma delta [..., S], the logarithm of 1 / the light's share that passes a sample.

    Args:
        sigma: density [..., S], not negative; infinity is allowed.
        delta: lengths that broadcast against sigma, not negative.
    """
    # A finite density keeps `infinite density x zero length` and its gradient from being NaN.
    return jnp.minimum(sigma, jnp.finfo(sigma.dtype).max) * delta
