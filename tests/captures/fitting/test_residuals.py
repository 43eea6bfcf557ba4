"""The cost of a fit and its normal equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captures.fitting.clips import problem_of, truth

from jaxhead.captures.fitting.problem import State
from jaxhead.captures.fitting.residuals import (
    changes,
    landmark_errors,
    moved,
    normal_equations,
    projected,
    projected_with_slopes,
    total_cost,
)


def near(state, seed=3, size=0.02):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        jnp.asarray,
        State(
            np.float32(state.shared + size * rng.normal(size=state.shared.shape)),
            state.rotation,
            np.float32(state.frames + size * rng.normal(size=state.frames.shape) * (
                np.arange(state.frames.shape[1]) > 2)),
        ),
    )  # fmt: skip


@functools.cache
def normal_of(shared):
    return jax.jit(lambda problem, state: normal_equations(problem, state, shared=shared))


def test_the_right_side_is_the_gradient_of_the_cost():
    true = truth(19)
    problem, state = problem_of(true), near(true)
    still = State(state.shared, jnp.tile(state.rotation[:1], (19, 1, 1)), state.frames)
    normal = normal_of(True)(problem, still)

    def cost(shared, frames):
        # Turns on top of equal rotations: their change from frame to frame is their difference.
        return total_cost(problem, State(shared, still.rotation, frames)) + 0.5 * (
            problem.walk[:3] / problem.gap[1:, None] * jnp.diff(frames[:, :3], axis=0) ** 2
        ).sum()

    common, own = jax.jit(jax.grad(cost, (0, 1)))(still.shared, still.frames)
    np.testing.assert_allclose(normal.shared_right, -common, rtol=2e-3, atol=0.05)
    scale = np.abs(own).max()
    np.testing.assert_allclose(normal.right, -own, atol=2e-4 * scale)


@pytest.mark.long
def test_slopes_are_the_derivatives():
    true = truth(19)
    problem, state = problem_of(true), near(true)
    arguments = (state.shared, state.frames[2])

    def direct(shared, frame):
        return projected(problem.body, problem.marks, shared, state.rotation[2], frame)

    common, own = jax.jacfwd(direct, (0, 1))(*arguments)
    pixels, slopes = projected_with_slopes(
        problem.body, problem.marks, state.shared, state.rotation[2], state.frames[2], common=True
    )
    np.testing.assert_allclose(pixels, direct(*arguments), rtol=1e-5)
    np.testing.assert_allclose(slopes, np.concatenate([own, common], -1), atol=2e-3)


@pytest.mark.long
def test_held_shared_numbers_leave_the_rest_as_it_is():
    true = truth(19)
    problem, state = problem_of(true), near(true)
    with_shared, without = (normal_of(shared)(problem, state) for shared in (True, False))
    np.testing.assert_allclose(without.own, with_shared.own, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(without.right, with_shared.right, rtol=1e-4, atol=1e-2)
    assert without.mixed.shape[-1] == 0 and without.shared.shape == (0, 0)


@pytest.mark.long
def test_blocks_of_frames_change_nothing():
    true = truth(19)  # one block of 16 and a rest
    problem, state = problem_of(true), near(true)
    whole = normal_of(True)(problem, state)
    few = jax.tree.map(lambda a: a[16:], (problem.pixels, problem.trust, problem.gap))
    part = problem.replace(pixels=few[0], trust=few[1], gap=few[2])
    rest = normal_of(True)(part, State(state.shared, state.rotation[16:], state.frames[16:]))
    np.testing.assert_allclose(whole.mixed[16:], rest.mixed, rtol=1e-4, atol=1e-2)


def test_errors_are_zero_at_the_truth_and_changes_are_turns():
    true = truth(5)
    errors = jax.jit(landmark_errors)(problem_of(true), true)
    assert errors.shape == (5, 60) and errors.max() < 1e-3
    found = np.asarray(changes(jax.tree.map(jnp.asarray, true)))
    assert not found[0].any()
    turned = true.rotation[2] @ true.rotation[1].T
    angle = np.arccos((np.trace(turned) - 1) / 2)
    np.testing.assert_allclose(np.linalg.norm(found[2, :3]), angle, rtol=1e-3)


def test_steps_keep_rotations_and_bounds():
    true = truth(3)
    problem = problem_of(true)
    problem = problem.replace(high=problem.high.at[6:11].set(1.0))
    state = moved(problem, true, jnp.full(true.frames.shape, 3.0), jnp.full(5, 0.1))
    np.testing.assert_allclose(
        state.rotation @ np.swapaxes(state.rotation, 1, 2), np.tile(np.eye(3), (3, 1, 1)), atol=1e-6
    )
    assert (state.frames[:, 6:11] <= 1).all() and not np.asarray(state.frames[:, :3]).any()
    np.testing.assert_allclose(state.shared, true.shared + np.float32(0.1))
