"""A sum over rays of a field's samples, with its gradient found in the same pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.rendering.compaction import compact

Tree = Any
Field = Callable[[Tree, Tree, Tree], jax.Array]
Integrate = Callable[[jax.Array, Tree], tuple[jax.Array, Tree]]

BLOCK = 256
"""Samples that go through the sparse backward pass together."""
NEGLIGIBLE = 1e-6
"""A sample whose gradient is below this share of the largest one so far counts as without."""
DENSE = 0.6
"""With a larger share of samples that count, repeating their forward pass costs more than it saves.
"""


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 6, 7))
def field_sum(
    field: Field, integrate: Integrate,
    weights: Tree, rays: Tree, samples: Tree, constants: Tree, chunk: int, sparse: bool = True,
) -> tuple[jax.Array, Tree]:
    """Returns a sum over rays and values per ray, in memory that does not grow with the rays.

    Where it is differentiated, a chunk's gradient is computed right after its values, while they
    are in the caches, instead of in a second pass that has to store or repeat them: a sum's
    gradient does not depend on what comes after it. Most samples of a trained field are empty or
    hidden; with `sparse` the backward pass goes through the others alone.

    Args:
        field: (weights, rays [n, ...], samples [n, ...]) -> [n, C], row by row; static.
        integrate: (values [chunk, S, C], constants [chunk, ...]) -> (() sum, values [chunk, ...]);
            static. It finds 1 for a ray and 0 for one that fills the last chunk up as
            `constants["counts"]` [chunk] and must multiply the ray's share with it.
        weights: pytree of float arrays that all rays share.
        rays: pytree of float arrays [N, ...] that a ray's samples share, differentiated.
        samples: pytree of arrays [N, S, ...] without a gradient.
        constants: dictionary of arrays [N, ...] without a gradient.
        chunk: rays at a time, static.
        sparse: leave out what is `NEGLIGIBLE`, static.

    Returns:
        The sum, differentiable (in reverse mode) in `weights` and `rays`, and the values [N, ...],
        which pass no gradient.
    """
    count, parts = _split(rays, samples, constants, chunk)

    def body(total, part):
        rays, samples, constants = part
        value, found = integrate(_dense(field, weights, rays, samples), constants)
        return total + value, found

    total, values = jax.lax.scan(body, jnp.float32(0), parts)
    return total, _joined(values, count)


def _forward(field, integrate, weights, rays, samples, constants, chunk, sparse):
    count, parts = _split(rays, samples, constants, chunk)

    def seen(raw, constants, largest):
        value, back, found = jax.vjp(lambda x: integrate(x, constants), raw, has_aux=True)
        (change,) = back(jnp.ones_like(value))
        size = jnp.max(jnp.abs(change), -1).reshape(-1)
        largest = jnp.maximum(largest, jnp.max(size))
        return value, found, change, size > NEGLIGIBLE * largest, largest

    def dense(part, largest):
        rays, samples, constants = part
        raw, pullback = jax.vjp(lambda w, r: _dense(field, w, r, samples), weights, rays)
        value, found, change, counts, largest = seen(raw, constants, largest)
        return value, found, pullback(change), counts, largest

    def thin(part, largest):
        rays, samples, constants = part
        raw = _dense(field, weights, rays, samples)
        value, found, change, counts, largest = seen(raw, constants, largest)
        slopes = _sparse(field, weights, rays, samples, change, counts)
        return value, found, slopes, counts, largest

    def body(carry, part):
        total, slopes, largest, share = carry
        # Both give the same; neighbouring chunks are alike, so the last one tells which is faster.
        made = jax.lax.cond(share > DENSE, dense, thin, part, largest) if sparse else dense(
            part, largest
        )
        value, found, (of_weights, of_rays), counts, largest = made
        slopes = jax.tree.map(jnp.add, slopes, of_weights)
        share = jnp.mean(counts.astype(jnp.float32))
        return (total + value, slopes, largest, share), (found, of_rays)

    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, weights), jnp.float32(0), jnp.float32(1))
    (total, slopes, _, _), (values, of_rays) = jax.lax.scan(body, zero, parts)
    residuals = slopes, _joined(of_rays, count), samples, constants
    return (total, _joined(values, count)), residuals


def _backward(field, integrate, chunk, sparse, residuals, gradient):
    del field, integrate, chunk, sparse
    slopes, of_rays, *rest = residuals
    scaled = jax.tree.map(lambda x: gradient[0].astype(x.dtype) * x, (slopes, of_rays))
    return (*scaled, *jax.tree.map(_no_gradient, tuple(rest)))


def _dense(field: Field, weights: Tree, rays: Tree, samples: Tree) -> jax.Array:
    """Values [r, S, C] of all samples."""
    count, each = jax.tree.leaves(samples)[0].shape[:2]

    def rows(x):
        return jnp.broadcast_to(x[:, None], (count, each, *x.shape[1:])).reshape(-1, *x.shape[1:])

    values = field(weights, jax.tree.map(rows, rays), jax.tree.map(_flat, samples))
    return values.reshape(count, each, -1)


def _sparse(field, weights, rays, samples, change, counts):
    """The gradient of those samples that count, in blocks of them."""
    each, total = change.shape[1], counts.shape[0]
    block = min(BLOCK, total)
    size = -(-total // block) * block
    chosen = compact(counts, size)
    number = jnp.sum(counts.astype(jnp.int32))
    samples, change = jax.tree.map(_flat, samples), _flat(change)

    def body(index, slopes):
        take = jax.lax.dynamic_slice(chosen.rows, (index * block,), (block,))
        used = jax.lax.dynamic_slice(chosen.used, (index * block,), (block,))
        some = jax.tree.map(lambda x: x[take], samples)

        def values(weights, rays):
            return field(weights, jax.tree.map(lambda x: x[take // each], rays), some)

        _, pullback = jax.vjp(values, weights, rays)
        found = pullback(jnp.where(used[:, None], change[take], 0))
        return jax.tree.map(jnp.add, slopes, found)

    zero = jax.tree.map(jnp.zeros_like, (weights, rays))
    return jax.lax.fori_loop(0, (number + block - 1) // block, body, zero)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])


def _no_gradient(x):
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return jnp.zeros(x.shape, jax.dtypes.float0)


def _split(rays: Tree, samples: Tree, constants: Tree, chunk: int):
    """The number of rays, and the three trees as [chunks, chunk, ...]."""
    count = jax.tree.leaves(samples)[0].shape[0]
    chunk = min(chunk, count)
    calls = -(-count // chunk)
    numbers = jnp.minimum(jnp.arange(calls * chunk), count - 1)
    counts = (jnp.arange(calls * chunk) < count).astype(jnp.float32)

    def cut(leaf):
        leaf = leaf if calls * chunk == count else leaf[numbers]
        return leaf.reshape(calls, chunk, *leaf.shape[1:])

    rays, samples, constants = jax.tree.map(cut, (rays, samples, constants))
    return count, (rays, samples, {**constants, "counts": counts.reshape(calls, chunk)})


def _joined(values: Tree, count: int) -> Tree:
    return jax.tree.map(lambda x: _flat(x)[:count], values)


field_sum.defvjp(_forward, _backward)
