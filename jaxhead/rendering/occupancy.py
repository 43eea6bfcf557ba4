"""Occupancy grids: where in a box there is anything, learned from the field itself.

The rule of instant-ngp (Müller et al. 2022, appendix C) as INSTA runs it: each cell holds a
decaying maximum of the optical thickness found at random points inside it, and counts as occupied
above min(0.01, mean). Arrays are [R, R, R] with axes x, y, z.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxhead.geometry import draws

WARM_UP = 256
"""Steps in which instant-ngp looks into every cell."""


class OccupancyGrid(NamedTuple):
    """State of a grid.

    Attributes:
        thickness: decaying maximum of density times step length per cell, [R, R, R], not negative.
        low: the box's lower corner [3].
        high: its upper corner [3].
    """

    thickness: jax.Array
    low: jax.Array
    high: jax.Array


def new_grid(resolution: int, low, high, *, thickness: float = 1.0) -> OccupancyGrid:
    """Returns a grid that counts as occupied everywhere until it has been updated.

    Args:
        resolution: cells per axis.
        low: the box's lower corner [3].
        high: its upper corner [3].
        thickness: first value of every cell.
    """
    cells = jnp.full((resolution,) * 3, thickness, jnp.float32)
    return OccupancyGrid(cells, jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32))


def update(
    grid: OccupancyGrid,
    thickness_fn: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    *,
    decay: float = 0.95,
    cells: int | None = None,
) -> OccupancyGrid:
    """Returns the grid after a look at random points: max(decay * old, new).

    Args:
        grid: state.
        thickness_fn: points [N, 3] in the box -> density times step length, [N].
        key: typed random key.
        decay: factor of the old values of all cells.
        cells: None looks into every cell; a number looks into half as many uniformly drawn cells
            and half as many drawn from the occupied ones, as instant-ngp does after warming up.
    """
    which, where = jax.random.split(key)
    shape = grid.thickness.shape
    if cells is None:
        flat = jnp.arange(grid.thickness.size)
    else:
        flat = _some_cells(which, grid, cells)
    points = _points_inside(where, grid, flat)
    seen = jax.lax.stop_gradient(thickness_fn(points)).astype(grid.thickness.dtype)
    old = decay * grid.thickness.reshape(-1)
    # A diverged field must not make the grid useless for ever.
    new = old.at[flat].max(jnp.nan_to_num(seen, nan=0.0))
    return grid._replace(thickness=new.reshape(shape))


def update_by_age(
    grid: OccupancyGrid,
    thickness_fn: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    step: jax.Array | int,
    *,
    decay: float = 0.95,
) -> OccupancyGrid:
    """Returns the grid after a training step, by the timetable of instant-ngp.

    Every min(max(step / 16, 1), 16) steps; all cells in the first 256 steps, then as many looks as
    half of the cells. Otherwise the grid is returned as it is.

    Args:
        grid, thickness_fn, key, decay: see `update`.
        step: int32 scalar, finished steps.
    """
    step = jnp.asarray(step, jnp.int32)

    def all_cells(grid):
        return update(grid, thickness_fn, key, decay=decay)

    def some_cells(grid):
        return update(grid, thickness_fn, key, decay=decay, cells=grid.thickness.size // 2)

    def look(grid):
        return jax.lax.cond(step < WARM_UP, all_cells, some_cells, grid)

    due = step % jnp.clip(step // 16, 1, 16) == 0
    return jax.lax.cond(due, look, lambda grid: grid, grid)


def in_parts(
    function: Callable[..., jax.Array], *arrays: jax.Array, most: int = 1 << 17
) -> jax.Array:
    """Returns `function` of arrays [N, ...], one value a row, for about `most` rows at a time.

    Args:
        function: arrays [n, ...] -> [n].
        arrays: arrays of one length.
        most: rows that memory has room for.
    """
    count = len(arrays[0])
    parts = next(k for k in range(-(-count // most), count + 1) if count % k == 0)
    if parts == 1:
        return function(*arrays)
    split = tuple(x.reshape(parts, count // parts, *x.shape[1:]) for x in arrays)
    return jax.lax.map(lambda part: function(*part), split).reshape(count)


def default_threshold(grid: OccupancyGrid) -> jax.Array:
    """Returns min(0.01, mean thickness), above which INSTA calls a cell occupied."""
    return jnp.minimum(0.01, jnp.mean(grid.thickness))


def occupied_cells(
    grid: OccupancyGrid, *, threshold: float | jax.Array | None = None, dilation: int = 0
) -> jax.Array:
    """Returns which cells hold something, bool [R, R, R].

    Args:
        grid: state.
        threshold: least thickness; None takes `default_threshold`. A cell at the threshold counts,
            so that a new, even grid is full.
        dilation: cells around an occupied one that count too.
    """
    threshold = default_threshold(grid) if threshold is None else threshold
    full = (grid.thickness >= threshold) & (grid.thickness > 0)
    if not dilation:
        return full
    # Axis by axis and as whole arrays: XLA's windows on CPUs go cell by cell, 17 times slower.
    for axis in range(3):
        padded = jnp.pad(full, [(dilation, dilation) if i == axis else (0, 0) for i in range(3)])
        shifts = (
            jax.lax.slice_in_dim(padded, k, k + full.shape[axis], axis=axis)
            for k in range(2 * dilation + 1)
        )
        full = functools.reduce(jnp.logical_or, shifts)
    return full


def look_up(cells: jax.Array, points: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Returns the values [...] of the cells that hold points; zero (False) outside the box.

    Args:
        cells: [R, R, R], such as `occupied_cells`.
        points: [..., 3].
        low: the box's lower corner [3].
        high: its upper corner [3].
    """
    resolution = jnp.asarray(cells.shape, points.dtype)
    place = (points - low) / (high - low) * resolution
    inside = jnp.all((place >= 0) & (place < resolution), axis=-1)
    x, y, z = jnp.moveaxis(jnp.where(inside[..., None], place, 0).astype(jnp.int32), -1, 0)
    _, height, depth = cells.shape
    values = cells.reshape(-1)[(x * height + y) * depth + z]
    return jnp.where(inside, values, jnp.zeros_like(values))


