"""Levenberg-Marquardt on normal equations whose frames form a chain and share some numbers.

The step is exact: block elimination along the chain (the block Thomas algorithm) gives what the
frames do for any move of the shared numbers, whose own small system is the Schur complement. Time
is linear in the frames; memory is two blocks per frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve

from jaxhead.captures.fitting.problem import Problem, State
from jaxhead.captures.fitting.residuals import Normal, moved, normal_equations, total_cost
from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST
_FIRST, _LEAST, _MOST = 1e-3, 1e-7, 1e6


class Solution(NamedTuple):
    """Where a solve ended: the state, its cost and how many steps were taken."""

    state: State
    cost: float
    steps: int


def chain_step(
    normal: Normal, damping: Array, free: Array, shared_free: Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the step (N, D) of the frames and (S,) of what they share.

    Args:
      normal: the equations; `own` and `shared` positive definite where free.
      damping: (), Marquardt's factor on the diagonal.
      free: (N, D) 1 where a number moves, 0 where it is held; shared_free: (S,) likewise.
    """
    eye = jnp.eye(normal.own.shape[1], dtype=normal.own.dtype)
    # Scaled by the diagonal: radians, logarithms and coefficients have different units.
    diagonal = jnp.diagonal(normal.own, axis1=1, axis2=2)
    scale = jnp.where(free > 0, jax.lax.rsqrt(jnp.maximum(diagonal, 1e-12)), 0.0)
    held = (1 - free)[:, :, None] * eye
    own = normal.own * scale[:, :, None] * scale[:, None, :] + held + damping * eye
    common = jnp.diagonal(normal.shared)
    common_scale = jnp.where(
        shared_free > 0, jax.lax.rsqrt(jnp.maximum(common, 1e-12)), 0.0
    )
    mixed = normal.mixed * scale[:, :, None] * common_scale
    right = jnp.concatenate([(normal.right * scale)[:, :, None], mixed], -1)
    before = jnp.concatenate([jnp.zeros_like(scale[:1]), scale[:-1]])
    couple = normal.couple * scale * before

    def forward(carry, inputs):
        factor, last = carry
        own, link, right = inputs
        # The block to the frame before is -diag(link).
        inverse = cho_solve((factor, True), jnp.concatenate([jnp.diag(link), last], 1))
        size = own.shape[0]
        own = own - link[:, None] * inverse[:, :size]
        right = right + link[:, None] * inverse[:, size:]
        factor = cho_factor(own, lower=True)[0]
        return (factor, right), (factor, right)

    start = (eye, jnp.zeros_like(right[0]))
    _, (factors, rights) = jax.lax.scan(forward, start, (own, couple, right))

    def backward(later, inputs):
        factor, right, link = inputs
        found = cho_solve((factor, True), right + link[:, None] * later)
        return found, found

    links = jnp.concatenate([couple[1:], jnp.zeros_like(couple[:1])])
    _, found = jax.lax.scan(
        backward, jnp.zeros_like(right[0]), (factors, rights, links), reverse=True
    )
    alone, response = found[:, :, 0], found[:, :, 1:]
    if not normal.shared.shape[0]:
        return alone * scale, jnp.zeros(0, alone.dtype)
    small = normal.shared * common_scale[:, None] * common_scale
    small = small - jnp.einsum("nds,ndr->sr", mixed, response, precision=_HIGHEST)
    small = small + jnp.diag((1 - shared_free) + damping)
    goal = normal.shared_right * common_scale
    goal = goal - jnp.einsum("nds,nd->s", mixed, alone, precision=_HIGHEST)
    both = cho_solve(cho_factor(0.5 * (small + small.T), lower=True), goal)
    step = alone - jnp.einsum("nds,s->nd", response, both, precision=_HIGHEST)
    return step * scale, both * common_scale


def propose(
    problem: Problem, state: State, damping: Array, free: Array, shared_free: Array, *, shared: bool
) -> tuple[State, jax.Array]:
    """Returns the state after one step from `state`, and its cost ().

    Args:
      problem, state: N frames.
      damping: (), Marquardt's factor.
      free: (D,) 1 for the numbers of a frame that move; shared_free: (S,) likewise.
      shared: whether shared numbers move at all.
    """
    normal = normal_equations(problem, state, shared=shared)
    # A number at its bound that wants to leave stays there (gradient projection).
    out = (state.frames <= problem.low) & (normal.right < 0)
    out |= (state.frames >= problem.high) & (normal.right > 0)
    free = jnp.where(out, 0.0, jnp.broadcast_to(free, state.frames.shape))
    size = state.shared.shape[0] if shared else 0
    step, shared_step = chain_step(normal, damping, free, shared_free[:size])
    state = moved(problem, state, step, shared_step if shared else None)
    return state, total_cost(problem, state)


_propose = jax.jit(propose, static_argnames=("shared",))
_cost = jax.jit(total_cost)


def solve(
    problem: Problem,
    state: State,
    *,
    free: np.ndarray,
    shared_free: np.ndarray | None,
    iterations: int,
    tolerance: float = 1e-5,
    tell: Callable[[], None] | None = None,
) -> Solution:
    """Returns the state of least cost that Levenberg-Marquardt finds; the cost never rises.

    Args:
      problem, state: N frames and where to start.
      free: (D,) 1 for the numbers of a frame that move.
      shared_free: (S,) likewise, None where none of them does.
      iterations: most steps, those that were refused included.
      tolerance: ends when a step lowers the cost by a smaller share.
      tell: called after each step.
    """
    damping, cost = _FIRST, float(_cost(problem, state))
    shared = shared_free is not None
    common = jnp.asarray(shared_free if shared else np.zeros(1), jnp.float32)
    numbers = jnp.asarray(free, jnp.float32)
    taken = 0
    for _ in range(iterations):
        new, found = _propose(
            problem, state, jnp.float32(damping), numbers, common, shared=shared
        )
        found = float(found)
        if tell is not None:
            tell()
        if not found < cost:  # not finite counts as refused
            damping = max(damping, _LEAST) * 10
            if damping > _MOST:
                break
            continue
        share = (cost - found) / max(cost, 1e-12)
        state, cost, taken = new, found, taken + 1
        damping = max(damping / 5, _LEAST)
        if share < tolerance:
            break
    return Solution(state, cost, taken)
