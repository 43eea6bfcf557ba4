"""Triangles split into four at the middles of their edges (host)."""

from typing import NamedTuple

import numpy as np


class Subdivision(NamedTuple):
    """What splitting a mesh of V vertices and F faces once gives.

    Attributes:
      faces: (4F, 3) int32, four in place of each: (a, ab, ca), (ab, b, bc), (ca, ab, bc),
        (ca, bc, c). Vertex V + k is the middle of edge k.
      edges: (E, 2) int32 both ends of each edge, the smaller first, in the order in which the faces
        name them.
    """

    faces: np.ndarray
    edges: np.ndarray


def subdivide(faces: np.ndarray, count: int) -> Subdivision:
    """Returns the faces after one split at edge middles, and the edges that are split.

    A vertex attribute of the new mesh is `append_middles(attribute, edges)`.

    Args:
      faces: (F, 3) int.
      count: V, the number of vertices.
    """
    faces = np.asarray(faces, np.int64)
    sides = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    codes = sides[:, 0] * count + sides[:, 1]
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    middles = (count + rank[inverse]).reshape(-1, 3)
    (a, b, c), (ab, bc, ca) = faces.T, middles.T
    split = np.stack([a, ab, ca, ab, b, bc, ca, ab, bc, ca, bc, c], 1).reshape(-1, 3)
    return Subdivision(split.astype(np.int32), sides[first[order]].astype(np.int32))


def append_middles(values: np.ndarray, edges: np.ndarray, axis: int = 0) -> np.ndarray:
    """Returns vertex values with those of edge middles appended along `axis`: both ends' mean."""
    values = np.asarray(values)
    ends = np.take(values, edges, axis=axis)
    return np.concatenate([values, ends.mean(axis + 1).astype(values.dtype)], axis)
