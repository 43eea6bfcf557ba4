"""The torso as a picture that deforms: a hash grid over its plane and one ambient coordinate."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxhead.encodings.hash_grid import hash_rows, init_table
from jaxhead.networks.hash_field import GridSizes, grid_config
from jaxhead.networks.mlp import BiasFreeMLP

Params = dict[str, Any]


class TorsoSizes(GridSizes, Protocol):
    """A configuration that has the sizes of a torso.

    hidden: width; layers: of the colour net.
    deformation: largest residual shift, share of the picture.
    """

    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def deformation(self) -> float: ...


def init_torso(key: jax.Array, config: TorsoSizes, condition: int) -> Params:
    """Parameters of the torso's field: {"tables", "shift", "color"}.

    Args:
      key: typed key.
      config: the torso's.
      condition: length of its condition.
    """
    tables, shift, color = jax.random.split(key, 3)
    inputs = config.levels * config.features
    return {
        "tables": init_table(tables, grid_config(config)),
        "shift": _shift_net(config).init(shift, jnp.zeros((1, 18 + condition)))["params"],
        "color": _torso_net(config).init(color, jnp.zeros((1, inputs + condition)))["params"],
    }


def _shift_net(config: TorsoSizes) -> BiasFreeMLP:
    return BiasFreeMLP(3, config.hidden, 3)


def _torso_net(config: TorsoSizes) -> BiasFreeMLP:
    return BiasFreeMLP(config.layers, config.hidden, 4)


def torso_field(
    params: Params, points: jax.Array, condition: jax.Array, *, config: TorsoSizes
) -> tuple[jax.Array, jax.Array]:
    """Colour and opacity of the 2D torso, which stands before the background and behind the head.

    The third coordinate of its hash grid is an ambient one that the condition moves, so that what
    motion uncovers (collar, neck) may look different (HyperNeRF's slicing, as RAD-NeRF's torso).

    Args:
      params: of `init_torso`.
      points: (n, 2) picture coordinates of the reference frame's torso, the picture is [0, 1].
      condition: (n, c).
      config: the torso's.

    Returns:
      (n, 3) colour in [0, 1]; (n,) opacity in [0, 1].
    """
    waves = points.T[:, None] * (2.0 ** jnp.arange(4, dtype=points.dtype))[:, None] * jnp.pi
    waves = waves.reshape(-1, len(points))
    inputs = [points.T, jnp.sin(waves), jnp.cos(waves), condition.T]
    move = _shift_net(config).columns(params["shift"], inputs)
    inside = 0.5 + (points - 0.5) * 0.8 + config.deformation * jnp.tanh(move[:2].T)
    depth = jax.nn.sigmoid(move[2:].T)
    where = jnp.clip(jnp.concatenate([inside, 0.3 + 0.4 * depth], -1), 0.0, 1.0)
    features = hash_rows(params["tables"], where, grid_config(config))
    out = _torso_net(config).columns(params["color"], (features, condition.T))
    return jax.nn.sigmoid(out[:3]).T, jax.nn.sigmoid(out[3])
