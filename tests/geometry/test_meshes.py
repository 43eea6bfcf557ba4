"""Normals, neighbours, loops and closest points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.test_util import check_grads

from jaxhead.geometry import meshes

OCTAHEDRON = np.asarray([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4],
                         [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], np.int32)
VERTICES = np.asarray([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
                      np.float32)


def test_octahedron_measures():
    normals = meshes.face_normals(VERTICES, OCTAHEDRON)
    outward = meshes.centroids(VERTICES, OCTAHEDRON)
    cosine = jnp.sum(normals * outward, axis=-1) / jnp.linalg.norm(outward, axis=-1)
    np.testing.assert_allclose(cosine, 1.0, rtol=1e-6)
    np.testing.assert_allclose(meshes.areas(VERTICES, OCTAHEDRON), np.sqrt(3) / 2, rtol=1e-6)
    np.testing.assert_allclose(meshes.vertex_normals(VERTICES, OCTAHEDRON), VERTICES, atol=1e-6)
    batched = meshes.vertex_normals(np.stack([VERTICES, 2 * VERTICES]), OCTAHEDRON)
    np.testing.assert_allclose(batched[1], VERTICES, atol=1e-6)


def test_neighbours_share_the_edge_of_their_column():
    rng = np.random.default_rng(0)
    faces = OCTAHEDRON[rng.permutation(8)][:6]
    neighbours = meshes.edge_neighbours(faces)
    for f, row in enumerate(neighbours):
        for k, other in enumerate(row):
            edge = {faces[f, k], faces[f, (k + 1) % 3]}
            sharing = [g for g in range(6) if g != f and edge <= set(faces[g].tolist())]
            assert sharing == ([] if other < 0 else [other])
    assert (neighbours < 0).any() and neighbours.dtype == np.int32
    assert meshes.edge_neighbours(np.zeros((0, 3), np.int32)).shape == (0, 3)


def test_three_faces_at_one_edge_are_visited_in_turn():
    faces = np.asarray([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    assert meshes.edge_neighbours(faces)[:, 0].tolist() == [1, 2, 0]


def test_boundary_loops_follow_the_winding():
    loops = meshes.boundary_loops(OCTAHEDRON[:4])
    assert len(loops) == 1
    loop = loops[0].tolist()
    assert sorted(loop) == [0, 1, 2, 3]
    cap = [[loop[(i + 1) % 4], loop[i], 5] for i in range(4)]
    closed = np.concatenate([OCTAHEDRON[:4], np.asarray(cap)])
    assert meshes.boundary_loops(closed) == []
    assert (meshes.face_normals(VERTICES, closed)[4:, 2] < 0).all()
    with pytest.raises(ValueError, match="boundary_loops"):
        meshes.boundary_loops(np.asarray([[0, 1, 2], [0, 3, 4]]))


def test_edges_and_laplacian():
    assert meshes.edges(OCTAHEDRON).shape == (12, 2)
    pairs, inverse = meshes.uniform_laplacian(OCTAHEDRON, 6)
    mean = np.zeros((6, 3))
    np.add.at(mean, pairs[:, 0], VERTICES[pairs[:, 1]])
    np.testing.assert_allclose(mean * inverse[:, None], 0.0, atol=1e-6)


def reference_distance(p, a, b, c):
    def squared(x):
        return np.sum((a + x[0] * (b - a) + x[1] * (c - a) - p) ** 2)

    constraint = {"type": "ineq", "fun": lambda x: 1 - x[0] - x[1]}
    best = scipy.optimize.minimize(
        squared, (0.2, 0.2), bounds=[(0, 1), (0, 1)], constraints=constraint, method="SLSQP",
        options={"ftol": 1e-14},
    ).fun
    return np.sqrt(best)


def test_closest_point_against_an_optimiser():
    rng = np.random.default_rng(1)
    points, a, b, c = rng.standard_normal((4, 60, 3))
    closest, weights = meshes.closest_point_on_triangle(*(np.float32(x) for x in (points, a, b, c)))
    for i in range(60):
        expected = reference_distance(points[i], a[i], b[i], c[i])
        assert np.linalg.norm(points[i] - closest[i]) == pytest.approx(expected, abs=2e-4)
    np.testing.assert_allclose(jnp.sum(weights, axis=-1), 1.0, atol=1e-6)
    assert (weights >= -1e-6).all()
    np.testing.assert_allclose(
        weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c, closest, atol=1e-5
    )


def test_closest_point_of_degenerate_triangles():
    p = jnp.asarray([0.5, 1.0, 0.0])
    a, b = jnp.zeros(3), jnp.asarray([1.0, 0.0, 0.0])
    point, _ = meshes.closest_point_on_triangle(p, a, a, a)
    np.testing.assert_allclose(point, a)
    closest = jax.jit(meshes.closest_point_on_triangle)
    for corners in ((a, b, b), (a, a, b), (b, a, b), (a, b, 0.3 * b)):
        point, _ = closest(p, *corners)
        np.testing.assert_allclose(point, [0.5, 0.0, 0.0], atol=1e-6)


def test_closest_point_gradients():
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        p, a, b, c = (jnp.asarray(x) for x in rng.standard_normal((4, 20, 3)))
        closest = jax.jit(lambda *x: meshes.closest_point_on_triangle(*x)[0])
        check_grads(closest, (p, a, b, c), order=1, modes=["rev"], atol=1e-5, rtol=1e-5)

    def total(p, a, b, c):
        point, weights = meshes.closest_point_on_triangle(p, a, b, c)
        return jnp.sum(point**2) + jnp.sum(weights**2)

    a, b, c = jnp.zeros(3), jnp.asarray([1.0, 0.0, 0.0]), jnp.asarray([0.0, 1.0, 0.0])
    slope = jax.jit(jax.grad(total, (0, 1, 2, 3)))
    for p in (a, b, (a + b) / 2, (a + b + c) / 3, jnp.asarray([0.2, 0.2, 3.0])):
        for corners in ((a, b, c), (a, a, a), (a, b, b)):
            assert all(np.isfinite(np.asarray(g)).all() for g in slope(p, *corners))
