"""Dense feature grids of any dimension, multilinearly interpolated: the encoding that suits a TPU.

Arrays are [*S, F]: one axis per coordinate, in the coordinates' order, and features last, so that a
look-up is a gather of contiguous rows.
"""

import itertools
import math
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxhead.geometry import draws

PADDINGS = ("edge", "zeros")


def init_dense(key: jax.Array, shape: Sequence[int], features: int) -> jax.Array:
    """Returns a new grid [*shape, features], uniform in [-1e-4, 1e-4] like a hash grid's tables."""
    return draws.weights(key, (*shape, features), 1e-4)


def dense_encode(grids: Sequence[jax.Array], x: jax.Array) -> jax.Array:
    """Returns the features of points in every grid of a sequence, grid after grid.

    Args:
        grids: arrays [*S, F], coarse to fine or in any order; sizes may differ.
        x: positions [..., D] in [0, 1]; the first and last grid points lie on the faces. Positions
            outside get the features of the nearest face.

    Returns:
        [..., sum of the F].
    """
    columns = []
    for grid in grids:
        places = x * (jnp.asarray(grid.shape[:-1], x.dtype) - 1)
        columns.append(interpolate(grid, places, padding="edge"))
    return jnp.concatenate(columns, axis=-1)


def interpolate(grid: jax.Array, places: jax.Array, *, padding: str = "edge") -> jax.Array:
    """Returns multilinear interpolations of a grid.

    Args:
        grid: [*S, F] with D axes before the features.
        places: [..., D] in units of grid points: 0 is the first point, S - 1 the last.
        padding: outside, "edge" continues the border, "zeros" surrounds the grid with zeros.

    Returns:
        [..., F]. Differentiable in the grid, and in the places inside a cell.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding is {padding!r}, expected one of {', '.join(PADDINGS)}")
    sizes = grid.shape[:-1]
    chex.assert_axis_dimension(places, -1, len(sizes))
    flat = grid.reshape(math.prod(sizes), grid.shape[-1])
    # One beyond the grid is as far as zeros reach; it also tames infinities before they become int.
    lowest, highest = (0, 0) if padding == "edge" else (-1, 1)
    axes = []
    for axis, size in enumerate(sizes):
        place = jnp.clip(places[..., axis], lowest, size - 1 + highest)
        floor = jnp.floor(place)
        axes.append(_ends(floor.astype(jnp.int32), place - floor, size))
    total = jnp.zeros((), grid.dtype)
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        index, weight = jnp.int32(0), jnp.ones((), places.dtype)
        for ends, bit, size in zip(axes, corner, sizes):
            number, share = ends[bit]
            index, weight = index * size + number, weight * share
        total = total + weight[..., None] * flat[index]
    return total


def _ends(floor: jax.Array, fraction: jax.Array, size: int):
    """Returns ((number, weight) of the lower point, the same of the upper); weight 0 outside."""
    ends = []
    for number, weight in ((floor, 1 - fraction), (floor + 1, fraction)):
        inside = (number >= 0) & (number < size)
        ends.append((jnp.clip(number, 0, size - 1), jnp.where(inside, weight, 0)))
    return ends
