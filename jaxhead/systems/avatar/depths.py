"""Terms of the loss on rendered depth: its order in pairs of rays, and its smoothness.

CN117115331B, stage 7. The order comes from the tracked mesh or from a monocular estimate
(`depth_maps.py`), which knows depth up to a scale and a shift, which leave the order alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import ray_depth_factor
from jaxhead.losses.ranking import depth_order, depth_ranking, sample_pairs
from jaxhead.losses.smoothness import neighbour_smoothness
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.depth_maps import DEEPEST, METRIC_UNIT
from jaxhead.systems.avatar.rays import Samples

EVERYWHERE = 8
"""One head ray in so many is drawn from the whole picture: what floats outside the head is seen."""
SOLID = 0.5
"""Rays that are less opaque than this have no depth."""


def rendered_depth(
    samples: Samples, K: jax.Array, pixels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Depth along the camera's axis of b frames' rays, r each.

    Args:
      samples: of b r rays; K: (3, 3); pixels: (b, r, 2).

    Returns:
      (b, r) centimetres, (b, r) bool where it is one.
    """
    opacity = jnp.sum(samples.weights, -1)
    # An empty ray divides by one: its depth is not used and its gradient is finite.
    known = opacity > SOLID
    along = jnp.sum(samples.weights * samples.t, -1) / jnp.where(known, opacity, 1.0)
    shape = pixels.shape[:2]
    depth = along.reshape(shape) * ray_depth_factor(K, pixels)
    return 100.0 * depth, jax.lax.stop_gradient(known).reshape(shape)


def distance_term(
    samples: Samples, reference: jax.Array, K: jax.Array, pixels: jax.Array
) -> jax.Array:
    """Mean over rays of |rendered - wanted| distance along the ray in metres, 0 where unknown.

    What is rendered is the sum of weights times distances, as in INSTA: not divided by the opacity,
    so that the term also asks for opacity.

    Args:
      samples: of b r rays; reference: (b, r) uint16 depths of `DepthMaps.metric`, 0 for unknown.
      K: (3, 3); pixels: (b, r, 2).
    """
    along = jnp.sum(samples.weights * samples.t, -1).reshape(reference.shape)
    wanted = reference * METRIC_UNIT / ray_depth_factor(K, pixels)
    return jnp.mean(jnp.where(reference > 0, jnp.abs(along - wanted), 0.0))


def ordinal_term(
    depth: jax.Array, known: jax.Array, reference: jax.Array, keys: jax.Array,
    config: AvatarConfig,
) -> jax.Array:
    """Mean `depth_ranking` over drawn pairs of each frame's rays whose order is known; 0 for none.

    Args:
      depth, known: (b, r) of `rendered_depth`.
      reference: (b, r) uint16 of `depth_maps`, 0 for unknown.
      keys: (b,) typed keys.
    """
    known = known & (reference > 0)

    def frame(depth, known, reference, key):
        pairs = sample_pairs(key, len(depth), config.prior.pairs)
        order = depth_order(
            reference.astype(jnp.float32), pairs, tie=config.prior.tie * DEEPEST
        )
        both = known[pairs[:, 0]] & known[pairs[:, 1]]
        return jnp.where(both, depth_ranking(depth, pairs, order), 0.0), both

    values, used = jax.vmap(frame)(depth, known, reference, keys)
    return _mean(values, used)


def smoothness_term(
    depth: jax.Array, known: jax.Array, rgb: jax.Array, first: int, count: int
) -> jax.Array:
    """Mean `neighbour_smoothness` to the right, plus that downwards, of the rays that have them.

    Args:
      depth, known: (b, r) of `rendered_depth`; rgb: (b, r, 3) of the real picture.
      first, count: rays first .. first + count are those; as many then follow one pixel to their
        right, and as many one pixel below them.
    """
    total = jnp.zeros((), depth.dtype)
    here = slice(first, first + count)
    for step in (1, 2):
        there = slice(first + step * count, first + (step + 1) * count)
        values = neighbour_smoothness(
            depth[:, here], depth[:, there], rgb[:, here], rgb[:, there]
        )
        used = known[:, here] & known[:, there]
        total += _mean(jnp.where(used, values, 0.0), used)
    return total


def _mean(values: jax.Array, used: jax.Array) -> jax.Array:
    return jnp.sum(values) / jnp.maximum(jnp.sum(used), 1)


def depth_terms(
    samples: Samples, batch: dict[str, Any], K: jax.Array, config: AvatarConfig
) -> dict[str, jax.Array]:
    """{"depth", "depth_ordinal", "depth_smoothness"} () of the head's rays, those with a weight.

    Args:
      samples: of the head's rays.
      batch: of the feed "rays".
      K: (3, 3) pixels; config: the run's.
    """
    heads = config.sampling.head_rays
    terms = {}
    if config.loss.depth > 0:
        terms["depth"] = distance_term(
            samples, batch["distance"][:, :heads], K, batch["pixels"][:, :heads]
        )
    depth, known = rendered_depth(samples, K, batch["pixels"][:, :heads])
    if config.loss.depth_ordinal > 0:
        keys = jax.vmap(
            lambda data: jax.random.fold_in(jax.random.wrap_key_data(data), 2)
        )(batch["noise"])
        terms["depth_ordinal"] = ordinal_term(
            depth, known, batch["depth"][:, :heads], keys, config
        )
    if config.loss.depth_smoothness > 0:
        few, plain, _ = head_shares(config)
        terms["depth_smoothness"] = smoothness_term(
            depth, known, batch["rgb"][:, :heads], few, plain // 3
        )
    return terms


def head_shares(config: AvatarConfig) -> tuple[int, int, int]:
    """How many of a frame's head rays are focused, plain, and drawn from the whole picture."""
    sampling = config.sampling
    wide = max(1, sampling.head_rays // EVERYWHERE)
    few = min(round(sampling.head_rays * sampling.focus), sampling.head_rays - wide)
    return few, sampling.head_rays - wide - few, wide


def with_neighbours(pixels: jax.Array, size: tuple[int, int]) -> jax.Array:
    """(n, 2) int32: the first n // 3 of pixels (n, 2), those right of them, those below them.

    Args:
      pixels: x, y; what is left of n keeps its place at the end.
      size: (W, H).
    """
    count = len(pixels) // 3
    inside = jnp.minimum(pixels[:count], jnp.array(size) - 2)
    right, below = inside + jnp.array([1, 0]), inside + jnp.array([0, 1])
    return jnp.concatenate([inside, right, below, pixels[3 * count :]])
