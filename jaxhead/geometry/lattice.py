"""Values on the nodes of a square lattice in the plane, looked up between them."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxhead.geometry.fusion import materialised


def lookup_lattice(
    lattices: ArrayLike, points: ArrayLike, box: ArrayLike, frame: ArrayLike
) -> jax.Array:
    """Returns the bilinear value (..., C) float32 of a point's own lattice.

    Outside the lattice the value of its border holds, with no gradient across it. The gradient in
    `points` is that of the bilinear polynomial of the cell.

    Args:
      lattices: (N, G, G, C), indexed [frame, y, x]; G of at least two.
      points: (..., 2) x and y.
      box: (2, 2) x and y of the first and of the last node.
      frame: (...) int32 in [0, N), the lattice of each point.
    """
    lattices, box = jnp.asarray(lattices), jnp.asarray(box)
    nodes, channels = lattices.shape[1], lattices.shape[-1]
    points = materialised(jnp.asarray(points))
    lower, share = [], []
    for k in range(2):
        place = (points[..., k] - box[0, k]) * ((nodes - 1) / (box[1, k] - box[0, k]))
        place = jnp.clip(place, 0.0, nodes - 1.0)
        lower.append(jnp.minimum(place.astype(jnp.int32), nodes - 2))
        share.append(place - lower[-1].astype(place.dtype))
    base = (jnp.asarray(frame, jnp.int32) * nodes + lower[1]) * nodes + lower[0]
    base, (x, y) = materialised((base * channels, tuple(share)))
    flat = lattices.reshape(-1)
    totals = []
    for k in range(channels):
        a, b, c, d = (
            flat.at[base + ((dy * nodes + dx) * channels + k)]
            .get(mode="promise_in_bounds").astype(x.dtype)
            for dy in (0, 1) for dx in (0, 1)
        )  # fmt: skip
        near, far = a + (b - a) * x, c + (d - c) * x
        totals.append(near + (far - near) * y)
    return jnp.stack(totals, axis=-1)
