"""Terms of the loss that say what a monocular clip does not show: where density belongs.

A head that hardly turns leaves depth open. These terms keep density at tracked skin, together
along a ray, and, where no training ray arrives, inside the mesh rather than in the air behind it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxhead.rendering.integrate import transmittance
from jaxhead.rendering.rays import Samples

UNLIT = 0.1
"""Samples that less light than this reaches are hidden: no colour judges them."""
_SLAB = 1e-3
_SKIN = 2e-3


class GuessTerms(NamedTuple):
    """Scalars, see `guess_terms`."""

    unseen: jax.Array
    unseen_color: jax.Array


def guess_terms(
    sigma: jax.Array, rgb: jax.Array, height: jax.Array, colors: jax.Array, hidden: jax.Array
) -> GuessTerms:
    """How far the field is from the guess of what no frame shows.

    Args:
      sigma: (n,) density per metre, rgb: (n, 3) colours in [0, 1] at places near the surface.
      height: (n,) metres above it.
      colors: (n, 3) guessed; hidden: (n,) bool, False where frames show the surface: only what is
        below it is then known to be solid.

    Returns:
      unseen: mean opacity of a millimetre above the surface, or lack of it below. unseen_color:
      mean difference from the guessed colour below hidden surface.
    """
    opaque = -jnp.expm1(-sigma * _SLAB)
    below = (height < 0) & (hidden | (height < -_SKIN))
    wrong = jnp.where(below, jnp.maximum(0.5 - opaque, 0.0), 0.0)
    wrong += jnp.where(hidden & (height > 0), opaque, 0.0)
    off = jnp.where((hidden & below)[:, None], jnp.abs(rgb - colors), 0.0)
    return GuessTerms(jnp.mean(wrong), jnp.mean(off))


class SurfaceTerms(NamedTuple):
    """Scalars, see `surface_terms`."""

    surface: jax.Array
    spread: jax.Array
    hidden: jax.Array


def surface_terms(samples: Samples, frozen: dict[str, Any]) -> SurfaceTerms:
    """How far from the skin and how spread out opacity is, and how wrong what nobody sees is.

    Args:
      samples: of n rays.
      frozen: the run's arrays, of which "surface_box" is read.

    Returns:
      surface: mean weighted distance to the tracked surface where that is skin, in centimetres (in
        place of INSTA's depth loss: the same pull towards the tracked geometry without a picture
        of depths). spread: mip-NeRF 360's distortion (Barron et al. 2022, equation 15) in
        centimetres. hidden: mean opacity of a millimetre that hidden samples have outside the
        mesh, or lack inside it: what no training ray sees would otherwise stay the fog that it
        began as, and shows when the head turns.
    """
    w, t = samples.weights, samples.t
    distance, skin = samples.skin[..., 0], samples.skin[..., 1]
    off = jnp.sum(w * jnp.abs(distance) * skin, -1)
    gaps = jnp.abs(t[:, :, None] - t[:, None, :])
    pairs = jnp.einsum("ni,nij,nj->n", w, gaps, w)
    spread = pairs + jnp.sum(w**2 * samples.delta, -1) / 3

    light = jax.lax.stop_gradient(transmittance(samples.sigma, samples.delta)[..., :-1])
    opaque = -jnp.expm1(-samples.sigma * _SLAB)
    box = frozen["surface_box"]
    tabulated = jnp.all((samples.canonical >= box[0]) & (samples.canonical <= box[1]), -1)
    inside = (distance < -_SKIN) & tabulated
    wrong = jnp.where(inside, jnp.maximum(0.5 - opaque, 0.0), opaque)
    hidden = jnp.where((light < UNLIT) & (samples.delta > 0), wrong, 0.0)
    return SurfaceTerms(100 * jnp.mean(off), 100 * jnp.mean(spread), jnp.mean(hidden))
