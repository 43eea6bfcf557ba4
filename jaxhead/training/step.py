"""One optimiser step of all players, as a device computes it; `training/dispatch.py` compiles it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxhead.files.errors import InputError
from jaxhead.training.state import TrainState, make_optimizer, stream, variables_of
from jaxhead.training.system import AXIS_NAME, Shard, Stage, Update, Variables

Tree = Any


def shard_size(name: str, batch: int, devices: int) -> int:
    """Examples per device; InputError when the global batch cannot be split evenly."""
    if batch % devices:
        raise InputError(
            f"feed {name}: the global batch of {batch} examples cannot be split over {devices} "
            f"devices; expected a multiple of {devices}"
        )
    return batch // devices


def shard_of(name: str, batch: int, devices: int) -> Shard:
    """What this device makes of a feed's global batch: its part, or all where `devices` is 1 and
    every device works for itself.
    """
    count = shard_size(name, batch, devices)
    offset = jnp.int32(0)
    if devices > 1:
        offset = lax.axis_index(AXIS_NAME).astype(jnp.int32) * count
    return Shard(offset=offset, count=count, total=batch)


def mean_over_devices(tree: Tree, devices: int) -> Tree:
    """The mean over the device axis; nothing at all on one device, where a collective only costs
    time.
    """
    return tree if devices == 1 else lax.pmean(tree, AXIS_NAME)


def consistent_state(old: Tree, new: Tree, devices: int) -> Tree:
    """`new`, made equal on all devices: floating leaves averaged, others maximised; untouched
    leaves skipped.
    """
    if devices == 1:
        return new

    def reduce(before, after):
        if before is after:
            return after
        if jnp.issubdtype(after.dtype, jnp.inexact):
            return lax.pmean(after, AXIS_NAME)
        if after.dtype == jnp.bool_:
            return lax.pmax(after.astype(jnp.int32), AXIS_NAME).astype(jnp.bool_)
        return lax.pmax(after, AXIS_NAME)

    return jax.tree.map(reduce, old, new)


def all_finite(tree: Tree) -> jax.Array:
    """() bool: no floating leaf holds a NaN or an infinity."""
    finite = jnp.bool_(True)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def sample_batch(
    stage: Stage, arrays: Mapping[str, Tree], rows: Mapping[str, Tree], key, step, devices: int
) -> dict[str, Tree]:
    """This device's batch of every training feed. `devices` counts those of all processes that
    share the batch.
    """
    batch = {}
    for name, feed in stage.feeds.items():
        if name == "validate":
            continue
        shard = shard_of(name, feed.batch, devices)
        feed_key = stream(key, f"feed/{name}")
        batch[name] = feed.sample(arrays[name], rows.get(name), feed_key, step, shard)
    return batch


def player_gradient(update: Update, variables: Variables, outputs, pullback, batch, key, step):
    """Loss, (metrics, state) and gradient in the player's params, also through the shared outputs.
    """

    def objective(params, outputs):
        seen = variables.replace(params={**variables.params, update.player: params})
        return update.loss(seen, outputs, batch, key, step)

    params = variables.params[update.player]
    if pullback is None:
        (loss, aux), gradient = jax.value_and_grad(objective, has_aux=True)(params, outputs)
        return loss, aux, gradient
    (loss, aux), (gradient, cotangent) = jax.value_and_grad(
        objective, argnums=(0, 1), has_aux=True, allow_int=True
    )(params, outputs)
    through = pullback(cotangent)[0][update.player]
    return loss, aux, jax.tree.map(jnp.add, gradient, through)


def _moved(stage: Stage, player: str, state: TrainState, gradient: Tree, total) -> TrainState:
    """The state after the optimiser step of one player, with its moving average.

    A young average follows faster, by min(decay, (1 + n) / (10 + n)) at the n-th step from 0.
    """
    params = state.params[player]
    optimizer = make_optimizer(stage, player, total)
    change, moments = optimizer.update(gradient, state.opt_state[player], params)
    params = jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, change)
    state = state.replace(
        params={**state.params, player: params}, opt_state={**state.opt_state, player: moments}
    )
    if player not in stage.ema:
        return state
    count = state.step.astype(jnp.float32)
    keep = jnp.minimum(jnp.float32(stage.ema[player]), (1.0 + count) / (10.0 + count))

    def mix(old, new):
        return (keep * old + (1.0 - keep) * new).astype(old.dtype)

    return state.replace(ema={**state.ema, player: jax.tree.map(mix, state.ema[player], params)})


def player_update(stage: Stage, update: Update, prefix: str, total, devices: int, frozen):
    """One player's update: (state, forward, batch, key) -> (state, metrics, () bool all finite)."""

    def run(state: TrainState, forward, batch, key):
        outputs, pullback = forward
        variables = variables_of(state, frozen)
        loss, (metrics, new), gradient = player_gradient(
            update, variables, outputs, pullback, batch, key, state.step
        )
        metrics = {f"{prefix}{name}": jnp.float32(value) for name, value in metrics.items()}
        metrics = {f"{prefix}loss": jnp.float32(loss)} | metrics
        gradient, metrics = mean_over_devices((gradient, metrics), devices)
        finite = all_finite(gradient) & jnp.isfinite(metrics[f"{prefix}loss"])
        new = consistent_state(state.state, new, devices)
        state = state.replace(state=_chosen(finite, new, state.state))

        # A conditional, not a selection of every leaf: it also keeps XLA from fusing scattered
        # gradients into the update. With 2 M parameters in hash tables on a CPU a step took 25 ms
        # like this, 30 ms without any test, 43 ms with a selection.
        def move(state, gradient):
            return _moved(stage, update.player, state, gradient, total)

        state = lax.cond(finite, move, lambda state, _: state, state, gradient)
        return state, metrics, finite

    return run


