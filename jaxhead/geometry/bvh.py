"""The exact nearest triangle of a mesh, by a bounding volume hierarchy built and walked in JAX.

The tree is a complete binary tree over equally filled leaves, split at the median of the widest
axis, so every shape is static: node i has the children 2i and 2i + 1, the root is node 1. A walk
returns indices only and has no gradient; `point_mesh_distance` recomputes the distance from the
index differentiably, which is exact: at a generic point the nearest triangle does not change.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxhead.geometry.distances import squared_distance, triangle_planes
from jaxhead.geometry.meshes import closest_point_on_triangle, corners
from jaxhead.geometry.safe import safe_norm

LEAF_SIZE = 4


@flax.struct.dataclass
class Bvh:
    """A tree over F triangles with N = 2^depth leaves of `leaf_size` slots.

    Attributes:
      lower, upper: three arrays (2N,) each, the boxes of the nodes; entry 0 is unused.
      triangles: (N * leaf_size,) int32 face of every slot; a few faces fill two slots.
      planes: 17 arrays (N * leaf_size,), see `distances.triangle_planes`.
      depth, leaf_size: static.
    """

    lower: tuple[jax.Array, ...]
    upper: tuple[jax.Array, ...]
    triangles: jax.Array
    planes: tuple[jax.Array, ...]
    depth: int = flax.struct.field(pytree_node=False)
    leaf_size: int = flax.struct.field(pytree_node=False)


def build_bvh(vertices: ArrayLike, faces: ArrayLike) -> Bvh:
    """Returns the hierarchy of a mesh; may be traced by jit and vmap.

    Args:
      vertices: (V, 3) float32, finite.
      faces: (F, 3) int32, F >= 1; triangles without area are allowed.

    Raises:
      ValueError: the mesh has no face.
    """
    vertices, faces = jnp.asarray(vertices), jnp.asarray(faces, jnp.int32)
    count = faces.shape[0]
    if count == 0:
        raise ValueError("build_bvh: faces has shape (0, 3), expected at least one triangle")
    depth = max(0, math.ceil(math.log2(count / LEAF_SIZE)))
    leaf_size = math.ceil(count / 2**depth)
    # Spare slots repeat triangles: harmless to a minimum, and the tree stays balanced.
    order = jnp.arange(2**depth * leaf_size, dtype=jnp.int32) % count
    a, b, c = corners(vertices, faces)
    lower = jnp.minimum(jnp.minimum(a, b), c)
    upper = jnp.maximum(jnp.maximum(a, b), c)
    order = _median_order(0.5 * (lower + upper), order, depth, leaf_size)
    shape = (2**depth, leaf_size, 3)
    planes = triangle_planes(vertices, faces)
    return Bvh(
        lower=_tree(jnp.min(lower[order].reshape(shape), axis=1), jnp.minimum, depth),
        upper=_tree(jnp.max(upper[order].reshape(shape), axis=1), jnp.maximum, depth),
        triangles=order,
        planes=tuple(plane[order] for plane in planes),
        depth=depth,
        leaf_size=leaf_size,
    )


def nearest_triangle(bvh: Bvh, points: ArrayLike, *, chunk: int | None = None) -> jax.Array:
    """Returns the index (...) int32 of the triangle nearest to each point; it has no gradient.

    Of triangles that are equally near (a point outside a convex edge or vertex) any is returned. A
    point that is not finite gets an arbitrary valid index.

    Args:
      bvh: from `build_bvh`.
      points: (..., 3) in the mesh's space.
      chunk: points walked together; a chunk takes as long as its slowest point, so neighbouring
        points should follow each other. None means 256 on the CPU and 65,536 elsewhere.
    """
    if chunk is None:
        chunk = 256 if jax.default_backend() == "cpu" else 65536
    points = jax.lax.stop_gradient(jnp.asarray(points))
    bvh = jax.lax.stop_gradient(bvh)
    flat = points.reshape(-1, 3)
    count = flat.shape[0]
    if count <= chunk:
        return jax.vmap(lambda p: _walk(bvh, p))(flat).reshape(points.shape[:-1])
    padded = jnp.pad(flat, ((0, -count % chunk), (0, 0)), mode="edge").reshape(-1, chunk, 3)
    index = jax.lax.map(jax.vmap(lambda p: _walk(bvh, p)), padded)
    return index.reshape(-1)[:count].reshape(points.shape[:-1])


def point_mesh_distance(
    vertices: ArrayLike, faces: ArrayLike, index: ArrayLike, points: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns distance, closest point and barycentric weights for known nearest triangles.

    Differentiable in vertices and points with finite gradients everywhere; on the surface itself
    the distance's gradient is zero.

    Args:
      vertices: (V, 3).
      faces: (F, 3).
      index: (...) int32 from `nearest_triangle`.
      points: (..., 3).

    Returns:
      distance (...), closest point (..., 3), weights (..., 3) of the triangle's corners.
    """
    vertices, points = jnp.asarray(vertices), jnp.asarray(points)
    chosen = jnp.asarray(faces)[index]
    a, b, c = (vertices[chosen[..., k]] for k in range(3))
    closest, weights = closest_point_on_triangle(points, a, b, c)
    return safe_norm(points - closest), closest, weights


