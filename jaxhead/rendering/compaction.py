"""Static-shape compaction: work only on the rows that matter, inside a fixed budget."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Compacted(NamedTuple):
    """The rows that were kept.

    Attributes:
        rows: int32 [B], numbers of the kept rows in ascending order; 0 in unused places.
        used: bool [B], which places hold a row.
        overflow: int32 scalar, wanted rows beyond the budget, which are left out: log it.
    """

    rows: jax.Array
    used: jax.Array
    overflow: jax.Array


def compact(wanted: jax.Array, budget: int) -> Compacted:
    """Returns the first B rows that are wanted, by a running count and one scatter.

    Args:
        wanted: bool [N].
        budget: B, static; choose it so that overflow stays 0.
    """
    place = jnp.cumsum(wanted.astype(jnp.int32)) - 1
    count = jnp.sum(wanted.astype(jnp.int32))
    # Rows that are not wanted, or beyond the budget, fall outside and are dropped.
    target = jnp.where(wanted, place, budget)
    numbers = jnp.arange(wanted.shape[0], dtype=jnp.int32)
    rows = jnp.zeros(budget, jnp.int32).at[target].set(numbers, mode="drop")
    return Compacted(rows, jnp.arange(budget) < count, jnp.maximum(count - budget, 0))


def take_rows(compacted: Compacted, arrays: Any) -> Any:
    """Returns the kept rows [B, ...] of every array [N, ...] of a pytree (unused places: row 0)."""
    return jax.tree.map(lambda array: array[compacted.rows], arrays)


def put_rows(compacted: Compacted, values: Any, length: int) -> Any:
    """Returns arrays [N, ...] with kept values [B, ...] in their old rows and zeros elsewhere.

    Args:
        compacted: see `compact`.
        values: pytree of arrays [B, ...].
        length: N, static.
    """
    target = jnp.where(compacted.used, compacted.rows, length)

    def put(value):
        return jnp.zeros((length, *value.shape[1:]), value.dtype).at[target].set(value, mode="drop")

    return jax.tree.map(put, values)
