"""Samples of a ray spent where something can be: static counts, no data-dependent shapes."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def box_interval(
    origins: jax.Array, directions: jax.Array, box: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Distances at which rays enter and leave a box; enter >= leave for those that miss it.

    Args:
      origins: (..., 3); directions: (..., 3); box: (2, 3) lower and upper corner.

    Returns:
      enter, leave (...), enter >= 0.
    """
    tiny = jnp.finfo(directions.dtype).tiny
    safe = jnp.where(jnp.abs(directions) > tiny, directions, jnp.copysign(1e-20, directions))
    a, b = (box[0] - origins) / safe, (box[1] - origins) / safe
    enter = jnp.max(jnp.minimum(a, b), axis=-1)
    leave = jnp.min(jnp.maximum(a, b), axis=-1)
    return jnp.maximum(enter, 0.0), leave


def cell_values(grid: jax.Array, points: jax.Array, box: jax.Array) -> jax.Array:
    """Values (...) of the cells (nz, ny, nx) over `box` that hold the points (..., 3); 0 outside."""
    nz, ny, nx = grid.shape
    counts = jnp.array([nx, ny, nz], points.dtype)
    cell = jnp.floor((points - box[0]) / (box[1] - box[0]) * counts)
    inside = jnp.all((cell >= 0) & (cell < counts), axis=-1)
    cell = jnp.clip(cell, 0, counts - 1).astype(jnp.int32)
    flat = (cell[..., 2] * ny + cell[..., 1]) * nx + cell[..., 0]
    return jnp.where(inside, grid.reshape(-1)[flat], jnp.zeros((), grid.dtype))


def place_in_occupied(
    origins: jax.Array,
    directions: jax.Array,
    occupancy: jax.Array,
    box: jax.Array,
    jitter: jax.Array | None,
    *,
    samples: int,
    segments: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Stratified samples over the occupied part of each ray.

    The ray's stretch inside the box is cut into equal segments; those whose middle lies in an
    occupied cell are laid end to end and the samples are spread evenly over them.

    Args:
      origins: (n, 3) metres; directions: (n, 3) unit.
      occupancy: (nz, ny, nx) bool over the box.
      box: (2, 3) metres.
      jitter: (n, samples) in [0, 1), the place within a stratum; None for the middles.
      samples: per ray.
      segments: per ray.

    Returns:
      t (n, samples) ascending distances; delta (n,) the length that a sample stands for; hit (n,)
      bool, False for a ray that meets no occupied cell (its t are arbitrary but finite, delta 0).
    """
    enter, leave = box_interval(origins, directions, box)
    step = jnp.maximum(leave - enter, 0.0) / segments
    middle = enter[:, None] + (jnp.arange(segments) + 0.5) * step[:, None]
    points = origins[:, None] + middle[..., None] * directions[:, None]
    full = cell_values(occupancy, points, box) & (step > 0)[:, None]
    passed = jnp.cumsum(full.astype(jnp.float32), axis=-1)
    total = passed[:, -1]
    place = 0.5 if jitter is None else jitter
    # The ceiling keeps rounding from stepping past the last occupied segment.
    share = jnp.minimum((jnp.arange(samples) + place) / samples, 1.0 - 1e-6)
    along = total[:, None] * jnp.broadcast_to(share, (len(origins), samples))
    # Occupancy is 0 or 1, so the whole part of `along` counts occupied segments passed.
    segment = jnp.sum(passed[:, None, :] <= along[..., None], axis=-1)
    inside = jnp.minimum(segment, segments - 1) + along - jnp.floor(along)
    t = enter[:, None] + inside * step[:, None]
    return t, total * step / samples, total > 0
