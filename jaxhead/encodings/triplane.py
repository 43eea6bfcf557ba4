"""Tri-planes: features of a point from three axis-aligned images (Chan et al. 2022, EG3D)."""

import chex
import jax
import jax.numpy as jnp

from jaxhead.encodings.dense_grid import interpolate

EG3D_AXES = ((0, 1), (0, 2), (2, 0))
"""Coordinates along (width, height) of the planes as EG3D programs them: XY, XZ and again ZX."""

PLAIN_AXES = ((0, 1), (0, 2), (1, 2))
"""XY, XZ and YZ, as EG3D's paper describes them."""


def sample_planes(
    planes: jax.Array,
    points: jax.Array,
    *,
    axes: tuple[tuple[int, int], ...] = PLAIN_AXES,
) -> jax.Array:
    """Returns the bilinearly interpolated features of points in each plane.

    Pixels cover [-1, 1]: the first pixel's centre lies half a pixel inside, and what lies outside
    fades to zero over half a pixel (grid_sample without aligned corners, zero padding).

    Args:
        planes: [P, H, W, C].
        points: [..., 3]; multiply by 2 / box_warp for EG3D's world units.
        axes: per plane the coordinates that run along its width and its height, static.

    Returns:
        [P, ..., C]; average or add over the planes as the system asks.
    """
    chex.assert_rank(planes, 4)
    chex.assert_axis_dimension(planes, 0, len(axes))
    chex.assert_axis_dimension(points, -1, 3)
    _, height, width, _ = planes.shape
    features = []
    for plane, (across, down) in zip(planes, axes):
        row = ((points[..., down] + 1) * height - 1) / 2
        column = ((points[..., across] + 1) * width - 1) / 2
        places = jnp.stack([row, column], axis=-1)
        features.append(interpolate(plane, places, padding="zeros"))
    return jnp.stack(features)
