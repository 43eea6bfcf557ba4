"""The train state: everything that a step changes, as one pytree."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxhead.training.system import Stage, Variables

Tree = Any


class TrainState(flax.struct.PyTreeNode):
    """What a checkpoint holds.

    Attributes:
      step: () int32, finished steps.
      params: {player: pytree}.
      opt_state: {player: optax state} of the players that have an update.
      ema: {player: pytree} of the players that have a decay in `Stage.ema`.
      state: see `Variables.state`.
    """

    step: jax.Array
    params: Mapping[str, Tree]
    opt_state: Mapping[str, Tree]
    ema: Mapping[str, Tree]
    state: Tree


def stream(key: jax.Array, name: str) -> jax.Array:
    """A key of its own for a named purpose; adding a name changes no other stream."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def root_key(seed: int, stage: str) -> jax.Array:
    """The typed key that all randomness of a stage follows from."""
    return stream(jax.random.key(seed), stage)


def make_optimizer(stage: Stage, player: str, total: jax.Array | int):
    """The optax transformation of a player for a stage of `total` steps (int, or traced () int32).
    """
    optimizer = stage.optimizers[player]
    if isinstance(optimizer, optax.GradientTransformation):
        return optimizer
    return optimizer(total)


def create_state(stage: Stage, variables: Variables) -> TrainState:
    """The state before the first step.

    Args:
      stage: the recipe.
      variables: what `stage.system.init` gave.
    """
    players = dict.fromkeys(update.player for update in stage.system.updates)
    unknown = (set(players) | set(stage.ema)) - set(variables.params)
    if unknown or set(players) - set(stage.optimizers):
        missing = sorted(unknown | (set(players) - set(stage.optimizers)))
        raise ValueError(f"stage {stage.name}: players {missing} need params and an optimizer")
    params = {name: jax.tree.map(jnp.asarray, tree) for name, tree in variables.params.items()}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state={name: make_optimizer(stage, name, 1).init(params[name]) for name in players},
        ema={name: jax.tree.map(jnp.asarray, params[name]) for name in stage.ema},
        state=jax.tree.map(jnp.asarray, variables.state),
    )


def variables_of(state: TrainState, frozen: Tree, *, ema: bool = False) -> Variables:
    """The variables of a state; with `ema` the averaged params where there are any."""
    params = {**state.params, **state.ema} if ema else dict(state.params)
    return Variables(params=params, state=state.state, frozen=frozen)


def parameter_count(params: Tree) -> int:
    """The number of scalars in a pytree of arrays."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(params))
