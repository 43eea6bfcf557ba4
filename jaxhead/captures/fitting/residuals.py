"""What a fit minimises: landmarks, priors and changes in time, and the normal equations of it.

The letters are those of `problem`.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.captures.fitting.marks import Marks, marked_points, marks_seen
from jaxhead.captures.fitting.posing import Body, shaped, skinned
from jaxhead.captures.fitting.problem import (
    POSE,
    Problem,
    State,
    frame_parts,
    frame_translation,
)
from jaxhead.geometry.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST


@flax.struct.dataclass
class Normal:
    """Gauss-Newton's normal equations, block tridiagonal in the frames.

    Attributes:
      own: (N, D, D); mixed: (N, D, S); shared: (S, S); couple: (N, D) the diagonal of minus the
        block between a frame and the one before.
      right: (N, D) and shared_right: (S,) minus the gradient.
    """

    own: Array
    mixed: Array
    shared: Array
    couple: Array
    right: Array
    shared_right: Array


def projected(body: Body, marks: Marks, shared: Array, rotation: Array, frame: Array) -> jax.Array:
    """Returns the (M, 2) marks of one frame in pixels around the principal point."""
    body, marks = marks_seen(body, marks, _turned(rotation, frame))
    vertices, joints = shaped(body, shared[1:], frame_parts(body, frame)[0])
    return _in_picture(body, marks, vertices, joints, rotation, frame, shared[0])


def _in_picture(body, marks, vertices, joints, rotation, frame, focal):
    """Pixels (M, 2) of the marks on unposed vertices (V, 3); the frame's expression is unused."""
    _, lids, turns = frame_parts(body, frame)
    vertices = skinned(body, vertices, joints, lids, turns, jnp.zeros(3, frame.dtype))
    turned = _turned(rotation, frame)
    points = jnp.matmul(marked_points(marks, vertices), turned.T, precision=_HIGHEST)
    points = points + frame_translation(frame)
    return jnp.exp(focal) * points[:, :2] / points[:, 2:]


def _turned(rotation, frame):
    return jnp.matmul(axis_angle_to_matrix(frame[:3]), rotation, precision=_HIGHEST)


def projected_with_slopes(
    body: Body, marks: Marks, shared: Array, rotation: Array, frame: Array, *, common: bool
) -> tuple[jax.Array, jax.Array]:
    """Returns `projected` (M, 2) and its derivatives (M, 2, D + S), S = 0 unless `common`.

    Coefficients move vertices along their basis: its rows are pushed through what follows, which
    saves the products with unit vectors that plain forward differentiation would make of them.
    """
    body, marks = marks_seen(body, marks, _turned(rotation, frame))
    vertices, joints = shaped(body, shared[1:], frame_parts(body, frame)[0])

    def of_shape(vertices, joints):
        return _in_picture(body, marks, vertices, joints, rotation, frame, shared[0])

    def of_rest(numbers):
        first, last = numbers[:POSE], numbers[POSE:-1]
        whole = jnp.concatenate([first, frame[POSE : POSE + count], last])
        return _in_picture(body, marks, vertices, joints, rotation, whole, numbers[-1])

    count = body.expression.shape[0]
    rest = jnp.concatenate([frame[:POSE], frame[POSE + count :], shared[:1]])
    pixels, push = jax.linearize(of_shape, vertices, joints)
    bases = [(body.expression, body.joint_expression)]
    if common:
        bases.append((body.identity, body.joint_identity))
    along = [jnp.moveaxis(jax.vmap(push)(*map(jnp.asarray, pair)), 0, -1) for pair in bases]
    other = jax.jacfwd(of_rest)(rest)
    slopes = [other[..., :POSE], along[0], other[..., POSE:-1]]
    if common:
        slopes += [other[..., -1:], along[1]]
    return pixels, jnp.concatenate(slopes, -1)


def landmark_errors(problem: Problem, state: State) -> jax.Array:
    """Returns (N, M) distances in pixels between marks and landmarks."""

    def one(inputs):
        pixels, rotation, frame = inputs
        found = projected(problem.body, problem.marks, state.shared, rotation, frame)
        return jnp.sqrt(((found - pixels) ** 2).sum(-1))

    return jax.lax.map(one, (problem.pixels, state.rotation, state.frames), batch_size=32)


def changes(state: State) -> jax.Array:
    """Returns (N, D) what each frame changed since the one before; zero for the first."""
    turned = jnp.einsum(
        "nij,nkj->nik", state.rotation[1:], state.rotation[:-1], precision=_HIGHEST
    )
    change = jnp.diff(state.frames, axis=0).at[:, :3].set(matrix_to_axis_angle(turned))
    return jnp.concatenate([jnp.zeros_like(state.frames[:1]), change])


