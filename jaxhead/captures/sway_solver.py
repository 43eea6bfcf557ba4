"""The normal equations of a lattice of shifts, factored as a block-tridiagonal matrix.

A node's unknowns meet those of its cells' corners and, in the regulariser's second differences,
those two nodes away. Taken row by row with two rows of nodes to a block, all that is not zero lies
in blocks on the diagonal and beside it: a Cholesky factorisation of those costs a seventh of the
whole matrix's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.sheet import CELL_NODES, HATS, NODES, by_cell

_COUNT = NODES * NODES
_SIDE = 2 * 2 * NODES  # rows of nodes, unknowns of a node, nodes of a row
_BLOCKS = -(-NODES // 2)
_KEPT = 2 * _BLOCKS * _SIDE * _SIDE


def _places(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Where entries lie in the flat (2, _BLOCKS, _SIDE, _SIDE) of `solve`; _KEPT: in none."""
    below = rows // _SIDE - columns // _SIDE
    place = (below * _BLOCKS + columns // _SIDE) * _SIDE + rows % _SIDE
    return np.where((below == 0) | (below == 1), place * _SIDE + columns % _SIDE, _KEPT)


_AXES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
_PRODUCT = np.array([0, 1, 1, 2])
"""Which of slopes' products x x, x y and y y belongs to a pair of axes."""
_OF_CELLS = np.stack([
    _places(2 * np.repeat(CELL_NODES, 4, axis=1) + a, 2 * np.tile(CELL_NODES, (1, 4)) + b)
    for a, b in _AXES
])
_OF_NODES = np.stack([
    _places(*(2 * ids + axis for ids in np.mgrid[:_COUNT, :_COUNT])) for axis in (0, 1)
])
_FILL = np.diag(np.arange(_BLOCKS * _SIDE) >= 2 * _COUNT).reshape(_BLOCKS, _SIDE, _BLOCKS, _SIDE)
_FILL = np.stack([_FILL[k, :, k] for k in range(_BLOCKS)]).astype(np.float32)
"""Unknowns that fill the last block up are alone on the diagonal."""


def regular_blocks(regular: jax.Array) -> jax.Array:
    """(2, K, S, S) blocks of a regulariser (nodes, nodes) that holds x and y alike.

    It may couple nodes up to two rows apart: what lies further off is left out.
    """
    values = jnp.broadcast_to(regular, _OF_NODES.shape).reshape(-1)
    blocks = jnp.zeros(_KEPT + 1).at[_OF_NODES.reshape(-1)].set(values)
    return blocks[:-1].reshape(2, _BLOCKS, _SIDE, _SIDE).at[0].add(_FILL)


def solved(slope, robust, difference, shifts, regular, blocks, damping):
    """(nodes, 2) the damped Gauss-Newton step at shifts (nodes, 2).

    Args:
      slope: (P, 2) of grey values at the sheet's points, per millimetre; robust: (P,) weights;
        difference: (P,) grey values.
      regular: (nodes, nodes); blocks: of `regular_blocks` of it.
      damping: share of the diagonal that is added to it.
    """
    pairs = np.einsum("kp,lp->klp", HATS, HATS).reshape(16, -1)
    squares = jnp.stack(
        [slope[:, 0] ** 2, slope[:, 0] * slope[:, 1], slope[:, 1] ** 2], -1
    ) * robust[:, None]
    cells = jnp.einsum("qp,cpk->kcq", pairs, by_cell(squares))[_PRODUCT]
    data = jnp.zeros(_KEPT + 1).at[_OF_CELLS.reshape(-1)].add(cells.reshape(-1))
    normal = data[:-1].reshape(blocks.shape) + blocks
    right = jnp.einsum("kp,cpd->ckd", HATS, by_cell(slope * (robust * difference)[:, None]))
    right = jnp.zeros((_COUNT, 2)).at[CELL_NODES.reshape(-1)].add(right.reshape(-1, 2))
    right = (right + regular @ shifts).reshape(-1)
    right = jnp.pad(right, (0, _BLOCKS * _SIDE - 2 * _COUNT)).reshape(_BLOCKS, _SIDE)
    found = solve(normal[0] * (1 + damping * jnp.eye(_SIDE)), normal[1], right)
    return found.reshape(-1)[: 2 * _COUNT].reshape(_COUNT, 2)


def solve(diagonal: jax.Array, below: jax.Array, right: jax.Array) -> jax.Array:
    """(K, S) the solution of a positive definite block-tridiagonal system.

    Args:
      diagonal: (K, S, S) blocks on the diagonal; below: (K, S, S) those under them, the last one
        unused; right: (K, S).
    """
    triangular = jax.scipy.linalg.solve_triangular

    def forward(carry, blocks):
        beside, value = carry
        block, under, wanted = blocks
        factor = jnp.linalg.cholesky(block - beside @ beside.T, symmetrize_input=False)
        sides = jnp.concatenate([under.T, (wanted - beside @ value)[:, None]], axis=1)
        sides = triangular(factor, sides, lower=True)
        carry = sides[:, :-1].T, sides[:, -1]
        return carry, (factor, *carry)

    def backward(after, blocks):
        factor, beside, value = blocks
        rest = (value - beside.T @ after)[:, None]
        found = triangular(factor, rest, lower=True, trans=1)[:, 0]
        return found, found

    start = jnp.zeros_like(diagonal[0]), jnp.zeros_like(right[0])
    _, factored = jax.lax.scan(forward, start, (diagonal, below, right))
    return jax.lax.scan(backward, start[1], factored, reverse=True)[1]
