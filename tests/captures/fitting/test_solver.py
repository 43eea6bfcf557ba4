"""The step along the chain, against one dense system."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.captures.fitting.residuals import Normal
from jaxhead.captures.fitting.solver import chain_step

FRAMES, OWN, SHARED = 5, 4, 3


def system(seed=0, shared=SHARED):
    """A chain's equations and the same as one matrix."""
    rng = np.random.default_rng(seed)
    couple = rng.uniform(0.1, 1.0, (FRAMES, OWN))
    couple[0] = 0
    rows = rng.normal(size=(FRAMES, 2 * OWN, OWN + shared))
    square = np.einsum("nki,nkj->nij", rows, rows)
    own = square[:, :OWN, :OWN]
    for frame in range(FRAMES):
        after = couple[frame + 1] if frame + 1 < FRAMES else 0
        own[frame] += np.diag(couple[frame] + after + 0.1)
    mixed, common = square[:, :OWN, OWN:], square[:, OWN:, OWN:].sum(0) + 0.1 * np.eye(shared)
    right, common_right = rng.normal(size=(FRAMES, OWN)), rng.normal(size=shared)
    normal = Normal(*(jnp.asarray(a, jnp.float32) for a in (
        own, mixed, common, couple, right, common_right)))
    size = FRAMES * OWN
    matrix = np.zeros((size + shared,) * 2)
    for k in range(FRAMES):
        here = slice(k * OWN, (k + 1) * OWN)
        matrix[here, here] = own[k]
        matrix[here, size:], matrix[size:, here] = mixed[k], mixed[k].T
        if k:
            before = slice((k - 1) * OWN, k * OWN)
            matrix[here, before] = matrix[before, here] = -np.diag(couple[k])
    matrix[size:, size:] = common
    return normal, matrix, np.concatenate([right.reshape(-1), common_right])


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("held", [False, True])
def test_a_step_solves_the_whole_system(damping, held):
    normal, matrix, right = system()
    free, common = np.ones((FRAMES, OWN)), np.ones(SHARED)
    if held:
        free[:, 1], free[2], common[0] = 0, 0, 0
    step, shared = chain_step(normal, damping, jnp.asarray(free, jnp.float32),
                              jnp.asarray(common, jnp.float32))
    moves = np.concatenate([free.reshape(-1), common]) > 0
    damped = matrix + damping * np.diag(np.diag(matrix))
    expected = np.zeros(len(right))
    expected[moves] = np.linalg.solve(damped[np.ix_(moves, moves)], right[moves])
    found = np.concatenate([np.asarray(step).reshape(-1), shared])
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_without_shared_numbers():
    normal, matrix, right = system(shared=0)
    step, shared = chain_step(normal, 0.0, jnp.ones((FRAMES, OWN)), jnp.zeros(0))
    assert shared.shape == (0,)
    np.testing.assert_allclose(step.reshape(-1), np.linalg.solve(matrix, right), atol=1e-4)
