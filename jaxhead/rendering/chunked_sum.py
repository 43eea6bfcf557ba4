"""Sums over rays, chunk by chunk, whose gradient is found in the same pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 4))
def chunked_sum(
    function: Callable[[Tree, Tree, Tree], tuple[jax.Array, Tree]],
    weights: Tree, rays: Tree, constants: Tree, chunk: int,
) -> tuple[jax.Array, Tree]:
    """Returns a sum over rays and values per ray, in memory that does not grow with the rays.

    Where it is differentiated, each chunk's gradient is computed right after the chunk's values,
    while they are still in the caches, instead of in a second pass that has to store or repeat
    them: a sum's gradient does not depend on what comes after it.

    Args:
        function: (weights, rays [chunk, ...], constants [chunk, ...]) -> (() sum, values
            [chunk, ...]); static. It finds 1 for a ray and 0 for one that fills the last chunk up
            as `constants["counts"]` [chunk] and must multiply the ray's share with it.
        weights: pytree of float arrays that all rays share.
        rays: pytree of float arrays [N, ...], differentiated.
        constants: dictionary of arrays [N, ...] without a gradient.
        chunk: rays at a time, static.

    Returns:
        The sum, differentiable (in reverse mode) in `weights` and `rays`, and the values [N, ...],
        which pass no gradient.
    """
    count, split = _splitter(constants, chunk)

    def body(total, part):
        value, found = function(weights, *part)
        return total + value, found

    total, values = jax.lax.scan(body, jnp.float32(0), (split(rays), split(constants)))
    return total, _joined(values, count)


def _forward(function, weights, rays, constants, chunk):
    count, split = _splitter(constants, chunk)

    def body(carry, part):
        total, slopes = carry
        some, fixed = part
        value, pullback, found = jax.vjp(
            lambda w, r: function(w, r, fixed), weights, some, has_aux=True
        )
        of_weights, of_rays = pullback(jnp.ones_like(value))
        return (total + value, jax.tree.map(jnp.add, slopes, of_weights)), (found, of_rays)

    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, weights))
    (total, slopes), (values, of_rays) = jax.lax.scan(body, zero, (split(rays), split(constants)))
    return (total, _joined(values, count)), (slopes, _joined(of_rays, count), constants)


def _backward(function, chunk, residuals, gradient):
    del function, chunk
    slopes, of_rays, constants = residuals
    scale = gradient[0]
    none = jax.tree.map(_no_gradient, constants)
    scaled = jax.tree.map(lambda x: scale.astype(x.dtype) * x, (slopes, of_rays))
    return (*scaled, none)


def _no_gradient(x):
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return jnp.zeros(x.shape, jax.dtypes.float0)


def _splitter(constants: Tree, chunk: int):
    """The number of rays, and what cuts arrays [N, ...] into [chunks, chunk, ...]."""
    count = jax.tree.leaves(constants)[0].shape[0]
    chunk = min(chunk, count)
    calls = -(-count // chunk)
    numbers = jnp.minimum(jnp.arange(calls * chunk), count - 1)

    def cut(leaf):
        leaf = leaf if calls * chunk == count else leaf[numbers]
        return leaf.reshape(calls, chunk, *leaf.shape[1:])

    def split(tree):
        parts = jax.tree.map(cut, tree)
        if tree is constants:
            counts = (jnp.arange(calls * chunk) < count).astype(jnp.float32)
            parts = {**parts, "counts": counts.reshape(calls, chunk)}
        return parts

    return count, split


def _joined(values: Tree, count: int) -> Tree:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], values)


chunked_sum.defvjp(_forward, _backward)
