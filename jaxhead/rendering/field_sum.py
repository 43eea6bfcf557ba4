"""A sum over rays of a field's samples, with its gradient found in the same pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxhead.rendering.chunks import suited
from jaxhead.rendering.compaction import compact

Tree = Any
Integrate = Callable[[jax.Array, Tree], tuple[jax.Array, Tree]]

BLOCK, LARGE_BLOCK = 512, 1 << 15
"""Samples that go through the sparse backward pass together, on a CPU and on an accelerator."""
PIECE, LARGE_PIECE = 1536, 1 << 18
"""Likewise through the dense passes: on a CPU few for the caches, many for the cores."""
NEGLIGIBLE = 1e-6
"""A sample whose gradient is below this share of the largest one so far counts as without."""
DENSE = 0.85
"""With a larger share of samples that count, picking them out costs more than it saves."""


class Field(NamedTuple):
    """A function of rows with its derivative; both static.

    Attributes:
        values: (weights, rays [n, ...], samples [n, ...]) -> ([n, C], pytree of arrays [n, ...] for
            `slopes`), row by row.
        slopes: (weights, the rows that `values` kept [m, ...], gradient [m, C]) -> gradients of the
            weights and of the rays [m, ...]. Where the weights are a dictionary, it may leave out
            entries that it did not use.
        dense: the same function in a form that is faster where all samples count, which may keep
            anything; None for none.
    """

    values: Callable[[Tree, Tree, Tree], tuple[jax.Array, Tree]]
    slopes: Callable[[Tree, Tree, jax.Array], tuple[Tree, Tree]]
    dense: Field | None = None


def differentiated(function: Callable[[Tree, Tree, Tree], jax.Array]) -> Field:
    """The `Field` of a function (weights, rays, samples) -> [n, C], which is run again for slopes.
    """

    def values(weights, rays, samples):
        return function(weights, rays, samples), (rays, samples)

    def slopes(weights, kept, gradient):
        rays, samples = kept
        pullback = jax.vjp(lambda w, r: function(w, r, samples), weights, rays)[1]
        return pullback(gradient)

    return Field(values, slopes)


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
        field: see `Field`; static.
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
        raw, _ = _values(field, weights, rays, samples)
        value, found = integrate(raw, constants)
        return total + value, found

    total, values = jax.lax.scan(body, jnp.float32(0), parts)
    return total, _joined(values, count)


def _forward(field, integrate, weights, rays, samples, constants, chunk, sparse):
    count, parts = _split(rays, samples, constants, chunk)

    def body(carry, part):
        total, slopes, largest, share = carry

        def dense():
            made = _pieces(field.dense or field, integrate, weights, part, largest)
            return made._replace(of_weights=_filled(made.of_weights, weights))

        def thin():
            made = _chunk(field, integrate, weights, part, largest, sparse=True)
            return made._replace(of_weights=_filled(made.of_weights, weights))

        # Neighbouring chunks are alike: the last one's share tells which form suits this one.
        made = jax.lax.cond(share > DENSE, dense, thin) if sparse else dense()
        slopes = jax.tree.map(jnp.add, slopes, made.of_weights)
        carry = total + made.total, slopes, made.largest, made.share
        return carry, (made.values, made.of_rays)

    zero = jax.tree.map(jnp.zeros_like, weights), jnp.float32(0), jnp.float32(1)
    (total, slopes, *_), (values, of_rays) = jax.lax.scan(body, (jnp.float32(0), *zero), parts)
    residuals = slopes, _joined(of_rays, count), samples, constants
    return (total, _joined(values, count)), residuals


def _backward(field, integrate, chunk, sparse, residuals, gradient):
    del field, integrate, chunk, sparse
    slopes, of_rays, *rest = residuals
    scaled = jax.tree.map(lambda x: gradient[0].astype(x.dtype) * x, (slopes, of_rays))
    return (*scaled, *jax.tree.map(_no_gradient, tuple(rest)))


class _Made(NamedTuple):
    """A chunk's sum and values, gradients of weights and rays, the largest gradient of a sample so
    far, and the share of samples that count beside it.
    """

    total: jax.Array
    values: Tree
    of_weights: Tree
    of_rays: Tree
    largest: jax.Array
    share: jax.Array


def _filled(some: Tree, weights: Tree) -> Tree:
    """Gradients of all weights, zero for the entries that were left out."""
    if not isinstance(weights, dict):
        return some
    rest = {k: jax.tree.map(jnp.zeros_like, w) for k, w in weights.items() if k not in some}
    return {**some, **rest}


def _pieces(field, integrate, weights, part, largest) -> _Made:
    """`_chunk` of all samples, by pieces of them."""
    count, each = jax.tree.leaves(part[1])[0].shape[:2]
    piece = suited(cpu=PIECE, accelerator=LARGE_PIECE)
    rays = next(n for n in range(max(1, min(count, piece // each)), 0, -1) if count % n == 0)
    parts = jax.tree.map(lambda x: x.reshape(-1, rays, *x.shape[1:]), part)

    def body(carry, piece):
        total, slopes, largest, share = carry
        made = _chunk(field, integrate, weights, piece, largest, sparse=False)
        slopes = jax.tree.map(jnp.add, slopes, made.of_weights)
        carry = total + made.total, slopes, made.largest, share + rays / count * made.share
        return carry, (made.values, made.of_rays)

    first = jax.tree.map(lambda x: x[0], parts)
    made = jax.eval_shape(
        lambda piece: _chunk(field, integrate, weights, piece, largest, sparse=False), first
    )
    begin = jnp.float32(0), _zeros(made.of_weights), largest, jnp.float32(0)
    (total, slopes, largest, share), rest = jax.lax.scan(body, begin, parts)
    values, of_rays = jax.tree.map(_flat, rest)
    return _Made(total, values, slopes, of_rays, largest, share)


def _chunk(field, integrate, weights, part, largest, *, sparse: bool) -> _Made:
    rays, samples, constants = part
    raw, kept = _values(field, weights, rays, samples)
    value, back, found = jax.vjp(lambda x: integrate(x, constants), raw, has_aux=True)
    change = _flat(back(jnp.ones_like(value))[0])
    size = jnp.max(jnp.abs(change), -1)
    largest = jnp.maximum(largest, jnp.max(size))
    counts = size > NEGLIGIBLE * largest
    if sparse:
        of_weights, of_rows = _thin(field, weights, kept, rays, change, counts)
    else:
        of_weights, of_rows = field.slopes(weights, kept, change)
    of_rays = jax.tree.map(lambda x: x.reshape(*raw.shape[:2], *x.shape[1:]).sum(1), of_rows)
    share = jnp.mean(counts.astype(jnp.float32))
    return _Made(value, found, of_weights, of_rays, largest, share)


def _values(field: Field, weights: Tree, rays: Tree, samples: Tree) -> tuple[jax.Array, Tree]:
    """Values [r, S, C] of all samples, and what the field keeps."""
    count, each = jax.tree.leaves(samples)[0].shape[:2]

    def rows(x):
        return jnp.broadcast_to(x[:, None], (count, each, *x.shape[1:])).reshape(-1, *x.shape[1:])

    raw, kept = field.values(weights, jax.tree.map(rows, rays), jax.tree.map(_flat, samples))
    return raw.reshape(count, each, -1), kept


def _thin(field, weights, kept, rays, change, counts):
    """The gradient of those samples that count, in blocks of them; zero for the others' rows."""
    total = counts.shape[0]
    block = min(suited(cpu=BLOCK, accelerator=LARGE_BLOCK), total)
    chosen = compact(counts, -(-total // block) * block)
    number = jnp.sum(counts.astype(jnp.int32))

    def part(index):
        take = jax.lax.dynamic_slice(chosen.rows, (index * block,), (block,))
        used = jax.lax.dynamic_slice(chosen.used, (index * block,), (block,))
        some = jax.tree.map(lambda x: x[take], kept)
        found, rows = field.slopes(weights, some, jnp.where(used[:, None], change[take], 0))
        return found, rows, jnp.where(used, take, total)

    def body(index, slopes):
        of_weights, of_rows = slopes
        found, rows, target = part(index)
        put = jax.tree.map(lambda x, y: x.at[target].set(y, mode="drop"), of_rows, rows)
        return jax.tree.map(jnp.add, of_weights, found), put

    of_rows = jax.tree.map(lambda x: jnp.zeros((total, *x.shape[1:]), x.dtype), rays)
    zero = _zeros(jax.eval_shape(part, jnp.int32(0))[0])
    return jax.lax.fori_loop(0, (number + block - 1) // block, body, (zero, of_rows))


def _zeros(shapes: Tree) -> Tree:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


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