def _median_order(centres, order, depth, leaf_size):
    """Returns the slots' triangles after `depth` median splits, each along the widest axis."""
    slots = order.shape[0]

    def split(level, order):
        # At a level, a segment is a run of slots / 2^level slots; leaves are never cut.
        segment = jnp.arange(slots, dtype=jnp.int32) // leaf_size >> (depth - level)
        place = centres[order]
        low = jax.ops.segment_min(place, segment, num_segments=2**depth)
        high = jax.ops.segment_max(place, segment, num_segments=2**depth)
        axis = jnp.argmax(high - low, axis=-1)[segment]
        key = jnp.take_along_axis(place, axis[:, None], axis=1)[:, 0]
        return jax.lax.sort((segment, key, order), num_keys=2)[2]

    return jax.lax.fori_loop(0, depth, split, order) if depth else order


def _tree(leaves, combine, depth):
    """Returns three arrays (2N,) of node values from leaf values (N, 3)."""
    levels = [leaves]
    for _ in range(depth):
        pairs = levels[-1].reshape(-1, 2, 3)
        levels.append(combine(pairs[:, 0], pairs[:, 1]))
    nodes = jnp.concatenate([levels[-1], *levels[::-1]])
    return tuple(nodes[:, k] for k in range(3))


def _box_distance(bvh, node, p):
    """Returns the squared distance of point p to a node's box."""
    total = jnp.zeros((), p.dtype)
    for k in range(3):
        gap = jnp.maximum(jnp.maximum(bvh.lower[k][node] - p[k], p[k] - bvh.upper[k][node]), 0.0)
        total = total + gap * gap
    return total


def _walk(bvh, p):
    """Returns the nearest triangle of one point: depth first, the nearer child first."""
    first_leaf = 2**bvh.depth
    slots = jnp.arange(bvh.leaf_size, dtype=jnp.int32)
    places = jnp.arange(bvh.depth + 1, dtype=jnp.int32)

    def step(state):
        (node, gap), (nodes, gaps), top, (best, found) = state
        # All distances of a leaf first, then one minimum: a chain of comparisons would be
        # recomputed by XLA's CPU fusion for each of its users.
        is_leaf = node >= first_leaf
        slot = jnp.where(is_leaf, node - first_leaf, 0) * bvh.leaf_size + slots
        distances = squared_distance(bvh.planes, slot, p[0], p[1], p[2])
        least = jnp.argmin(distances)
        closer = is_leaf & (distances[least] < best)
        found = jnp.where(closer, bvh.triangles[slot[least]], found)
        best = jnp.where(closer, distances[least], best)

        child = jnp.where(is_leaf, 0, 2 * node)
        d_left, d_right = _box_distance(bvh, child, p), _box_distance(bvh, child + 1, p)
        swap = d_right < d_left
        near, far = jnp.where(swap, child + 1, child), jnp.where(swap, child, child + 1)
        d_near, d_far = jnp.minimum(d_left, d_right), jnp.maximum(d_left, d_right)
        # A node taken from the stack may have become too far since it was put there.
        descend = ~is_leaf & (gap < best) & (d_near < best)
        here = (places == top) & descend & (d_far < best)
        nodes, gaps = jnp.where(here, far, nodes), jnp.where(here, d_far, gaps)
        pushed = top + (descend & (d_far < best))
        last = jnp.maximum(top - 1, 0)
        node = jnp.where(descend, near, jnp.where(top > 0, nodes[last], 0))
        gap = jnp.where(descend, d_near, gaps[last])
        return (node, gap), (nodes, gaps), jnp.where(descend, pushed, last), (best, found)

    zero = jnp.zeros((), p.dtype)
    stacks = (jnp.zeros_like(places), jnp.zeros(places.shape, p.dtype))
    nothing = (jnp.asarray(jnp.inf, p.dtype), bvh.triangles[0])
    state = ((jnp.int32(1), zero), stacks, jnp.int32(0), nothing)
    return jax.lax.while_loop(lambda s: s[0][0] > 0, step, state)[3][1]
