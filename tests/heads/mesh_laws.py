"""Laws that a closed mesh obeys, for the tests of every head."""

import numpy as np


def border_edges(faces):
    """Returns the directed edges without an opposite; raises where a winding is inconsistent."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    present = {(int(a), int(b)) for a, b in edges}
    assert len(present) == len(edges), "an edge runs twice in the same direction"
    return [(a, b) for a, b in present if (b, a) not in present]


def signed_volume(vertices, faces):
    """Returns the volume enclosed by outward faces, relative to the mesh's centre."""
    a, b, c = np.moveaxis((vertices - vertices.mean(0))[faces].astype(np.float64), 1, 0)
    return (np.cross(a, b) * c).sum() / 6


def intersecting_pairs(vertices, faces):
    """Returns pairs of faces that share no vertex and whose surfaces cross."""
    corners = vertices.astype(np.float64)[faces]
    low, high = corners.min(1), corners.max(1)
    crossing = set()
    for i in range(len(faces)):
        near = np.flatnonzero(((low[i] <= high) & (high[i] >= low)).all(1))
        near = near[near > i]
        near = near[~np.isin(faces[near], faces[i]).any(1)]
        if len(near):
            mine = np.broadcast_to(corners[i], (len(near), 3, 3))
            hit = _edges_pierce(mine, corners[near]) | _edges_pierce(corners[near], mine)
            crossing |= {(i, int(k)) for k in near[hit]}
    return sorted(crossing)


def _edges_pierce(first, second):
    """Moller and Trumbore's test of the edges of `first` against the triangles `second`."""
    first_edge, second_edge = second[:, 1] - second[:, 0], second[:, 2] - second[:, 0]
    hit = np.zeros(len(first), bool)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        direction = first[:, b] - first[:, a]
        normal = np.cross(direction, second_edge)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1.0 / (first_edge * normal).sum(1)
            offset = first[:, a] - second[:, 0]
            u = (offset * normal).sum(1) * inverse
            across = np.cross(offset, first_edge)
            v = (direction * across).sum(1) * inverse
            t = (second_edge * across).sum(1) * inverse
            hit |= (u > 1e-9) & (v > 1e-9) & (u + v < 1 - 1e-9) & (t > 1e-9) & (t < 1 - 1e-9)
    return hit
