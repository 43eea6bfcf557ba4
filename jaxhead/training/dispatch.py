"""Several training steps as one compiled program, of one subject or of many side by side.

One dispatch runs up to `steps_per_dispatch` optimiser steps in a loop on the device. How many is
an argument, so the last, shorter dispatch of a run needs no second compilation; the loop stops by
itself before a step whose loss or gradient is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxhead.training.devices import Device, of_all_processes
from jaxhead.training.state import root_key, stream, variables_of
from jaxhead.training.step import mean_over_devices, one_step, sample_batch, shard_of, shard_size
from jaxhead.training.system import AXIS_NAME, Stage

Tree = Any


def _row(rows: Tree, index: jax.Array) -> Tree:
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, index, 0, False), rows)


def _stepping(stage: Stage, everywhere: int) -> Callable[..., Any]:
    """(state, frozen, arrays, row, total, root) -> (state, metrics, finite), see `one_step`."""

    def step(state, frozen, arrays, row, total, root):
        key = jax.random.fold_in(root, state.step)
        batch = sample_batch(stage, arrays, row, key, state.step, everywhere)
        return one_step(stage, state, frozen, batch, key, total, everywhere)

    return step


def _alone(stage: Stage, everywhere: int, length: int) -> Callable[..., Any]:
    """The dispatch of one subject whose batch `everywhere` devices share; see `build_step`."""
    step = _stepping(stage, everywhere)

    def dispatch(state, stopped, frozen, arrays, rows, count, total, root):
        root = jax.random.wrap_key_data(root)

        def body_step(state, index):
            return step(state, frozen, arrays, _row(rows, index), total, root)

        shapes = jax.eval_shape(body_step, state, jnp.int32(0))[1]
        buffers = {name: jnp.zeros((length,), x.dtype) for name, x in shapes.items()}

        def body(carry):
            index, state, _, buffers = carry
            state, metrics, finite = body_step(state, index)
            buffers = {name: buffers[name].at[index].set(metrics[name]) for name in buffers}
            return index + 1, state, ~finite, buffers

        carry = (jnp.int32(0), state, stopped, buffers)
        _, state, stopped, buffers = lax.while_loop(
            lambda c: (c[0] < count) & ~c[2], body, carry
        )
        return state, stopped, buffers | {"stopped": stopped}

    return dispatch


def _side_by_side(stage: Stage, length: int) -> Callable[..., Any]:
    """The dispatch of many subjects at once, all leaves with a leading subject axis.

    The subjects with a count above 0 stand at one step and get one count. That step stays a single
    number under `vmap`: what happens every n-th step is then a branch for all of them, which a
    step per subject would turn into work at every step.
    """
    step = _stepping(stage, 1)

    def dispatch(state, stopped, frozen, arrays, rows, count, total, root):
        roots, active = jax.random.wrap_key_data(root), count > 0
        first = jnp.max(jnp.where(active, state.step, 0))

        def body_step(state, index):
            def subject(state, frozen, arrays, rows, total, root):
                state = state.replace(step=first + index)
                return step(state, frozen, arrays, _row(rows, index), total, root)

            return jax.vmap(subject)(state, frozen, arrays, rows, total, roots)

        def chosen(new, old):
            which = active.reshape(-1, *[1] * (new.ndim - 1))
            return jnp.where(which, new, old)

        shapes = jax.eval_shape(body_step, state, jnp.int32(0))[1]
        buffers = {
            name: jnp.zeros((*x.shape, length), x.dtype) for name, x in shapes.items()
        }

        def body(carry):
            index, state, _, buffers = carry
            new, metrics, finite = body_step(state, index)
            state = jax.tree.map(chosen, new, state)
            buffers = {name: buffers[name].at[:, index].set(metrics[name]) for name in buffers}
            return index + 1, state, active & ~finite, buffers

        carry = (jnp.int32(0), state, stopped, buffers)
        _, state, stopped, buffers = lax.while_loop(
            lambda c: (c[0] < jnp.max(count)) & ~jnp.any(c[2]), body, carry
        )
        return state, stopped, buffers | {"stopped": stopped}

    return dispatch


def _one_of_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of leaves without a subject axis as one of leaves with an axis of 1."""

    def run(*arguments):
        return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], arguments)))

    return run


