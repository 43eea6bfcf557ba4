"""Whole frames in chunks of rays, so that memory does not grow with the picture."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def render_in_chunks(
    render: Callable[[Any], Any], rays: Any, chunk: int, *, axes: int = 1
) -> Any:
    """Returns render(rays), evaluated for `chunk` rays at a time.

    Args:
        render: a function of a pytree of arrays [chunk, ...] that returns one of arrays
            [chunk, ...]; it sees rays independently of each other.
        rays: pytree of arrays whose first `axes` axes count rays: [N, ...] or [H, W, ...].
        chunk: rays per call, static. The last call is filled up with copies of the last ray, whose
            results are dropped.
        axes: how many leading axes count rays.

    Returns:
        A pytree of arrays with the rays' leading axes.
    """
    leading = {leaf.shape[:axes] for leaf in jax.tree.leaves(rays)}
    if len(leading) != 1:
        raise ValueError(f"rays have leading axes {sorted(leading)}, expected one and the same")
    (shape,) = leading
    count = math.prod(shape)
    if count < 1 or chunk < 1:
        raise ValueError(f"{count} rays in chunks of {chunk}: both must be at least 1")
    chunk = min(chunk, count)
    calls = -(-count // chunk)
    numbers = jnp.minimum(jnp.arange(calls * chunk), count - 1)

    def split(leaf):
        leaf = leaf.reshape(count, *leaf.shape[axes:])
        leaf = leaf if calls * chunk == count else leaf[numbers]
        return leaf.reshape(calls, chunk, *leaf.shape[1:])

    def join(leaf):
        leaf = leaf.reshape(calls * chunk, *leaf.shape[2:])[:count]
        return leaf.reshape(*shape, *leaf.shape[1:])

    return jax.tree.map(join, jax.lax.map(render, jax.tree.map(split, rays)))
