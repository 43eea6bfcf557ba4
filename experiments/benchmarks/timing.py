"""Times of compiled calls, and how fast the machine does the plain things that they are made of."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

TABLE = 1 << 15
"""Entries of the table that the look-up rates are measured on, as a level of the hash grid."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Medians of one call.

    seconds: wall time.
    cpu_seconds: processor time of all threads of this process, 0 where another device works.
    first_seconds: the first call, which compiles.
    """

    seconds: float
    cpu_seconds: float
    first_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What one sample costs by its shapes.

    products: FLOP in matrix products. arithmetic: FLOP elsewhere, a transcendental counted as one.
    streamed: bytes read and written in order. looked_up: reads at indices that depend on the data.
    added: additions at such indices.
    """

    products: float = 0.0
    arithmetic: float = 0.0
    streamed: float = 0.0
    looked_up: float = 0.0
    added: float = 0.0

    def __add__(self, other: Work) -> Work:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return Work(**dict(zip(_NAMES, (a + b for a, b in pairs))))


_NAMES = tuple(field.name for field in dataclasses.fields(Work))


def compare(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int = 7, least: float = 0.02
) -> dict[str, Timing]:
    """Times calls in turn, so that what disturbs the machine disturbs all of them alike.

    Args:
      calls: {name: function without arguments that returns arrays}.
      rounds: measurements of each; the median counts.
      least: seconds that one measurement lasts at least; short calls are repeated.
    """
    first, repeats = {}, {}
    for name, call in calls.items():
        first[name] = _once(call, 1)[0]
        seconds = _once(call, 1)[0]
        repeats[name] = max(1, round(least / max(seconds, 1e-7)))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(_once(call, repeats[name]))
    on_cpu = jax.default_backend() == "cpu"
    return {
        name: Timing(
            statistics.median(wall for wall, _ in pairs),
            statistics.median(cpu for _, cpu in pairs) if on_cpu else 0.0,
            first[name],
        )
        for name, pairs in taken.items()
    }


def _once(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats


def machine_rates(*, rounds: int = 5, scale: int = 1) -> dict[str, float]:
    """How many of each of `Work`'s units this machine does in a second, with all its cores.

    Square products of 768, a chain of multiply-adds that stays in registers, a copy of 64 MB,
    random reads of and additions to a table of 2^15 float32 (from and to arrays in order).

    Args:
      rounds: see `compare`.
      scale: divides the sizes, for tests.
    """
    side, length, count = 768 // scale, (1 << 24) // scale**2, (1 << 20) // scale
    key = jax.random.key(0)
    square = jax.random.normal(key, (side, side))
    long = jnp.ones((length,))
    short = jax.random.uniform(key, (1 << 16,))
    table = jax.random.normal(key, (TABLE,))
    index = jax.random.randint(key, (count,), 0, TABLE)
    values = jnp.ones((count,))
    product = jax.jit(lambda a: a @ a)
    copy = jax.jit(lambda x: x + 1.0)
    chain = jax.jit(_chain)
    read = jax.jit(lambda t, i: t.at[i].get(mode="promise_in_bounds"))
    add = jax.jit(lambda t, i, v: t.at[i].add(v, mode="promise_in_bounds"))
    found = compare(
        {
            "products": lambda: product(square),
            "arithmetic": lambda: chain(short),
            "streamed": lambda: copy(long),
            "looked_up": lambda: read(table, index),
            "added": lambda: add(table, index, values),
        },
        rounds=rounds,
    )
    amounts = {
        "products": 2.0 * side**3,
        "arithmetic": 2.0 * _LINKS * short.size,
        "streamed": 8.0 * length,
        "looked_up": float(count),
        "added": float(count),
    }
    return {name: amounts[name] / found[name].seconds for name in _NAMES}


_LINKS = 32


def _chain(x: jax.Array) -> jax.Array:
    """A polynomial of high degree: one load and store for many multiply-adds."""
    total = x
    for _ in range(_LINKS):
        total = total * x + 0.25
    return total


def bound(work: Work, seconds: float, rates: Mapping[str, float]) -> tuple[str, float]:
    """Which resource would alone take longest for `work`, and that share of the time measured."""
    floors = {name: getattr(work, name) / rates[name] for name in _NAMES}
    name = max(floors, key=lambda key: floors[key])
    return name, floors[name] / seconds
