"""Terms of the loss on log densities, as INSTA's program (instant-ngp's) adds them to gradients.

Where the field is empty nothing else reaches the log density: what floats before the camera would
stay, and a field that became empty too early would stay empty.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.rendering.occupancy import OccupancyGrid
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.rays import Samples, density_unit

THIN = 0.01
"""Mean optical thickness of a step below which the whole field counts as thin."""
_LEAST = -10.0
"""Log densities below this are pushed down no further."""


def log_density(samples: Samples, box: jax.Array, config: AvatarConfig) -> jax.Array:
    """(n, s) first outputs of the density net, at least -80: below it nothing has a gradient."""
    sigma = samples.sigma / density_unit(box, config)
    return jnp.log(jnp.maximum(sigma, jnp.exp(-80.0)))


def density_terms(
    samples: Samples, grid: OccupancyGrid, frozen: dict[str, Any], config: AvatarConfig
) -> dict[str, jax.Array]:
    """{"near", "thin"} () of n rays, those with a weight: sums over a ray, means over the rays.

    near: log density of samples less than `loss.near_distance` from the camera. thin: how far log
    densities are below 0, while the grid's mean thickness is below `THIN`.
    """
    terms, weights = {}, config.loss
    if weights.near <= 0 and weights.thin <= 0:
        return terms
    logs, used = log_density(samples, frozen["box"], config), samples.delta > 0
    if weights.near > 0:
        close = used & (samples.t < weights.near_distance) & (logs > _LEAST)
        terms["near"] = jnp.mean(jnp.sum(jnp.where(close, logs, 0.0), -1))
    if weights.thin > 0:
        thin = used & (jnp.mean(grid.thickness) < THIN)
        terms["thin"] = jnp.mean(jnp.sum(jnp.where(thin, jnp.maximum(-logs, 0.0), 0.0), -1))
    return terms
