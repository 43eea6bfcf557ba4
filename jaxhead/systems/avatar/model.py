"""The networks of the avatar: the head's field F(p', E, d) -> (colour, density), and the torso's.

The head's field is the patent's (CN117115331B, stage 4) with INSTA's layers: hash grid and
condition into a bias-free density net whose first output is the log density and whose others,
beside spherical harmonics of the direction, feed a bias-free colour net.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.captures.pose_predictor import POSE
from jaxhead.encodings.hash_grid import HashGridConfig, hash_rows, init_table
from jaxhead.encodings.multi_grid import MultiGridConfig, grid_rows, init_grids
from jaxhead.encodings.spherical_harmonics import sh
from jaxhead.geometry.fusion import materialised
from jaxhead.networks.mlp import BiasFreeMLP
from jaxhead.systems.avatar.config import FieldConfig, TorsoConfig

Params = dict[str, Any]


@jax.custom_jvp
def bounded_exp(x: jax.Array) -> jax.Array:
    """exp(x) whose gradient is exp of x clamped to [-15, 15] (torch-ngp's `trunc_exp`)."""
    return jnp.exp(x)


@bounded_exp.defjvp
def _bounded_exp_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return jnp.exp(x), t * jnp.exp(jnp.clip(x, -15.0, 15.0))


def grid_config(config: FieldConfig | TorsoConfig, rule: str = "instant-ngp") -> HashGridConfig:
    """The hash grid of a field's configuration."""
    return HashGridConfig(
        levels=config.levels,
        features=config.features,
        log2_size=config.log2_size,
        base_resolution=config.base_resolution,
        finest_resolution=config.finest_resolution,
        rule=rule,
    )


def point_encoding(config: FieldConfig) -> HashGridConfig | MultiGridConfig:
    """What encodes the points of the head's field."""
    if config.encoding == "hash":
        return grid_config(config, config.rule)
    finest = {"dense": config.dense_resolution, "triplane": config.plane_resolution}
    return MultiGridConfig(
        kind=config.encoding,
        base_resolution=min(config.base_resolution, finest[config.encoding]),
        finest_resolution=finest[config.encoding],
        features=config.grid_features,
    )


def _point_rows(tables, points: jax.Array, encoding: HashGridConfig | MultiGridConfig) -> jax.Array:
    rows = hash_rows if isinstance(encoding, HashGridConfig) else grid_rows
    return rows(tables, points, encoding)


def density_net(config: FieldConfig) -> BiasFreeMLP:
    """Hash features and condition -> log density and geometry features."""
    return BiasFreeMLP(
        config.density_layers, config.hidden, 1 + config.geometry_features, jnp.dtype(config.dtype)
    )


def color_net(config: FieldConfig) -> BiasFreeMLP:
    """Harmonics of the direction and geometry features -> logits of the colour."""
    return BiasFreeMLP(config.color_layers, config.hidden, 3, jnp.dtype(config.dtype))


def init_head(key: jax.Array, config: FieldConfig, components: int) -> Params:
    """Parameters of the head's field: {"tables", "density", "color"}.

    Args:
      key: typed key.
      config: the field's.
      components: length of the condition.
    """
    tables, density, color = jax.random.split(key, 3)
    encoding = point_encoding(config)
    init = init_table if isinstance(encoding, HashGridConfig) else init_grids
    return {
        "tables": init(tables, encoding),
        "density": density_net(config).init(
            density, jnp.zeros((1, encoding.dimensions + components))
        )["params"],
        "color": color_net(config).init(
            color, jnp.zeros((1, 16 + config.geometry_features))
        )["params"],
    }


def pose_numbers(config: FieldConfig) -> int:
    """How many of a condition's last numbers are the head's pose."""
    return POSE if config.pose else 0


def region_condition(
    condition: jax.Array, share: jax.Array, *, config: FieldConfig
) -> jax.Array:
    """(k, n) condition by place: hair and neck that hang on expressions fit noise.

    The head's pose counts where expressions do not: as a head turns, hair falls and is lit
    otherwise, while a face that hung on its pose would learn the clip's coincidences by heart.

    Args:
      condition: (b, k) expression coefficients, then the `pose_numbers` of the head's pose, of b
        frames whose samples stand together, n / b each.
      share: (n,) in [0, 1], how much a sample belongs to the region that expressions shape, of
        `hull.skin_volume`.
      config: `expression_region` "face" fades to the mean expression (zeros) elsewhere, "lips" is
        INSTA's rule (`region_condition` of its core: ones elsewhere), "everywhere" ignores `share`.
    """
    # Stored: inside the networks' first operand every element would draw its frame's noise anew.
    condition, share = materialised((condition.T, share.reshape(len(condition), -1)))
    count = len(condition) - pose_numbers(config)
    expression, pose = condition[:count, :, None], (1 - share) * condition[count:, :, None]
    if config.expression_region == "everywhere":
        expression = jnp.broadcast_to(expression, (count, *share.shape))
    else:
        rest = 1.0 if config.expression_region == "lips" else 0.0
        expression = rest + share * (expression - rest)
    return jnp.concatenate([expression, pose]).reshape(-1, share.size)


def head_field(
    params: Params,
    points: jax.Array,
    directions: jax.Array,
    condition: jax.Array,
    *,
    config: FieldConfig,
    grid: HashGridConfig | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Colour, density and geometry features: F(p', E, d) of the patent, INSTA's layers.

    Args:
      params: of `init_head`.
      points: (n, 3) canonical points in the unit cube.
      directions: (n, 3) unit viewing directions in canonical space; colour alone depends on them.
      condition: (k, n) of `region_condition`.
      config: the field's.
      grid: the hash grid where it differs from the one of `config` (a converted checkpoint's).

    Returns:
      (n, 3) colour in [0, 1]; (n,) density per unit length, >= 0; (n, g) geometry features.
    """
    # A sample per column all the way: as the features come, and as the networks are fastest.
    features = _point_rows(params["tables"], points, grid or point_encoding(config))
    out = density_net(config).columns(
        params["density"], jnp.concatenate([features, condition])
    )
    sigma = bounded_exp(out[0].astype(jnp.float32))
    geometry = out[1:]
    logits = color_net(config).columns(
        params["color"],
        jnp.concatenate([sh(directions, degree=4).astype(geometry.dtype).T, geometry]),
    )
    return jax.nn.sigmoid(logits.astype(jnp.float32)).T, sigma, geometry.T


def init_torso(key: jax.Array, config: TorsoConfig, condition: int) -> Params:
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


def _shift_net(config: TorsoConfig) -> BiasFreeMLP:
    return BiasFreeMLP(3, config.hidden, 3)


def _torso_net(config: TorsoConfig) -> BiasFreeMLP:
    return BiasFreeMLP(config.layers, config.hidden, 4)


def torso_field(
    params: Params, points: jax.Array, condition: jax.Array, *, config: TorsoConfig
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
    move = _shift_net(config).columns(params["shift"], jnp.concatenate(inputs))
    inside = 0.5 + (points - 0.5) * 0.8 + config.deformation * jnp.tanh(move[:2].T)
    depth = jax.nn.sigmoid(move[2:].T)
    where = jnp.clip(jnp.concatenate([inside, 0.3 + 0.4 * depth], -1), 0.0, 1.0)
    features = hash_rows(params["tables"], where, grid_config(config))
    out = _torso_net(config).columns(
        params["color"], jnp.concatenate([features, condition.T])
    )
    return jax.nn.sigmoid(out[:3]).T, jax.nn.sigmoid(out[3])
