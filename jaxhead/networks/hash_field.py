"""A conditional radiance field on a hash grid, with the layers of INSTA (Zielonka et al. 2023).

Hash features and a condition enter a bias-free density net, whose first output is the log density
and whose others, beside spherical harmonics of the direction, feed a bias-free colour net. Dense
grids or tri-planes may stand in the hash grid's place.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxhead.encodings.frequency import frequency
from jaxhead.encodings.hash_grid import HashGridConfig, hash_rows, init_table
from jaxhead.encodings.multi_grid import MultiGridConfig, grid_rows, init_grids
from jaxhead.encodings.spherical_harmonics import sh
from jaxhead.networks.mlp import BiasFreeMLP

Params = dict[str, Any]


class GridSizes(Protocol):
    """A configuration that has the sizes of a hash grid, see `HashGridConfig`."""

    @property
    def levels(self) -> int: ...
    @property
    def features(self) -> int: ...
    @property
    def log2_size(self) -> int: ...
    @property
    def base_resolution(self) -> int: ...
    @property
    def finest_resolution(self) -> int: ...


class FieldSizes(GridSizes, Protocol):
    """A configuration that has the sizes of a field.

    rule: the grid's, "instant-ngp" or "torch-ngp".
    hidden: width; density_layers, color_layers: linear layers, the last one included.
    geometry_features: outputs of the density net beside the density.
    dtype: compute type of the networks.

    It may also have `encoding` ("hash", "dense" or "triplane"), and then `dense_resolution`,
    `plane_resolution` and `grid_features`; without, points are hashed. And `direction_encoding`
    ("spherical harmonics" or "frequency") with `direction_bands`; without, harmonics of degree 4.
    And `density_to_color`, whether the color net sees the log density too; without, it does not.
    """

    @property
    def rule(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def density_layers(self) -> int: ...
    @property
    def color_layers(self) -> int: ...
    @property
    def geometry_features(self) -> int: ...
    @property
    def dtype(self) -> str: ...


@jax.custom_jvp
def bounded_exp(x: jax.Array) -> jax.Array:
    """exp(x) whose gradient is exp of x clamped to [-15, 15] (torch-ngp's `trunc_exp`)."""
    return jnp.exp(x)


@bounded_exp.defjvp
def _bounded_exp_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return jnp.exp(x), t * jnp.exp(jnp.clip(x, -15.0, 15.0))


def grid_config(config: GridSizes, rule: str = "instant-ngp") -> HashGridConfig:
    """The hash grid of a field's configuration."""
    return HashGridConfig(
        levels=config.levels,
        features=config.features,
        log2_size=config.log2_size,
        base_resolution=config.base_resolution,
        finest_resolution=config.finest_resolution,
        rule=rule,
    )


def point_encoding(config: FieldSizes) -> HashGridConfig | MultiGridConfig:
    """What encodes the points of a field."""
    kind = getattr(config, "encoding", "hash")
    if kind == "hash":
        return grid_config(config, config.rule)
    finest = getattr(config, {"dense": "dense_resolution", "triplane": "plane_resolution"}[kind])
    return MultiGridConfig(
        kind=kind,
        base_resolution=min(config.base_resolution, finest),
        finest_resolution=finest,
        features=getattr(config, "grid_features"),  # noqa: B009
    )


def _point_rows(tables, points: jax.Array, encoding: HashGridConfig | MultiGridConfig) -> jax.Array:
    if isinstance(encoding, HashGridConfig):
        return hash_rows(tables, points, encoding)
    return grid_rows(tables, points, encoding)


def direction_values(config: FieldSizes) -> int:
    """How many numbers a viewing direction becomes."""
    bands = _direction_bands(config)
    return 16 if bands is None else 3 * (2 * bands + 1)


def encoded_directions(directions: jax.Array, config: FieldSizes) -> jax.Array:
    """(n, `direction_values`) of unit directions (n, 3): INSTA's or the patent's."""
    bands = _direction_bands(config)
    return sh(directions, degree=4) if bands is None else frequency(directions, bands=bands)


def _direction_bands(config: FieldSizes) -> int | None:
    waves = getattr(config, "direction_encoding", "") == "frequency"
    return getattr(config, "direction_bands", None) if waves else None


def _first_seen(config: FieldSizes) -> int:
    """The first output of the density net that the color net sees."""
    return 0 if getattr(config, "density_to_color", False) else 1


def density_net(config: FieldSizes) -> BiasFreeMLP:
    """Hash features and condition -> log density and geometry features."""
    return BiasFreeMLP(
        config.density_layers, config.hidden, 1 + config.geometry_features, jnp.dtype(config.dtype)
    )


def color_net(config: FieldSizes) -> BiasFreeMLP:
    """Harmonics of the direction and geometry features -> logits of the colour."""
    return BiasFreeMLP(config.color_layers, config.hidden, 3, jnp.dtype(config.dtype))


def init_head(key: jax.Array, config: FieldSizes, components: int) -> Params:
    """Parameters of the head's field: {"tables", "density", "color"}.

    Args:
      key: typed key.
      config: the field's.
      components: length of the condition.
    """
    tables, density, color = jax.random.split(key, 3)
    encoding = point_encoding(config)
    if isinstance(encoding, HashGridConfig):
        grids = init_table(tables, encoding)
    else:
        grids = init_grids(tables, encoding)
    inputs = encoding.dimensions + components
    return {
        "tables": grids,
        "density": density_net(config).init(density, jnp.zeros((1, inputs)))["params"],
        "color": color_net(config).init(
            color, jnp.zeros((
                1, direction_values(config) + 1 + config.geometry_features - _first_seen(config)
            ))
        )["params"],
    }


def head_field(
    params: Params,
    points: jax.Array,
    directions: jax.Array,
    condition: jax.Array,
    *,
    config: FieldSizes,
    grid: HashGridConfig | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Colour, density and geometry features: F(p, condition, d), INSTA's layers.

    Args:
      params: of `init_head`.
      points: (n, 3) in the unit cube.
      directions: (n / r, 3) unit viewing directions, each of r points that stand together; colour
        alone depends on them.
      condition: (k, n).
      config: the field's.
      grid: the hash grid where it differs from the one of `config` (a converted checkpoint's).

    Returns:
      (n, 3) colour in [0, 1]; (n,) density per unit length, >= 0; (n, g) geometry features.
    """
    # A sample per column all the way: as the features come, and as the networks are fastest.
    features = _point_rows(params["tables"], points, grid or point_encoding(config))
    out = density_net(config).columns(params["density"], (features, condition))
    sigma = bounded_exp(out[0].astype(jnp.float32))
    geometry, seen = out[1:], out[_first_seen(config) :]
    shown = encoded_directions(directions, config).astype(geometry.dtype).T
    logits = color_net(config).columns(params["color"], seen, shown)
    return jax.nn.sigmoid(logits.astype(jnp.float32)).T, sigma, geometry.T
