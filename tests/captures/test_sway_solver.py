"""The lattice's normal equations in blocks are those of the whole matrix."""

import jax
import numpy as np

from jaxhead.captures.sheet import CELL, CELL_NODES, HATS, NODES
from jaxhead.captures.sway_align import stiffness
from jaxhead.captures.sway_solver import regular_blocks, solve, solved

POINTS = (CELL * (NODES - 1)) ** 2


def whole_step(slope, robust, difference, shifts, regular, damping):
    """The step by the dense matrix of all unknowns, x of every node and then y."""
    hats = np.zeros((POINTS, NODES * NODES))
    ids = np.arange(POINTS).reshape(NODES - 1, CELL, NODES - 1, CELL).swapaxes(1, 2)
    for points, nodes in zip(ids.reshape(-1, CELL * CELL), CELL_NODES):
        hats[np.ix_(points, nodes)] = HATS.T
    jacobian = np.concatenate([hats * slope[:, :1], hats * slope[:, 1:]], 1)
    normal = jacobian.T @ (robust[:, None] * jacobian) + np.kron(np.eye(2), regular)
    right = jacobian.T @ (robust * difference) + (regular @ shifts).T.reshape(-1)
    normal += damping * np.diag(np.diag(normal))
    return np.linalg.solve(normal, right).reshape(2, -1).T


def test_the_step_is_that_of_the_whole_matrix():
    random = np.random.default_rng(0)
    slope = random.normal(size=(POINTS, 2)) * 0.03
    robust = random.uniform(size=POINTS) * (random.uniform(size=POINTS) > 0.3)
    difference = random.normal(size=POINTS) * 0.1
    shifts = random.normal(size=(NODES * NODES, 2))
    regular = 0.3 * stiffness(random.uniform(size=(NODES, NODES)))
    single = [np.float32(x) for x in (slope, robust, difference, shifts, regular)]
    step = jax.jit(lambda damping: solved(*single, regular_blocks(single[-1]), damping))
    for damping in (0.0, 0.5):
        found = step(np.float32(damping))
        expected = whole_step(slope, robust, difference, shifts, regular, damping)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_systems_in_blocks_are_solved():
    random = np.random.default_rng(1)
    count, side = 4, 5
    diagonal = random.normal(size=(2, count, side, side))
    diagonal = diagonal @ diagonal.swapaxes(-1, -2) + 8 * np.eye(side)
    below, right = random.normal(size=(2, 2, count, side, side))
    right = right[..., 0]
    found = jax.vmap(solve)(*(np.float32(x) for x in (diagonal, below, right)))
    for one in range(2):
        whole = np.zeros((count, side, count, side))
        for k in range(count):
            whole[k, :, k] = diagonal[one, k]
            if k + 1 < count:
                whole[k + 1, :, k] = below[one, k]
                whole[k, :, k + 1] = below[one, k].T
        whole = whole.reshape(count * side, -1)
        expected = np.linalg.solve(whole, right[one].reshape(-1)).reshape(count, side)
        np.testing.assert_allclose(found[one], expected, atol=1e-5)