def total_cost(problem: Problem, state: State) -> jax.Array:
    """Returns the negative log posterior () up to a constant.

    Half of: trust c^2 log(1 + |e|^2 / (s c)^2) over landmarks, squared departures from the prior
    over frames and shared numbers, squared changes over the gap between frames.
    """
    square = (landmark_errors(problem, state) / problem.scale) ** 2
    limit = problem.robust**2
    landmarks = (problem.trust * limit * jnp.log1p(square / limit)).sum()
    prior = (problem.precision * (state.frames - problem.mean) ** 2).sum()
    steady = (changes(state) ** 2 * problem.walk / problem.gap[:, None]).sum()
    shared = (problem.shared_precision * (state.shared - problem.shared_mean) ** 2).sum()
    return 0.5 * (landmarks + prior + steady + shared)


def normal_equations(problem: Problem, state: State, *, shared: bool) -> Normal:
    """Returns the normal equations at `state`, landmarks reweighted (Cauchy's loss).

    Args:
      problem, state: N frames.
      shared: whether the shared numbers move; without, S is 0.
    """

    def one(inputs):
        pixels, trust, rotation, frame = inputs
        found, jacobian = projected_with_slopes(
            problem.body, problem.marks, state.shared, rotation, frame, common=shared
        )
        error, jacobian = (found - pixels) / problem.scale, jacobian / problem.scale
        weight = trust / (1 + (error**2).sum(-1) / problem.robust**2)
        weighted = jacobian * weight[:, None, None]
        matrix = jnp.einsum("mki,mkj->ij", weighted, jacobian, precision=_HIGHEST)
        return matrix, -jnp.einsum("mki,mk->i", weighted, error, precision=_HIGHEST)

    parts = (problem.pixels, problem.trust, state.rotation, state.frames)
    length = state.frames.shape[1]

    def add(total, block):
        matrix, right = jax.vmap(one)(block)
        total = jax.tree.map(
            lambda a, b: a + b.sum(0), total, (matrix[:, length:, length:], right[:, length:])
        )
        return total, (matrix[:, :length], right[:, :length])

    size = state.shared.shape[0] if shared else 0
    kind = state.frames.dtype
    start = (jnp.zeros((size, size), kind), jnp.zeros(size, kind))
    (common, common_right), (rows, right) = _in_blocks(add, start, parts)
    walk = problem.walk / problem.gap[:, None]
    after = jnp.concatenate([walk[1:], jnp.zeros_like(walk[:1])])
    change = changes(state)
    pull = walk * change
    right = right - problem.precision * (state.frames - problem.mean) - pull
    right = right.at[:-1].add(pull[1:])
    diagonal = problem.precision + walk + after
    own = rows[..., :length] + diagonal[:, :, None] * jnp.eye(length, dtype=kind)
    if shared:
        common = common + jnp.diag(problem.shared_precision)
        departure = state.shared - problem.shared_mean
        common_right = common_right - problem.shared_precision * departure
    return Normal(own, rows[..., length:], common, walk, right, common_right)


def moved(problem: Problem, state: State, step: Array, shared_step: Array | None) -> State:
    """Returns the state after a step (N, D), (S,), within bounds, turns folded into rotations."""
    frames = jnp.clip(state.frames + step, problem.low, problem.high)
    turn = axis_angle_to_matrix(step[:, :3])
    rotation = jnp.matmul(turn, state.rotation, precision=_HIGHEST)
    # Rounding would let the product drift from a rotation: one step of Newton's polar iteration.
    square = jnp.einsum("nki,nkj->nij", rotation, rotation, precision=_HIGHEST)
    correction = 1.5 * jnp.eye(3, dtype=rotation.dtype) - 0.5 * square
    rotation = jnp.matmul(rotation, correction, precision=_HIGHEST)
    return State(
        shared=state.shared if shared_step is None else state.shared + shared_step,
        rotation=rotation,
        frames=frames.at[:, :3].set(0.0),
    )


def _in_blocks(add, start, parts, size: int = 16):
    """Returns add's carry and stacked results over all rows, a block of rows at a time."""
    count = len(parts[0])
    size = min(size, count)
    whole = count // size * size

    def cut(low, high):
        return tuple(part[low:high] for part in parts)

    blocks = tuple(p.reshape(-1, size, *p.shape[1:]) for p in cut(0, whole))
    total, results = jax.lax.scan(add, start, blocks)
    results = jax.tree.map(lambda r: r.reshape(whole, *r.shape[2:]), results)
    if whole < count:
        total, rest = add(total, cut(whole, count))
        results = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), results, rest)
    return total, results
