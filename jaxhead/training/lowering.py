"""The training step as a program for a kind of device that need not be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from jaxhead.training.devices import Device
from jaxhead.training.dispatch import build_step, build_validate
from jaxhead.training.state import create_state, root_key, stream
from jaxhead.training.system import Stage

Tree = Any


def _per_device(tree: Tree, devices: int) -> Tree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((devices, *x.shape), x.dtype), tree)


def _rows(stage: Stage, devices: int, length: int | None) -> dict[str, Tree]:
    """Shapes of the host rows of a dispatch, or of a validation where `length` is None."""
    lead = (devices,) if length is None else (devices, length)
    rows = {}
    for name, feed in stage.feeds.items():
        if feed.next is not None:
            taken = feed.next(feed.start)[0]
            rows[name] = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((*lead, len(x) // devices, *x.shape[1:]), x.dtype),
                taken,
            )
    return rows


def export_step(
    stage: Stage,
    *,
    platforms: Sequence[str] = ("tpu",),
    devices: Sequence[Device] | None = None,
    length: int = 2,
) -> dict[str, export.Exported]:
    """The step, and the validation where there is one, lowered for `platforms`; nothing runs.

    Lowering shows that every operation exists there and that all shapes are static. It does not
    show that the platform's compiler takes the program, that it fits in memory, or how fast it is.

    Args:
      stage: the recipe.
      platforms: names as `jax.export` takes them, such as "tpu" or "cuda".
      devices: local devices that stand for those of the platform; all by default.
      length: steps of a dispatch.

    Returns:
      {"step": ..., "validate": ...}.
    """
    devices = list(devices or jax.local_devices())
    count = len(devices)
    variables = jax.eval_shape(
        lambda: stage.system.init(stream(root_key(0, stage.name), "init"))
    )
    state = jax.eval_shape(lambda v: create_state(stage, v), variables)
    arrays = {}
    for name, feed in stage.feeds.items():
        arrays[name] = _per_device(feed.arrays, count)
    number = jax.ShapeDtypeStruct((count,), jnp.int32)
    step, root = build_step(stage, seed=0, devices=devices, steps_per_dispatch=length)
    rows = {k: v for k, v in _rows(stage, count, length).items() if k != "validate"}
    state, frozen = _per_device(state, count), _per_device(variables.frozen, count)
    made = {
        "step": export.export(jax.jit(step), platforms=list(platforms))(
            state, jax.ShapeDtypeStruct((count,), jnp.bool_), frozen, arrays, rows, number, number,
            _per_device(root, count),
        )
    }  # fmt: skip
    if stage.system.validate is not None and "validate" in stage.feeds:
        validate = build_validate(stage, seed=0, devices=devices)
        made["validate"] = export.export(jax.jit(validate), platforms=list(platforms))(
            state, frozen, arrays["validate"], _rows(stage, count, None).get("validate")
        )
    return made
