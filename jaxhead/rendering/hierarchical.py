"""Coarse and fine samples of a ray whose last sample is the background.

The rules of NeRF's published code (Mildenhall et al. 2020, section 5.2) as AD-NeRF, NeRFace and
GeneFace run it: depths along the optical axis, a fixed background as the colour of the last sample,
fine depths from the inverse of the coarse weights' cumulative sum.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxhead.geometry import draws
from jaxhead.rendering.integrate import transmittance

LAST_DELTA = 1e10
"""The length that the last sample stands for."""
FLOOR = 1e-6
"""Added to densities: with `LAST_DELTA` it makes the last sample opaque."""


class Layers(NamedTuple):
    """A ray's light, split into what stands before its last sample and that sample.

    Attributes:
        foreground: [..., 3] sum of the colours of all samples but the last.
        last_weight: [...] share of the light that comes from behind them.
        weights: [..., S] of all samples.
    """

    foreground: jax.Array
    last_weight: jax.Array
    weights: jax.Array

    def over(self, behind: jax.Array) -> jax.Array:
        """[..., 3] colours with `behind` [..., 3] in place of the last sample."""
        return self.foreground + self.last_weight[..., None] * behind


def stratified_depths(
    key: jax.Array | None, near: jax.Array, far: jax.Array, samples: int
) -> jax.Array:
    """Depths in equal steps from near to far.

    Args:
        key: typed random key: each depth uniform in the interval between the midpoints around it,
            the last one stays at far; None for no jitter.
        near, far: [...], broadcast against each other.
        samples: S, static, at least 2.

    Returns:
        [..., S], ascending, from near to far.
    """
    near, far = jnp.broadcast_arrays(jnp.asarray(near), jnp.asarray(far))
    share = jnp.linspace(0.0, 1.0, samples, dtype=near.dtype)
    depths = near[..., None] * (1 - share) + far[..., None] * share
    if key is None:
        return depths
    middles = 0.5 * (depths[..., 1:] + depths[..., :-1])
    upper = jnp.concatenate([middles, depths[..., -1:]], -1)
    lower = jnp.concatenate([depths[..., :1], middles], -1)
    inside = draws.uniform(key, depths.shape, depths.dtype)
    return lower + (upper - lower) * inside.at[..., -1].set(1.0)


def inverse_cdf(bins: jax.Array, weights: jax.Array, u: jax.Array) -> jax.Array:
    """Where the cumulative sum of a piecewise-constant density reaches u.

    Args:
        bins: ascending edges [..., M].
        weights: of the M - 1 bins between them [..., M - 1], not negative; 1e-5 is added, so that
            all zero means uniform.
        u: in [0, 1], [..., N].

    Returns:
        [..., N] in the order of u. No gradient reaches the weights, as published.
    """
    weights = jax.lax.stop_gradient(weights) + 1e-5
    steps = weights / jnp.sum(weights, -1, keepdims=True)
    cdf = jnp.cumsum(steps, -1)
    cdf = jnp.concatenate([jnp.zeros_like(cdf[..., :1]), cdf], -1)
    above = jnp.sum(cdf[..., None, :] <= u[..., None], axis=-1)
    below = jnp.maximum(above - 1, 0)
    above = jnp.minimum(above, bins.shape[-1] - 1)

    def at(values, place):
        return jnp.take_along_axis(values, place, axis=-1)

    step = at(cdf, above) - at(cdf, below)
    inside = (u - at(cdf, below)) / jnp.where(step < 1e-5, 1, step)
    low = at(bins, below)
    return low + inside * (at(bins, above) - low)


def fine_depths(
    key: jax.Array | None, depths: jax.Array, weights: jax.Array, samples: int
) -> jax.Array:
    """The coarse depths together with as many more where the coarse weights are.

    Args:
        key: typed random key: uniform draws; None takes equal steps of the cumulative sum.
        depths: coarse depths [..., S], ascending.
        weights: their weights [..., S]; the first and the last do not count.
        samples: N further ones, static.

    Returns:
        [..., S + N], ascending, without a gradient.
    """
    middles = 0.5 * (depths[..., 1:] + depths[..., :-1])
    if key is None:
        u = jnp.linspace(0.0, 1.0, samples, dtype=depths.dtype)
        u = jnp.broadcast_to(u, (*depths.shape[:-1], samples))
    else:
        u = draws.uniform(key, (*depths.shape[:-1], samples), depths.dtype)
    found = inverse_cdf(middles, weights[..., 1:-1], u)
    return jax.lax.stop_gradient(jnp.sort(jnp.concatenate([depths, found], -1), -1))


def background_layers(
    rgb: jax.Array, sigma: jax.Array, depths: jax.Array, length: jax.Array,
    *, floor_all: bool = True,
) -> Layers:
    """Volume rendering of all samples before the last, which is the background.

    Args:
        rgb: colours of the samples [..., S, 3]; the last one's is not looked at.
        sigma: their densities [..., S], not negative.
        depths: ascending [..., S].
        length: [...] of the rays' directions: a step of depth is so long.
        floor_all: whether `FLOOR` is added to every density (AD-NeRF, GeneFace) or the last one's
            alone (NeRFace).

    Returns:
        See `Layers`; the weights sum to one.
    """
    weights = background_weights(sigma, depths, length, floor_all=floor_all)
    foreground = jnp.sum(weights[..., :-1, None] * rgb[..., :-1, :], axis=-2)
    return Layers(foreground, weights[..., -1], weights)


def background_weights(
    sigma: jax.Array, depths: jax.Array, length: jax.Array, *, floor_all: bool = True
) -> jax.Array:
    """The weights [..., S] of `background_layers`."""
    steps = jnp.diff(depths, axis=-1)
    last = jnp.full_like(steps[..., :1], LAST_DELTA)
    steps = jnp.concatenate([steps, last], -1) * length[..., None]
    floor = FLOOR if floor_all else FLOOR * (jnp.arange(sigma.shape[-1]) == sigma.shape[-1] - 1)
    thickness = (sigma + floor) * steps
    # Not the published product of (1 - alpha + 1e-10): exp of a sum loses nothing and its gradient
    # is one more sum; the two differ by less than 1e-9.
    return transmittance(sigma + floor, steps)[..., :-1] * -jnp.expm1(-thickness)


def mean_depth(weights: jax.Array, depths: jax.Array) -> jax.Array:
    """Sum of weight times depth [...]."""
    return jnp.sum(weights * depths, axis=-1)


def disparity(weights: jax.Array, depths: jax.Array) -> jax.Array:
    """One over the mean depth [...], at most 1e10, as published."""
    return 1 / jnp.maximum(1e-10, mean_depth(weights, depths) / jnp.sum(weights, axis=-1))
