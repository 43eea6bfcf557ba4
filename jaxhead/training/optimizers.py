"""Schedules whose length is an array, and the optimisers that the systems share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with a warm-up and an exponential decay to the end of the run.

    Attributes:
      rate: peak learning rate.
      final: the last learning rate as a part of the peak, in (0, 1].
      warmup: share of the run over which the rate rises linearly, in [0, 1).
      hold: share of the run after which the decay begins, in [0, 1).
      b1, b2, eps: Adam's; weight_decay: AdamW's, decoupled.
      clip: the largest global gradient norm, 0 for none.
    """

    rate: float = dataclasses.field(default=1e-2, metadata={"minimum": 0.0})
    final: float = dataclasses.field(default=0.1, metadata={"minimum": 1e-6, "maximum": 1.0})
    warmup: float = dataclasses.field(default=0.0, metadata={"minimum": 0.0, "maximum": 0.99})
    hold: float = dataclasses.field(default=0.0, metadata={"minimum": 0.0, "maximum": 0.99})
    b1: float = dataclasses.field(default=0.9, metadata={"minimum": 0.0, "maximum": 1.0})
    b2: float = dataclasses.field(default=0.99, metadata={"minimum": 0.0, "maximum": 1.0})
    eps: float = dataclasses.field(default=1e-15, metadata={"minimum": 0.0})
    weight_decay: float = dataclasses.field(default=0.0, metadata={"minimum": 0.0})
    clip: float = dataclasses.field(default=0.0, metadata={"minimum": 0.0})


def exponential_schedule(
    total: jax.Array | int, *, rate: float, final: float, warmup: float = 0.0, hold: float = 0.0
) -> Callable[[ArrayLike], jax.Array]:
    """step -> learning rate: linear warm-up, constant until `hold`, exponential to `rate * final`.

    Args:
      total: () int32 or int, steps of the run; may be traced, so the length is not compiled in.
      rate: the peak; final: the last rate as a part of it; warmup, hold: shares of the run.
    """

    def schedule(step: ArrayLike) -> jax.Array:
        done = jnp.asarray(step, jnp.float32) / jnp.maximum(jnp.asarray(total, jnp.float32), 1.0)
        begin = max(hold, warmup)
        decay = jnp.clip((done - begin) / (1.0 - begin), 0.0, 1.0)
        rise = jnp.clip(done / warmup, 0.0, 1.0) if warmup > 0 else 1.0
        return rate * rise * jnp.exp(decay * jnp.log(jnp.float32(final)))

    return schedule


def cosine_schedule(
    total: jax.Array | int, *, rate: float, final: float = 0.0, warmup: float = 0.0
) -> Callable[[ArrayLike], jax.Array]:
    """step -> learning rate: linear warm-up, then half a cosine to `rate * final`; `total` may be
    traced.
    """

    def schedule(step: ArrayLike) -> jax.Array:
        done = jnp.asarray(step, jnp.float32) / jnp.maximum(jnp.asarray(total, jnp.float32), 1.0)
        fall = jnp.clip((done - warmup) / (1.0 - warmup), 0.0, 1.0)
        rise = jnp.clip(done / warmup, 0.0, 1.0) if warmup > 0 else 1.0
        return rate * rise * (final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * fall)))

    return schedule


def adam(config: OptimizerConfig) -> Callable[[jax.Array | int], optax.GradientTransformation]:
    """A function of the run's length that gives Adam(W) with the schedule of `config`: for
    `Stage.optimizers`.
    """

    def build(total: jax.Array | int) -> optax.GradientTransformation:
        schedule = exponential_schedule(
            total, rate=config.rate, final=config.final, warmup=config.warmup, hold=config.hold
        )
        parts = [optax.clip_by_global_norm(config.clip)] if config.clip > 0 else []
        parts.append(optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps))
        if config.weight_decay > 0:
            parts.append(optax.add_decayed_weights(config.weight_decay))
        return optax.chain(*parts, optax.scale_by_learning_rate(schedule))

    return build


def grouped(
    label: Callable[[tuple[str, ...]], str],
    groups: dict[str, Callable[[jax.Array | int], optax.GradientTransformation]],
) -> Callable[[jax.Array | int], optax.GradientTransformation]:
    """Different optimisers for different parts of one player's params.

    Args:
      label: path of a leaf, as key strings, -> name of its group.
      groups: {group: function of the run's length, as `adam` gives}.
    """

    def labels(params):
        def name(path, _):
            return label(tuple(jax.tree_util.keystr((key,), simple=True) for key in path))

        return jax.tree_util.tree_map_with_path(name, params)

    def build(total: jax.Array | int) -> optax.GradientTransformation:
        return optax.multi_transform({k: make(total) for k, make in groups.items()}, labels)

    return build
