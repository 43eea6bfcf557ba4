"""A place at which XLA stores arrays instead of computing them again inside every user."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Tree = TypeVar("Tree")


def materialised(tree: Tree) -> Tree:
    """Returns the same arrays, stored in memory before anything uses them.

    XLA's CPU backend compiles one kernel per stored array and fuses what made the operands into
    it. Where an operand is read at many places (the points of a look-up) or in another shape than
    it was made in, that repeats the work for every read. `lax.optimization_barrier` says so to
    accelerators and to jaxlib from 0.12 on; before, the CPU backend drops barriers ahead of fusion,
    and a loop that runs no iteration takes their place: nothing fuses across its edge, and its
    result stays where its operand is.

    Args:
      tree: pytree of arrays with at least one element each. Under `vmap` nothing is lost but, on
        the CPU, the effect.

    Gradients flow as through the identity.
    """
    return _stored(tree)


@jax.custom_jvp
def _stored(tree):
    return lax.platform_dependent(tree, cpu=_cpu, default=lax.optimization_barrier)


def _cpu(tree):
    leaves, structure = jax.tree.flatten(lax.optimization_barrier(tree))
    first = jnp.real(leaves[0].reshape(-1)[0])
    # Never true, but only who runs it knows.
    again = (first > 0) & (first < 0)

    def changed(x):
        # Must not be the identity, or XLA takes the loop's result for its operand.
        return ~x if x.dtype == jnp.bool_ else x + x.dtype.type(1)

    def body(state):
        return jnp.bool_(False), [changed(x) for x in state[1]]

    _, leaves = lax.while_loop(lambda state: state[0], body, (again, leaves))
    return jax.tree.unflatten(structure, leaves)


@_stored.defjvp
def _stored_jvp(primals, tangents):
    return _stored(*primals), tangents[0]
