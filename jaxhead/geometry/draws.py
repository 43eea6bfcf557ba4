"""The random numbers of `jax.random`, drawn in one row: XLA compiles several axes far slower."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

_LANES = 16
"""Lengths are rounded up to a multiple: of others XLA unrolls what is left over."""


def uniform(
    key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32, minval: float = 0.0,
    maxval: float = 1.0,
) -> jax.Array:
    """`jax.random.uniform`, the same numbers (where `jax_threefry_partitionable` is on).

    XLA's CPU backend unrolls the generator's rounds over each axis of what it draws. For (128, 12)
    under `vmap` that takes three seconds, for the same 1536 numbers in a row a half.
    """
    count = math.prod(shape)
    row = jax.random.uniform(key, (_rounded(count),), dtype, minval, maxval)
    return row[:count].reshape(shape)


def weights(key: jax.Array, shape: tuple[int, ...], bound: float, dtype=jnp.float32) -> jax.Array:
    """`jax.random.uniform` in [-bound, bound), the same numbers, for layers that are initialised.

    Drawn as a power of two numbers: outside `jit` every length is a program of its own.
    """
    count = math.prod(shape)
    length = max(_LANES, 1 << max(count - 1, 0).bit_length())
    return jax.random.uniform(key, (length,), dtype, -bound, bound)[:count].reshape(shape)


def normal(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """`jax.random.normal`, the same numbers, as `uniform`."""
    count = math.prod(shape)
    return jax.random.normal(key, (_rounded(count),), dtype)[:count].reshape(shape)


def split(key: jax.Array, count: int) -> jax.Array:
    """`jax.random.split`, the same keys, as `uniform`."""
    return jax.random.split(key, _rounded(count))[:count]


def _rounded(count: int) -> int:
    return -(-count // _LANES) * _LANES
