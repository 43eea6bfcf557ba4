"""Volume rendering front to back that stops where nothing more is seen, for rendering alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Tree = Any

UNSEEN = 1e-7
"""A share of the light below which neither a sample's colour nor what is behind it is looked at."""


class Marched(NamedTuple):
    """What rays pass through.

    Attributes:
        foreground: [r, 3] sum of weight times colour, zero without a colour.
        weights: [r, S] of the samples, zero where they were not looked at.
        left: [r] share of the light that passes all of them.
    """

    foreground: jax.Array
    weights: jax.Array
    left: jax.Array


def march(
    density: Callable[[Tree], tuple[jax.Array, Tree]],
    colour: Callable[[Tree], jax.Array] | None,
    samples: Tree, steps: jax.Array, *, floor: float = 0.0, unseen: float = UNSEEN,
) -> Marched:
    """Weights and colours of r rays that are looked at together, best of neighbours.

    A field's densities are evaluated for some samples of all rays at a time, as long as any ray
    still gets `unseen` light; colours only where a weight is so large. The result is that of the
    whole sums within S times `unseen`.

    Args:
        density: samples [r, k, ...] -> densities [r, k], not negative, and what `colour` needs.
        colour: of that -> [r, k, 3]; None for weights alone.
        samples: pytree of arrays [r, S, ...], front to back.
        steps: [r, S] lengths that samples stand for.
        floor: added to every density.
        unseen: the share of the light that does not matter.

    Returns:
        See `Marched`. Not differentiable in reverse mode to any use: train with `field_sum`.
    """
    rays, count = steps.shape
    pieces = next(n for n in (4, 3, 2, 1) if count % n == 0)

    def cut(x):
        x = x.reshape(rays, pieces, count // pieces, *x.shape[2:])
        return jnp.moveaxis(x, 1, 0)

    def look(carry, part):
        left, light = carry
        some, lengths = part
        sigma, hidden = density(some)
        thickness = (sigma + floor) * lengths
        passed = jnp.cumsum(thickness, -1)
        weights = left[:, None] * jnp.exp(thickness - passed) * -jnp.expm1(-thickness)
        shown = colour
        if shown is not None:
            light = jax.lax.cond(
                jnp.max(weights) > unseen,
                lambda: light + jnp.sum(weights[..., None] * shown(hidden), 1),
                lambda: light,
            )
        return (left * jnp.exp(-passed[:, -1]), light), weights

    def body(carry, part):
        seen = jnp.max(carry[0]) > unseen
        return jax.lax.cond(
            seen, look, lambda c, p: (c, jnp.zeros_like(p[1])), carry, part
        )

    first = (jnp.ones(rays, steps.dtype), jnp.zeros((rays, 3), steps.dtype))
    parts = jax.tree.map(cut, (samples, steps))
    (left, light), weights = jax.lax.scan(body, first, parts)
    return Marched(light, jnp.moveaxis(weights, 0, 1).reshape(rays, count), left)
