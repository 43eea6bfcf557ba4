"""Sizes and tables of a multi-resolution hash grid (Müller et al. 2022, "Instant neural graphics
primitives", section 3), by the rules of two published programs.

Tables are planar: one (F, size) array per level, so that every look-up is a gather from a
one-dimensional array, and the gradient of a level never touches another level's table.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.geometry import draws

RULES = ("instant-ngp", "torch-ngp")


class Level(NamedTuple):
    """One level of a grid.

    Attributes:
        scale: cells per unit length, minus the published rule's one (float64 on the host).
        resolution: grid points per axis.
        stride: entries per axis of a dense level: resolution, or resolution + 1 for torch-ngp.
        size: entries of the level's table.
        offset: entries of all levels before it, for tables in one piece.
        dense: whether stride**3 entries fit the table; else the index is hashed.
    """

    scale: float
    resolution: int
    stride: int
    size: int
    offset: int
    dense: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """Sizes of a hash grid; static under `jit`.

    Attributes:
        levels: number of resolutions, at least 1.
        features: features per level, at least 1.
        log2_size: base-2 logarithm of the most entries that a level may have, 3..30.
        base_resolution: resolution of the coarsest level.
        finest_resolution: resolution of the finest level (unused if per_level_scale is given).
        per_level_scale: growth of the resolution from level to level; None derives it.
        rule: "instant-ngp" (dense levels wrap at the far faces) or "torch-ngp" (one more entry per
            axis, no wrap; points outside the unit cube get zeros).
    """

    levels: int = 16
    features: int = 2
    log2_size: int = 15
    base_resolution: int = 16
    finest_resolution: int = 512
    per_level_scale: float | None = None
    rule: str = "instant-ngp"

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"rule is {self.rule!r}, expected one of {', '.join(RULES)}")
        if min(self.levels, self.features, self.base_resolution) < 1:
            raise ValueError("levels, features and base_resolution must be at least 1")
        if not 3 <= self.log2_size <= 30:
            raise ValueError(f"log2_size is {self.log2_size}, expected 3..30")
        if self.per_level_scale is None and self.finest_resolution < self.base_resolution:
            raise ValueError("finest_resolution is below base_resolution")

    @property
    def growth(self) -> float:
        """Ratio of neighbouring resolutions, Müller et al. 2022, equation 3."""
        if self.per_level_scale is not None:
            return float(self.per_level_scale)
        if self.levels == 1:
            return 1.0
        ratio = self.finest_resolution / self.base_resolution
        return math.exp(math.log(ratio) / (self.levels - 1))

    @property
    def dimensions(self) -> int:
        """Length of an encoded point: levels * features."""
        return self.levels * self.features

    @property
    def entries(self) -> int:
        """Entries of all levels together."""
        last = level_table(self)[-1]
        return last.offset + last.size


@functools.lru_cache(maxsize=64)
def level_table(config: HashGridConfig) -> tuple[Level, ...]:
    """Returns the levels of a grid, coarsest first, computed in float64 on the host."""
    levels, offset = [], 0
    for l in range(config.levels):
        scale = config.base_resolution * config.growth**l - 1.0
        resolution = math.ceil(scale) + 1
        stride = resolution + (config.rule == "torch-ngp")
        size = min(2**config.log2_size, -(-(stride**3) // 8) * 8)
        levels.append(Level(scale, resolution, stride, size, offset, stride**3 <= size))
        offset += size
    return tuple(levels)


def init_table(key: jax.Array, config: HashGridConfig) -> tuple[jax.Array, ...]:
    """Returns new tables, uniform in [-1e-4, 1e-4] (Müller et al. 2022, section 4).

    Args:
        key: typed random key.
        config: sizes.

    Returns:
        One float32 array of shape (F, size) per level.
    """
    levels = level_table(config)
    keys = jax.random.split(key, len(levels))
    return tuple(
        draws.weights(k, (config.features, level.size), 1e-4)
        for k, level in zip(keys, levels)
    )


def tables_from_flat(flat, config: HashGridConfig) -> tuple[jax.Array, ...]:
    """Returns planar tables from one array of shape (entries, F) that holds level after level."""
    if np.shape(flat) != (config.entries, config.features):
        raise ValueError(
            f"flat has shape {np.shape(flat)}, expected {(config.entries, config.features)}"
        )
    flat = jnp.asarray(flat).T
    return tuple(flat[:, l.offset : l.offset + l.size] for l in level_table(config))


def tables_to_flat(tables: Sequence[jax.Array]) -> jax.Array:
    """Returns one array of shape (entries, F), the inverse of `tables_from_flat`."""
    return jnp.concatenate(tuple(tables), axis=1).T
