"""Multi-resolution hash encoding of positions (Müller et al. 2022, "Instant neural graphics
primitives", section 3), with gradients that are cheap on a CPU.

Letters: L levels, F features per level, N points. Tables are planar, see `hash_levels`.
"""

import functools
import operator
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxhead.encodings.hash_levels import (
    HashGridConfig,
    Level,
    init_table,
    level_table,
    tables_from_flat,
    tables_to_flat,
)
from jaxhead.geometry.fusion import materialised

__all__ = [
    "HashGridConfig",
    "Level",
    "hash_encode",
    "hash_rows",
    "init_table",
    "level_table",
    "tables_from_flat",
    "tables_to_flat",
]

# The primes of Müller et al. 2022, equation 4; the first is 1 for the sake of the cache.
_PRIMES = (1, 2_654_435_761, 805_459_861)
# Copies of a level's table in its gradient, at most, and entries of all of them, at most.
_COPIES, _SPREAD = 32, 1 << 18
_CORNERS = tuple(tuple((k >> axis) & 1 for axis in range(3)) for k in range(8))


def hash_encode(tables: Sequence[jax.Array], x: jax.Array, config: HashGridConfig) -> jax.Array:
    """Returns the trilinearly interpolated features of points, level after level.

    Differentiable in the tables and in `x`; a gradient that nobody asks for is not computed. The
    gradient in `x` is that of the interpolation inside a cell (piecewise, as published).

    Args:
        tables: per level (F, size), see `init_table`.
        x: float32 positions [..., 3] in [0, 1]. Outside, "torch-ngp" gives zeros; "instant-ngp"
            reads the entries to which its index arithmetic wraps.
        config: sizes, static.

    Returns:
        float32 features [..., L * F], level-major.
    """
    x = jnp.asarray(x)
    chex.assert_axis_dimension(x, -1, 3)
    out = hash_rows(tables, x.reshape(-1, 3), config)
    return out.T.reshape(*x.shape[:-1], config.dimensions)


def hash_rows(tables: Sequence[jax.Array], x: jax.Array, config: HashGridConfig) -> jax.Array:
    """Returns what `hash_encode` does as one row per feature, [L * F, N], for points x [N, 3].

    That is how the features come into being, and what `networks.mlp.columns` takes.
    """
    tables, x = jax.tree.map(jnp.asarray, (tuple(tables), x))
    chex.assert_shape(x, (None, 3))
    chex.assert_type(x, jnp.float32)
    expected = [(config.features, level.size) for level in level_table(config)]
    chex.assert_shape(tables, expected)
    return _encode(tables, x, config)


def _position(x: jax.Array, level: Level) -> tuple[list[jax.Array], list[jax.Array]]:
    """Returns cell numbers (3 x uint32 [N]) and places inside the cell (3 x float [N], 0..1)."""
    cells, fractions = [], []
    for axis in range(3):
        place = x[:, axis] * x.dtype.type(level.scale) + x.dtype.type(0.5)
        cell = jnp.floor(place)
        fractions.append(place - cell)
        # Through int32, so that a negative cell wraps like the published unsigned arithmetic.
        cells.append(cell.astype(jnp.int32).astype(jnp.uint32))
    return cells, fractions


def _positions(x: jax.Array, levels: Sequence[Level]) -> tuple[jax.Array, jax.Array]:
    """Returns the `_position` of all levels, each (L, 3, N): two kernels where it takes 6 L."""
    scales = jnp.array([level.scale for level in levels], x.dtype)
    place = x.T * scales[:, None, None] + x.dtype.type(0.5)
    cell = jnp.floor(place)
    return cell.astype(jnp.int32).astype(jnp.uint32), place - cell


def _index(cells: Sequence[jax.Array], corner: Sequence, level: Level) -> jax.Array:
    """Returns the table index (uint32 [N]) of one corner (3 x 0 or 1) of each cell."""
    at = [cell + jnp.uint32(bit) for cell, bit in zip(cells, corner)]
    if level.dense:
        strides = (1, level.stride, level.stride**2)
        index = sum((a * jnp.uint32(s) for a, s in zip(at[1:], strides[1:])), at[0])
        return index % jnp.uint32(level.size)
    hashed = [a * jnp.uint32(prime) for a, prime in zip(at, _PRIMES)]
    # A hashed level always has a power of two entries.
    return (hashed[0] ^ hashed[1] ^ hashed[2]) & jnp.uint32(level.size - 1)


