"""What frames share, refined on the pixels: how the skin of a turning head moves tells its depth.

Landmarks of a network err alike in all frames, which biases the shape that is fitted to them. Skin
that keeps its albedo knows better: where the shape is wrong, texture slips as the head turns.
Identity and focal length move together with the poses and faces of the frames that are looked at,
by exact Gauss-Newton steps (the Schur complement of `solver.chain_step`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhead.captures.fitting.agreement import Sight, Weighing, costs, errors, masses
from jaxhead.captures.fitting.appearance import Appearance
from jaxhead.captures.fitting.problem import Problem, State
from jaxhead.captures.fitting.residuals import Normal, moved
from jaxhead.captures.fitting.skin import Skin, Window
from jaxhead.captures.fitting.solver import chain_step
from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST
_FIRST, _LEAST = 1e-3, 1e-7


def refine_shared(
    problem: Problem,
    skin: Skin,
    window: Window,
    appearance: Appearance,
    pictures: Array,
    seen: Array,
    state: State,
    weighing: Weighing,
    *,
    steps: int,
) -> tuple[State, float, float]:
    """Returns the state after some steps, and its cost before and after; it never rises.

    Args:
      problem: landmarks and priors of the T frames looked at; its shared precision is theirs.
      skin, window: points on a body with its identity components, and where pictures lie.
      appearance: of the points, which stays.
      pictures: (T, S, S, 3); seen: (T, P) how well each frame shows each point.
      state: of the T frames.
      weighing: what counts how much.
      steps: most of them.
    """
    given = (problem, skin, window, appearance, pictures, seen)
    cost = first = float(_cost(*given, state, weighing))
    damping = _FIRST
    for _ in range(steps):
        new = _step(*given, state, weighing, jnp.float32(damping))
        found = float(_cost(*given, new, weighing))
        if found < cost:  # not finite counts as refused
            state, cost, damping = new, found, max(damping / 5, _LEAST)
        else:
            damping *= 10
    return state, first, cost


def _mapped(one, problem, pictures, seen, state):
    sights = Sight(pictures, problem.pixels, problem.trust, state.rotation, seen)
    return jax.lax.map(lambda inputs: one(*inputs), (sights, state.frames))


@jax.jit
def _cost(problem, skin, window, appearance, pictures, seen, state, weighing):
    """Half of losses and priors, all frames; what `total_cost` is for landmarks alone."""

    def one(sight, frame):
        off = errors(problem, skin, window, appearance, sight, state.shared, frame)
        prior = (problem.precision * (frame - problem.mean) ** 2).sum()
        return costs(problem, appearance, sight, weighing, *off).sum() + prior

    shared = (problem.shared_precision * (state.shared - problem.shared_mean) ** 2).sum()
    return 0.5 * (_mapped(one, problem, pictures, seen, state).sum() + shared)


@jax.jit
def _step(problem, skin, window, appearance, pictures, seen, state, weighing, damping):
    length, size = state.frames.shape[1], len(state.shared)
    kind = state.frames.dtype

    def one(sight, frame):
        def twice(numbers):
            off = errors(
                problem, skin, window, appearance, sight, numbers[length:], numbers[:length]
            )
            return off, off

        whole = jnp.concatenate([frame, state.shared])
        slopes, off = jax.jacfwd(twice, has_aux=True)(whole)
        matrix = jnp.zeros((length + size, length + size), kind)
        right = jnp.zeros(length + size, kind)
        weights = masses(problem, appearance, sight, weighing, *off)
        for slope, error, mass in zip(slopes, off, weights):
            scaled = slope * mass[:, None, None]
            matrix += jnp.einsum("pki,pkj->ij", scaled, slope, precision=_HIGHEST)
            right -= jnp.einsum("pki,pk->i", scaled, error, precision=_HIGHEST)
        return matrix, right

    matrix, right = _mapped(one, problem, pictures, seen, state)
    prior = problem.shared_precision
    own = matrix[:, :length, :length] + jnp.diag(problem.precision)
    ahead = right[:, :length] - problem.precision * (state.frames - problem.mean)
    normal = Normal(
        own=own,
        mixed=matrix[:, :length, length:],
        shared=matrix[:, length:, length:].sum(0) + jnp.diag(prior),
        couple=jnp.zeros_like(state.frames),  # frames lie too far apart to hold each other
        right=ahead,
        shared_right=right[:, length:].sum(0) - prior * (state.shared - problem.shared_mean),
    )
    out = (state.frames <= problem.low) & (ahead < 0)
    out |= (state.frames >= problem.high) & (ahead > 0)
    step, common = chain_step(
        normal, damping, jnp.where(out, 0.0, jnp.ones_like(ahead)), jnp.ones_like(state.shared)
    )
    return moved(problem, state, step, common)