def _chosen(which: jax.Array, new: Tree, old: Tree) -> Tree:
    """`new` where `which`, else `old`; leaves that are the same object cost nothing."""
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(which, a, b), new, old)


def refreshed(stage: Stage, state: TrainState, batch, key, frozen, devices: int) -> TrainState:
    system = stage.system
    if system.refresh is None:
        return state
    refresh = system.refresh

    def run(_):
        new = refresh(variables_of(state, frozen), batch, stream(key, "refresh"), state.step)
        return consistent_state(state.state, lax.stop_gradient(new), devices)

    if system.refresh_every == 1:
        return state.replace(state=run(None))
    due = state.step % system.refresh_every == 0
    return state.replace(state=lax.cond(due, run, lambda _: state.state, None))


def shared_forward(stage: Stage, state: TrainState, batch, key, frozen, devices: int):
    """State after the shared forward pass, and (outputs, pullback to the params of all players)."""
    system = stage.system
    if system.forward is None:
        return state, (None, None)
    variables = variables_of(state, frozen)
    forward = system.forward

    def shared(params):
        seen = variables.replace(params=params)
        return forward(seen, batch, stream(key, "forward"), state.step)

    outputs, pullback, new = jax.vjp(shared, variables.params, has_aux=True)
    state = state.replace(state=consistent_state(state.state, new, devices))
    return state, (outputs, pullback)


def one_step(stage: Stage, state: TrainState, frozen, batch, key, total, devices: int):
    """One optimiser step of all players on this device's batch.

    Returns:
      (state, metrics {name: () float32}, () bool whether every loss and gradient was finite). When
      not, the state is the given one but for what `System.refresh` did. A player that has no update
      at this step reports 0 and `PLAYER/ran` = 0.
    """
    state = refreshed(stage, state, batch, key, frozen, devices)
    before = state
    state, forward = shared_forward(stage, state, batch, key, frozen, devices)
    several = len(stage.system.updates) > 1
    metrics, losses, finite = {}, jnp.float32(0), jnp.bool_(True)
    for index, update in enumerate(stage.system.updates):
        prefix = f"{update.player}/" if several else ""
        run = player_update(stage, update, prefix, total, devices, frozen)
        update_key = stream(key, f"update/{index}")
        if update.every == 1 and update.start == 0:
            state, terms, good = run(state, forward, batch, update_key)
        else:
            number = before.step + 1
            due = (number > update.start) & (number % update.every == 0)
            state, terms, good = _conditional(run, due, state, forward, batch, update_key)
            metrics[f"{prefix}ran"] = due.astype(jnp.float32)
        finite &= good
        losses += terms[f"{prefix}loss"]
        metrics |= terms
    metrics["loss"] = losses
    if several:
        state = _chosen(finite, state, before)
    elif stage.system.forward is not None:
        state = state.replace(state=_chosen(finite, state.state, before.state))
    return state.replace(step=before.step + finite.astype(jnp.int32)), metrics, finite


def _conditional(run: Callable, due, state, forward, batch, key):
    """`run` where `due`, else the same state, zero metrics and no complaint."""
    shapes = jax.eval_shape(lambda s: run(s, forward, batch, key)[1], state)

    def skip(state):
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), jnp.bool_(True)

    return lax.cond(due, lambda s: run(s, forward, batch, key), skip, state)
