"""A training step of the avatar's make without a capture: hash tables, a small net, Adam."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhead.encodings.hash_grid import HashGridConfig, hash_encode, init_table
from jaxhead.training.optimizers import OptimizerConfig, adam
from jaxhead.training.system import Feed, Shard, Stage, System, Update, Variables

HIDDEN = 32


def field_stage(*, batch: int = 4096, levels: int = 8, log2_size: int = 14) -> Stage:
    """A recipe of one player that learns a function of space.

    Args:
      batch: points of a step over all devices.
      levels, log2_size: of the hash grid; its tables are nearly all of the parameters.
    """
    config = HashGridConfig(levels=levels, log2_size=log2_size, finest_resolution=256)
    inputs = levels * config.features

    def init(key: jax.Array) -> Variables:
        table, first, second = jax.random.split(key, 3)
        net = {
            "tables": init_table(table, config),
            "first": jax.random.normal(first, (inputs, HIDDEN)) / inputs**0.5,
            "second": jax.random.normal(second, (HIDDEN, 3)) / HIDDEN**0.5,
        }
        return Variables(params={"field": net})

    def sample(arrays, rows, key, step, shard: Shard):
        del arrays, rows, step
        return {"x": jax.vmap(lambda k: jax.random.uniform(k, (3,)))(shard.keys(key))}

    def loss(variables, outputs, batch, key, step):
        del outputs, key, step
        x, net = batch["points"]["x"], variables.params["field"]
        features = hash_encode(net["tables"], x, config)
        made = jax.nn.relu(features @ net["first"]) @ net["second"]
        return jnp.mean((made - jnp.sin(9.0 * x)) ** 2), ({}, variables.state)

    return Stage(
        "field", System(init=init, updates=(Update("field", loss),)),
        {"points": Feed(batch, sample)}, {"field": adam(OptimizerConfig())},
    )  # fmt: skip