def root_data(stage: Stage, seed: int) -> np.ndarray:
    """The key data that all randomness of a stage follows from, the `root` of a dispatch."""
    return np.asarray(jax.random.key_data(root_key(seed, stage.name)))


def build_step(stage: Stage, *, seed: int, devices: Sequence[Device], steps_per_dispatch: int):
    """The pmapped training step of a stage.

    Args:
      stage: the recipe; every feed's batch must divide by the devices of all processes.
      seed: of the run, any int.
      devices: the local devices.
      steps_per_dispatch: most steps of one dispatch, K.

    Returns:
      step(state, stopped, frozen, arrays, rows, count, total, root) -> (state, stopped, metrics),
      all with a leading device axis; state and stopped are donated. rows: {feed: pytree (K,
      examples, ...)} of the feeds with a host stream. count () int32 <= K: the steps to run. total
      () int32: steps of the stage, for schedules. stopped () bool: a step was not finite; nothing
      runs any more. metrics: {name: (K,) float32}, row i of the i-th step of the dispatch (the row
      of a stopping step is the last), and "stopped" once more, which is not donated.
      Second result: the key data of the run, to be replicated, for `root`.
    """
    everywhere = len(devices) * jax.process_count()
    for name, feed in stage.feeds.items():
        shard_size(name, feed.batch, everywhere)
    mapped = jax.pmap(
        _alone(stage, everywhere, steps_per_dispatch), axis_name=AXIS_NAME,
        devices=of_all_processes(devices), donate_argnums=(0, 1),
    )  # fmt: skip
    return mapped, root_data(stage, seed)


def build_many(
    stage: Stage, *, devices: Sequence[Device], width: int, steps_per_dispatch: int
) -> Callable[..., Any]:
    """The pmapped training step of several subjects, each on one device with its whole batch.

    Args:
      stage: the recipe of any of them: they differ in arrays alone.
      devices: the local devices; nothing is reduced over them.
      width: subjects side by side on a device.
      steps_per_dispatch: see `build_step`.

    Returns:
      The step of `build_step`, all arguments and results with leading axes (devices, width). The
      subjects of a call whose count is not 0 must stand at one step and have one count.
    """
    if width == 1:
        dispatch = _one_of_one(_alone(stage, 1, steps_per_dispatch))
    else:
        dispatch = _side_by_side(stage, steps_per_dispatch)
    return jax.pmap(dispatch, axis_name=AXIS_NAME, devices=list(devices), donate_argnums=(0, 1))


def _validation(stage: Stage, everywhere: int) -> Callable[..., Any]:
    system, feed = stage.system, stage.feeds["validate"]
    assert system.validate is not None
    validate = system.validate
    shard_size("validate", feed.batch, everywhere)

    def run(state, frozen, arrays, rows, root):
        key = stream(jax.random.wrap_key_data(root), "validate")
        shard = shard_of("validate", feed.batch, everywhere)
        batch = feed.sample(arrays, rows, stream(key, "feed"), jnp.int32(0), shard)
        metrics = validate(variables_of(state, frozen, ema=True), batch, stream(key, "loss"))
        return mean_over_devices(metrics, everywhere)

    return run


def build_validate(stage: Stage, *, seed: int, devices: Sequence[Device]):
    """The pmapped validation of a stage: (variables, arrays, rows) -> metrics, the same batch
    every time.
    """
    run = _validation(stage, len(devices) * jax.process_count())
    root = root_data(stage, seed)
    return jax.pmap(
        lambda state, frozen, arrays, rows: run(state, frozen, arrays, rows, root),
        axis_name=AXIS_NAME, devices=of_all_processes(devices),
    )  # fmt: skip


def build_many_validate(stage: Stage, *, devices: Sequence[Device], width: int):
    """The pmapped validation of several subjects: (state, frozen, arrays, rows, root) -> metrics,
    all with leading axes (devices, width).
    """
    run = _validation(stage, 1)
    mapped = _one_of_one(run) if width == 1 else jax.vmap(run)
    return jax.pmap(mapped, axis_name=AXIS_NAME, devices=list(devices))
