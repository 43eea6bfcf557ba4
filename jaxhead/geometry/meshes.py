"""Triangle meshes: normals, areas, neighbours, loops and the closest point of a triangle.

A mesh is `vertices` (..., V, 3) float, metres, and `faces` (F, 3) int32 with counter-clockwise
winding seen from outside. Topology (everything that looks at `faces` only) is computed once on the
host with NumPy; geometry is JAX and may be batched over leading axes of `vertices`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxhead.geometry.safe import dot, safe_divide, safe_norm, safe_normalize


def corners(vertices: ArrayLike, faces: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the three corners (..., F, 3) of every face."""
    vertices, faces = jnp.asarray(vertices), jnp.asarray(faces)
    return tuple(jnp.take(vertices, faces[:, k], axis=-2) for k in range(3))  # type: ignore


def centroids(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Returns the mean of each face's corners (..., F, 3)."""
    a, b, c = corners(vertices, faces)
    return (a + b + c) / 3


def area_normals(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Returns the cross products (b - a) x (c - a) (..., F, 3): normal times twice the area."""
    a, b, c = corners(vertices, faces)
    return jnp.cross(b - a, c - a)


def face_normals(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Returns unit normals (..., F, 3); a face without area has the zero vector."""
    return safe_normalize(area_normals(vertices, faces))


def areas(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Returns the area (..., F) of every face in square metres."""
    return 0.5 * safe_norm(area_normals(vertices, faces))


def vertex_normals(vertices: ArrayLike, faces: ArrayLike) -> jax.Array:
    """Returns unit normals (..., V, 3): the area-weighted mean over the faces at a vertex.

    A vertex of no face, or of faces that cancel, has the zero vector.
    """
    vertices, faces = jnp.asarray(vertices), jnp.asarray(faces)
    normals = area_normals(vertices, faces)
    total = jnp.zeros_like(vertices)
    for k in range(3):
        total = total.at[..., faces[:, k], :].add(normals)
    return safe_normalize(total)


def closest_point_on_triangle(
    points: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Returns the point of each triangle that is closest to each point.

    The projection onto the plane where it falls inside, else the best point of the three edges
    (the regions of Ericson, Real-Time Collision Detection, section 5.1.5, without branches). A
    triangle without area is treated as its edges, one without length as a point. Differentiable
    in all arguments; gradients are finite everywhere.

    Args:
      points: (..., 3).
      a, b, c: corners (..., 3).

    Returns:
      the closest point (..., 3) and its barycentric weights (..., 3), which sum to one.
    """
    p, a, b, c = (jnp.asarray(x) for x in (points, a, b, c))
    ab, ac, bc, ap, bp = b - a, c - a, c - b, p - a, p - b
    normal = jnp.cross(ab, ac)
    area = dot(normal, normal)
    v = safe_divide(dot(jnp.cross(ap, ac), normal), area)
    w = safe_divide(dot(jnp.cross(ab, ap), normal), area)
    # Below this the cross product is rounding noise of the products of the edges' lengths.
    noise = (4 * jnp.finfo(p.dtype).eps) ** 2 * dot(ab, ab) * dot(ac, ac)
    inside = (v >= 0) & (w >= 0) & (v + w <= 1) & (area > noise)

    t_ab = jnp.clip(safe_divide(dot(ap, ab), dot(ab, ab)), 0.0, 1.0)
    t_ac = jnp.clip(safe_divide(dot(ap, ac), dot(ac, ac)), 0.0, 1.0)
    t_bc = jnp.clip(safe_divide(dot(bp, bc), dot(bc, bc)), 0.0, 1.0)
    zero = jnp.zeros_like(t_ab)
    choices = (
        (t_ab, zero, ap - t_ab[..., None] * ab),
        (zero, t_ac, ap - t_ac[..., None] * ac),
        (1 - t_bc, t_bc, bp - t_bc[..., None] * bc),
    )
    best_v, best_w, best = choices[0][0], choices[0][1], dot(choices[0][2], choices[0][2])
    for v_edge, w_edge, offset in choices[1:]:
        distance = dot(offset, offset)
        closer = distance < best
        best_v = jnp.where(closer, v_edge, best_v)
        best_w = jnp.where(closer, w_edge, best_w)
        best = jnp.where(closer, distance, best)
    v = jnp.where(inside, v, best_v)
    w = jnp.where(inside, w, best_w)
    weights = jnp.stack([1 - v - w, v, w], axis=-1)
    return a + v[..., None] * ab + w[..., None] * ac, weights


def edges(faces: np.ndarray) -> np.ndarray:
    """Returns every undirected edge once, (E, 2) int32 with the smaller vertex first (host)."""
    return np.unique(np.sort(_directed_edges(faces), axis=1), axis=0).astype(np.int32)


def edge_neighbours(faces: np.ndarray) -> np.ndarray:
    """Returns the faces across the three edges of each face, (F, 3) int32 (host).

    Column k belongs to the edges (0, 1), (1, 2), (2, 0); -1 where no other face shares the edge.
    Where more than two faces meet in an edge, each gets the next one in face order, cyclically.

    Args:
      faces: (F, 3) integers.
    """
    faces = np.asarray(faces)
    if faces.size == 0:
        return np.zeros((0, 3), np.int32)
    undirected = np.sort(_directed_edges(faces), axis=1)
    _, group = np.unique(undirected, axis=0, return_inverse=True)
    group = group.reshape(-1)
    owner = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort((owner, group))
    sorted_group, sorted_owner = group[order], owner[order]
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])
    counts = np.diff(np.r_[starts, len(order)])
    first = np.repeat(starts, counts)
    position = np.arange(len(order)) - first
    following = sorted_owner[first + (position + 1) % np.repeat(counts, counts)]
    neighbour = np.empty(len(order), np.int32)
    neighbour[order] = np.where(following == sorted_owner, -1, following)
    return np.ascontiguousarray(neighbour.reshape(3, len(faces)).T)


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Returns the closed borders of a mesh as vertex ids (host).

    Each loop (L,) int32 follows the winding of its faces, so that a triangle (loop[i + 1],
    loop[i], x) continues the surface with the same orientation. Loops come longest first.

    Raises:
      ValueError: a vertex touches more than one border, or the winding is inconsistent.
    """
    directed = _directed_edges(faces)
    undirected = np.sort(directed, axis=1)
    _, inverse, counts = np.unique(undirected, axis=0, return_inverse=True, return_counts=True)
    border = directed[counts[inverse.reshape(-1)] == 1]
    following = dict(zip(border[:, 0].tolist(), border[:, 1].tolist()))
    if len(following) != len(border):
        raise ValueError("boundary_loops: a vertex touches several borders or windings disagree")
    loops = []
    while following:
        start, vertex = following.popitem()
        loop = [start]
        while vertex != start:
            loop.append(vertex)
            if vertex not in following:
                raise ValueError("boundary_loops: windings of neighbouring faces disagree")
            vertex = following.pop(vertex)
        loops.append(np.asarray(loop, np.int32))
    return sorted(loops, key=len, reverse=True)


def uniform_laplacian(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (edges (2E, 2) int32 as (vertex, neighbour), 1 / valence (count,) float32) (host).

    The mean of a vertex's neighbours is the sum of `x[neighbour]` over its rows times 1 / valence.
    """
    pairs = edges(faces)
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int32)
    valence = np.bincount(both[:, 0], minlength=count)
    return both, (1.0 / np.maximum(valence, 1)).astype(np.float32)


def _directed_edges(faces: np.ndarray) -> np.ndarray:
    """Returns (3F, 2): all edges (0, 1), then all (1, 2), then all (2, 0)."""
    faces = np.asarray(faces)
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
