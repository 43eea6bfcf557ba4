"""Dense grids and tri-planes at several resolutions: a hash grid's place on hardware without fast
scattered access, a TPU above all.

The interface is the hash grid's: points in the unit cube, one row per feature.
"""

import dataclasses
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxhead.encodings.dense_grid import dense_encode, init_dense
from jaxhead.encodings.triplane import PLAIN_AXES, sample_planes

KINDS = ("dense", "triplane")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiGridConfig:
    """Sizes of grids that double in resolution.

    kind: "dense" (R, R, R) or "triplane" (three planes R, R).
    base_resolution: of the coarsest, entries along a side.
    finest_resolution: no grid is finer.
    features: per grid, or per plane: those of the three planes are kept apart.
    """

    kind: str
    base_resolution: int
    finest_resolution: int
    features: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if not 2 <= self.base_resolution <= self.finest_resolution:
            raise ValueError(
                f"base_resolution is {self.base_resolution}, expected 2 to finest_resolution = "
                f"{self.finest_resolution}"
            )

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Entries along a side, coarse to fine."""
        found = [self.base_resolution]
        while 2 * found[-1] <= self.finest_resolution:
            found.append(2 * found[-1])
        return tuple(found)

    @property
    def dimensions(self) -> int:
        """Features of a point."""
        return len(self.resolutions) * self.features * (1 if self.kind == "dense" else 3)


def init_grids(key: jax.Array, config: MultiGridConfig) -> tuple[jax.Array, ...]:
    """New grids, coarse to fine: (R, R, R, F) or (3, R, R, F), uniform in [-1e-4, 1e-4]."""
    grids = []
    for number, side in enumerate(config.resolutions):
        shape = (side, side, side) if config.kind == "dense" else (3, side, side)
        grids.append(init_dense(jax.random.fold_in(key, number), shape, config.features))
    return tuple(grids)


def grid_rows(grids: Sequence[jax.Array], x: jax.Array, config: MultiGridConfig) -> jax.Array:
    """Features of points, one row per feature: grid after grid, a grid's planes one by one.

    Args:
        grids: of `init_grids`.
        x: [N, 3] in [0, 1]; outside a dense grid continues its border and planes fade to zero.
        config: static.

    Returns:
        [config.dimensions, N].
    """
    chex.assert_shape(x, (None, 3))
    if config.kind == "dense":
        return dense_encode(grids, x).T
    # Corners of the cube fall on the centres of the planes' outermost pixels: nothing fades inside.
    inner = [(2 * x - 1) * (1 - 1 / grid.shape[1]) for grid in grids]
    found = [sample_planes(g, p, axes=PLAIN_AXES) for g, p in zip(grids, inner)]
    return jnp.concatenate([f.transpose(0, 2, 1).reshape(-1, len(x)) for f in found])