def occupied(
    grid: OccupancyGrid, points: jax.Array, *, threshold: float | jax.Array | None = None
) -> jax.Array:
    """Returns which points [..., 3] lie in occupied cells, bool [...]; False outside the box.

    For many look-ups between two updates, keep `occupied_cells` and call `look_up`.
    """
    return look_up(occupied_cells(grid, threshold=threshold), points, grid.low, grid.high)


def _some_cells(key: jax.Array, grid: OccupancyGrid, cells: int) -> jax.Array:
    """Returns numbers of cells [cells], half uniform, half uniform among the occupied ones."""
    anywhere, among = jax.random.split(key)
    size = grid.thickness.size
    uniform = jax.random.randint(anywhere, (cells - cells // 2,), 0, size)
    ranks = jnp.cumsum(occupied_cells(grid).reshape(-1).astype(jnp.int32))
    # The n-th occupied cell is the first whose running count exceeds n; without any, the last cell.
    wanted = jax.random.randint(among, (cells // 2,), 0, jnp.maximum(ranks[-1], 1))
    picked = jnp.minimum(jnp.searchsorted(ranks, wanted, side="right"), size - 1)
    return jnp.concatenate([uniform, picked.astype(uniform.dtype)])


def _points_inside(key: jax.Array, grid: OccupancyGrid, flat: jax.Array) -> jax.Array:
    """Returns one random point [N, 3] in each of the numbered cells."""
    shape = grid.thickness.shape
    corner = jnp.stack(jnp.unravel_index(flat, shape), axis=-1).astype(jnp.float32)
    place = corner + draws.uniform(key, corner.shape)
    return grid.low + place / jnp.asarray(shape, jnp.float32) * (grid.high - grid.low)
