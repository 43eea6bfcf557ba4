"""Registration of what frames show of the sheet with a template: shifts at the lattice's nodes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.sheet import CELL, NODES
from jaxhead.captures.sway_solver import regular_blocks, solved
from jaxhead.captures.sway_textures import MILLIMETRE, look_up

_STEPS = 6
# Weights of first and second differences, of the shift itself, and of the shift of tracked skin,
# in units of the mean curvature of the data's own term.
_FIRST, _SECOND, _ZERO, SKIN = 0.02, 0.2, 0.001, 30.0


def _gradient(values: jax.Array, pitch: float) -> jax.Array:
    """(P, 2) slopes of a sheet's values (P,) per millimetre in x and y."""
    side = CELL * (NODES - 1)
    values = values.reshape(side, side)
    across = (jnp.roll(values, -1, 1) - jnp.roll(values, 1, 1)) / 2
    up = (jnp.roll(values, 1, 0) - jnp.roll(values, -1, 0)) / 2
    return jnp.stack([across, up], -1).reshape(-1, 2) * (MILLIMETRE / pitch)


def curvature(template: np.ndarray, known: np.ndarray, pitch: float) -> float:
    """Mean curvature of the data's term at a node and along an axis, per square millimetre."""
    slopes = np.asarray(_gradient(jnp.asarray(template), pitch))
    # A node's hat functions have squares whose mean is 4/9 of a cell's area.
    return float((slopes**2 * known[:, None]).sum() / (2 * NODES * NODES)) * 4 / 9


def stiffness(skin: np.ndarray, hold: float = SKIN) -> np.ndarray:
    """(nodes, nodes) float32 the regulariser's matrix: differences of neighbours, and skin's own.

    Args:
      skin: (NODES, NODES) how far each node lies on skin, which the tracked mesh already moves.
      hold: weight of a shift of skin.
    """
    first = np.diff(np.eye(NODES), axis=0)
    second = np.diff(np.eye(NODES), n=2, axis=0)
    eye = np.eye(NODES)
    total = np.diag(_ZERO + hold * skin.reshape(-1))
    for rows, weight in ((first, _FIRST), (second, _SECOND)):
        square = rows.T @ rows
        total = total + weight * (np.kron(square, eye) + np.kron(eye, square))
    return total.astype(np.float32)


@functools.partial(jax.jit, static_argnames="pitch")
def align(pictures, points, poses, shifts, K, templates, known, regular, *, pitch):
    """(B, nodes, 2) shifts in millimetres after the steps of one round.

    Args:
      pictures: (B, 2, W, W); points: (B, P, 3); poses: (B, 4, 4); shifts: (B, nodes, 2) to start
        from; K: (3, 3).
      templates: (B, P) grey values to register with; known: (B, P) weights in [0, 1].
      regular: (nodes, nodes) of `stiffness`, scaled.
      pitch: metres between points.
    """

    blocks = regular_blocks(regular)

    def one(picture, points, pose, start, template, known):
        slopes = _gradient(template, pitch)

        def look(shifts):
            value, trust = look_up(picture, points, pose, shifts, K)
            trust = trust * known
            difference = value - template
            # A change of light is not motion: the mean difference is left out.
            total = jnp.maximum(trust.sum(), 1.0)
            return value, trust, difference - (trust * difference).sum() / total

        _, trust, difference = first = look(start)
        scale = 2 * jnp.sqrt((trust * difference**2).sum() / jnp.maximum(trust.sum(), 1.0)) + 1e-3

        def cost(trust, difference, shifts):
            data = (trust * scale**2 * jnp.log1p((difference / scale) ** 2)).sum()
            return data + jnp.einsum("nd,nm,md->", shifts, regular, shifts)

        def step(carry, _):
            shifts, seen, best, damping = carry
            slope = 0.5 * (slopes + _gradient(seen[0], pitch))
            robust = seen[1] / (1 + (seen[2] / scale) ** 2)
            moved = shifts - solved(slope, robust, seen[2], shifts, regular, blocks, damping)
            new = look(moved)
            value = cost(*new[1:], moved)
            better = value < best
            kept = jax.tree.map(
                lambda a, b: jnp.where(better, a, b), (moved, new, value), (shifts, seen, best)
            )
            return (*kept, jnp.where(better, 0.3 * damping, 8 * damping)), None

        start = (start, first, cost(trust, difference, start), jnp.float32(0.01))
        return jax.lax.scan(step, start, None, length=_STEPS)[0][0]

    return jax.vmap(one)(pictures, points, poses, shifts, templates, known)
