"""Squared point-triangle distance as straight-line arithmetic on one-dimensional arrays.

The search structures evaluate millions of point-triangle pairs. Each triangle is reduced to 17
numbers in its own plane coordinates, kept as 17 arrays (F,): gathering single coefficients and
fusing them with the arithmetic costs about 4 ns per pair on one CPU core, against 20 to 100 ns for
gathers of (3, 3) corners. Use it to find an index; `point_mesh_distance` in `bvh.py` is the
differentiable distance.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxhead.geometry.meshes import corners
from jaxhead.geometry.safe import dot, safe_divide, safe_normalize

PLANES = 17


def triangle_planes(vertices: ArrayLike, faces: ArrayLike) -> tuple[jax.Array, ...]:
    """Returns the 17 arrays (F,) that `squared_distance` reads.

    The corners are turned so that (a, b) is the longest edge. With e1 along it, e2 in the plane
    towards c, and n across: e1, e1.a, e2, e2.a, n, n.a (12 numbers), the length of (a, b), the
    coordinates (cx, cy) of c, and the inverse squared lengths of (a, c) and (b, c). A triangle
    without area has cy = 0 and any e2 across its longest edge; one without length is the point a.

    Args:
      vertices: (V, 3).
      faces: (F, 3).
    """
    a, b, c = corners(vertices, faces)
    lengths = jnp.stack([dot(b - a, b - a), dot(c - b, c - b), dot(a - c, a - c)])
    longest = jnp.argmax(lengths, axis=0)[:, None]
    a, b, c = (
        jnp.where(longest == 0, x, jnp.where(longest == 1, y, z))
        for x, y, z in ((a, b, c), (b, c, a), (c, a, b))
    )
    ab, ac = b - a, c - a
    x_axis = jnp.broadcast_to(jnp.asarray([1.0, 0.0, 0.0], ab.dtype), ab.shape)
    e1 = jnp.where(dot(ab, ab, keepdims=True) > 0, safe_normalize(ab), x_axis)
    height = ac - dot(ac, e1, keepdims=True) * e1
    # A thinner triangle's height is rounding noise: its direction would not be across e1.
    thin = dot(height, height, keepdims=True) <= 1e-9 * dot(ab, ab, keepdims=True)
    e2 = jnp.where(thin, _across(e1), safe_normalize(height))
    e2 = safe_normalize(e2 - dot(e1, e2, keepdims=True) * e1)
    normal = jnp.cross(e1, e2)
    length, cx = dot(ab, e1), dot(ac, e1)
    cy = jnp.where(thin[:, 0], 0.0, dot(height, e2))
    planes = []
    for axis in (e1, e2, normal):
        planes += [axis[:, 0], axis[:, 1], axis[:, 2], dot(axis, a)]
    inverse_ac = safe_divide(jnp.ones_like(cx), cx * cx + cy * cy)
    inverse_bc = safe_divide(jnp.ones_like(cx), (cx - length) ** 2 + cy * cy)
    return (*planes, length, cx, cy, inverse_ac, inverse_bc)


def squared_distance(
    planes: tuple[jax.Array, ...],
    index: jax.Array,
    x: jax.Array,
    y: jax.Array,
    z: jax.Array,
    *,
    tie: float = 0.0,
) -> jax.Array:
    """Returns the squared distance (...) of points to triangles.

    Args:
      planes: from `triangle_planes`.
      index: (...) int32 in [0, F): which triangle each point is measured to.
      x, y, z: the points' coordinates (...).
      tie: share of the squared distance to the triangle's plane that is deducted, at most `tie` of
        the result. Outside a convex edge or vertex all triangles that meet there are equally near,
        and rounding would choose; a deduction prefers the one that faces the point most.
    """
    g = [plane.at[index].get(mode="promise_in_bounds") for plane in planes]
    u = g[0] * x + g[1] * y + g[2] * z - g[3]
    v = g[4] * x + g[5] * y + g[6] * z - g[7]
    w = g[8] * x + g[9] * y + g[10] * z - g[11]
    length, cx, cy, inverse_ac, inverse_bc = g[12:]
    du = u - jnp.clip(u, 0.0, length)
    best = du * du + v * v
    t = jnp.clip((u * cx + v * cy) * inverse_ac, 0.0, 1.0)
    best = jnp.minimum(best, (u - t * cx) ** 2 + (v - t * cy) ** 2)
    ub, ex = u - length, cx - length
    t = jnp.clip((ub * ex + v * cy) * inverse_bc, 0.0, 1.0)
    best = jnp.minimum(best, (ub - t * ex) ** 2 + (v - t * cy) ** 2)
    inside = (cy > 0) & (v >= 0) & (u * cy >= v * cx) & (v * ex >= ub * cy)
    return jnp.where(inside, 0.0, best) + (1.0 - tie) * (w * w)


def _across(e: jax.Array) -> jax.Array:
    """Returns unit vectors (F, 3) at right angles to the unit vectors e (F, 3)."""
    x, y, z = e[:, 0], e[:, 1], e[:, 2]
    zero = jnp.zeros_like(x)
    along_z = jnp.stack([y, -x, zero], axis=-1)
    along_x = jnp.stack([zero, z, -y], axis=-1)
    return safe_normalize(jnp.where(jnp.abs(z)[:, None] < 0.8, along_z, along_x))