def _weight(fractions: Sequence[jax.Array], corner: Sequence) -> jax.Array:
    """Returns the trilinear weight [N] of one corner."""

    def factor(fraction, bit):
        bit = jnp.asarray(bit, fraction.dtype)
        return (1 - bit) + (2 * bit - 1) * fraction

    return functools.reduce(operator.mul, map(factor, fractions, corner))


def _take(row: jax.Array, index: jax.Array, dtype) -> jax.Array:
    # Every index was reduced modulo the table, so the bounds check would be work for nothing.
    return row.at[index].get(mode="promise_in_bounds").astype(dtype)


def _lerp(corners: Sequence[jax.Array], fractions: Sequence[jax.Array]) -> jax.Array:
    """Returns the trilinear interpolation of 8 corner values, x fastest."""
    values = list(corners)
    for fraction in fractions:
        values = [a + (b - a) * fraction for a, b in zip(values[::2], values[1::2])]
    return values[0]


def _mask_outside(x: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns positions [N, 3] and rows [..., N], zeros where one is outside the unit cube."""
    inside = jnp.all((x >= 0) & (x <= 1), axis=-1)
    return jnp.where(inside[:, None], x, 0), jnp.where(inside, rows, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _encode(tables, x, config):
    # Two features travel as one complex number, because XLA's CPU backend compiles one kernel per
    # output: this halves the index arithmetic. An odd feature is paired with itself and dropped.
    levels, pairs = level_table(config), []
    # On a CPU stored for all levels at once: by itself XLA would store them by level and axis.
    positions = jax.lax.platform_dependent(
        _positions(x, levels), cpu=materialised, default=lambda positions: positions
    )
    for table, level, cells, fractions in zip(tables, levels, *positions):
        index = [_index(cells, corner, level) for corner in _CORNERS]
        values = [_lerp([_take(row, i, x.dtype) for i in index], fractions) for row in table]
        values += values[-1:] * (len(values) % 2)
        pairs += [jax.lax.complex(a, b) for a, b in zip(values[::2], values[1::2])]
    # Stored, because XLA would fuse the gathers into whatever reads the features.
    rows = jnp.stack(materialised(pairs)).reshape(config.levels, -1, x.shape[0])
    out = jnp.stack([rows.real, rows.imag], axis=2).reshape(config.levels, -1, x.shape[0])
    out = out[:, : config.features].reshape(config.dimensions, x.shape[0])
    return _mask_outside(x, out)[1] if config.rule == "torch-ngp" else out


def _encode_forward(tables, x, config):
    values = tuple(table.value for table in tables)
    # Empty residuals say, statically, which gradients are wanted: () is wanted, None is not.
    wanted = (() if any(t.perturbed for t in tables) else None, () if x.perturbed else None)
    return _encode(values, x.value, config), (values, x.value, wanted)


def _encode_backward(config, residuals, gradient):
    tables, x, (tables_wanted, x_wanted) = residuals
    if isinstance(gradient, SymbolicZero):
        return None, None
    if config.rule == "torch-ngp":
        # Positions too: zero times the weights of an infinite position would be NaN.
        x, gradient = _mask_outside(x, gradient)
    for_tables = for_x = None
    if tables_wanted is not None:
        for_tables = jax.lax.platform_dependent(
            x,
            gradient,
            cpu=functools.partial(_table_gradient_by_corner, config=config),
            default=functools.partial(_table_gradient, config=config),
        )
        for_tables = tuple(g.astype(table.dtype) for g, table in zip(for_tables, tables))
    if x_wanted is not None:
        for_x = _position_gradient(tables, x, gradient, config)
    return for_tables, for_x


_encode.defvjp(_encode_forward, _encode_backward, symbolic_zeros=True)


def _table_gradient(x, gradient, *, config):
    """Returns the gradient of the tables from that of the rows: one scatter-add per level.

    Neighbouring points share the cells of a coarse level, and additions to one entry wait for each
    other: each of `copies` neighbours adds to a copy of its own. Index and weight are arithmetic
    inside the scatter, not arrays.
    """
    tables, features = [], config.features
    bits = [jnp.array(axis, jnp.uint32)[:, None] for axis in zip(*_CORNERS)]
    lane = jnp.arange(x.shape[0], dtype=jnp.uint32)
    for number, level in enumerate(level_table(config)):
        cells, fractions = _position(x, level)
        # Sixteen additions to an entry of a copy are few enough to wait for.
        copies = max(1, min(_COPIES, _SPREAD // level.size, x.shape[0] // (2 * level.size)))
        index = _index(cells, bits, level) * copies + lane % copies
        rows = gradient[number * features : (number + 1) * features]
        update = _weight(fractions, bits)[..., None] * rows.T
        sums = jnp.zeros((level.size * copies, features), x.dtype)
        sums = sums.at[index].add(update, mode="promise_in_bounds")
        tables.append(sums.reshape(level.size, copies, features).sum(1).T)
    return tuple(tables)


def _table_gradient_by_corner(x, gradient, *, config):
    """Returns the same as `_table_gradient`, in the form that is fastest on the CPU.

    Two features travel as one complex number, which costs little more than one feature. A loop over
    the corners keeps index and update one-dimensional, without the concatenation that XLA's CPU
    backend does not vectorise, and keeps the program small.
    """
    levels, features = level_table(config), config.features
    cells, fractions, rows = jax.lax.optimization_barrier((*_positions(x, levels), gradient))
    complex_dtype = jax.lax.complex(x.dtype.type(0), x.dtype.type(0)).dtype

    def add_corner(k, sums):
        corner = [((k >> axis) & 1).astype(jnp.uint32) for axis in range(3)]
        return [
            _with_corner(sums[number], cells[number], fractions[number], corner, level,
                         rows[number * features : (number + 1) * features])
            for number, level in enumerate(levels)
        ]  # fmt: skip

    zeros = [
        [jnp.zeros(level.size, complex_dtype)] * (features // 2)
        + [jnp.zeros(level.size, x.dtype)] * (features % 2)
        for level in levels
    ]
    sums = jax.lax.fori_loop(0, 8, add_corner, zeros)
    return tuple(_planar(level_sums, features) for level_sums in sums)


def _with_corner(sums, cells, fractions, corner, level, rows):
    """Returns a level's sums, pairs of features first, with one corner's share of rows (F, N)."""
    index, weight = _index(cells, corner, level), _weight(fractions, corner)
    paired = 2 * (len(rows) // 2)
    updates = [
        jax.lax.complex(weight * a, weight * b)
        for a, b in zip(rows[:paired:2], rows[1:paired:2])
    ]
    updates += [weight * row for row in rows[paired:]]
    return [s.at[index].add(u, mode="promise_in_bounds") for s, u in zip(sums, updates)]


def _planar(sums, features):
    """Returns a level's sums (F, size)."""
    columns = []
    for pair in sums[: features // 2]:
        columns += [pair.real, pair.imag]
    return jnp.stack(columns + sums[features // 2 :])


def _position_gradient(tables, x, gradient, config):
    """Returns the gradient [N, 3] in the positions; `gradient` is [L * F, N]."""
    rows = list(gradient)
    total = [jnp.zeros(x.shape[0], x.dtype) for _ in range(3)]
    for number, (table, level) in enumerate(zip(tables, level_table(config))):
        cells, fractions = _position(x, level)
        first = number * config.features
        field = _corner_field(cells, table, rows[first : first + config.features], level)
        for axis in range(3):
            step = 1 << axis
            low = [k for k in range(8) if not k & step]
            slopes = [field[k | step] - field[k] for k in low]
            others = [fractions[a] for a in range(3) if a != axis]
            total[axis] = total[axis] + x.dtype.type(level.scale) * _lerp(slopes, others)
    return jnp.stack(total, axis=-1)


def _corner_field(cells, table, rows, level):
    """Returns the entries at the 8 corners [8, N], the features weighted with their gradients.

    One scalar field, so that it is differentiated once and not per feature; a loop, so that XLA
    stores it instead of gathering anew for each of the three derivatives.
    """

    def corner_value(k):
        corner = [((k >> axis) & 1).astype(jnp.uint32) for axis in range(3)]
        index = _index(cells, corner, level)
        return sum(row * _take(t, index, row.dtype) for row, t in zip(rows, table))

    return jax.lax.map(corner_value, jnp.arange(8))
