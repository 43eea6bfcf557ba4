"""The hierarchy against brute force; distances are compared, since ties have no one index."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.geometry.bvh import build_bvh, nearest_triangle, point_mesh_distance
from jaxhead.geometry.distances import squared_distance, triangle_planes


@jax.jit
def find(vertices, faces, points):
    """Returns the index found, its distance, and the least distance by brute force."""
    index = nearest_triangle(build_bvh(vertices, faces), points)
    planes = triangle_planes(vertices, faces)
    every = jnp.arange(len(faces))
    least = jax.lax.map(lambda p: jnp.min(squared_distance(planes, every, *p)), points)
    distance, _, _ = point_mesh_distance(vertices, faces, index, points)
    return index, distance, jnp.sqrt(least)


def check(vertices, faces, points, tolerance):
    index, distance, least = find(vertices, faces, points)
    assert index.shape == points.shape[:-1] and index.dtype == jnp.int32
    assert (index >= 0).all() and (index < len(faces)).all()
    np.testing.assert_allclose(distance, least, atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 40])
def test_random_triangles(count):
    rng = np.random.default_rng(count)
    vertices = rng.standard_normal((40, 3)).astype(np.float32)
    faces = rng.integers(0, len(vertices), (count, 3)).astype(np.int32)
    points = (2 * rng.standard_normal((300, 3))).astype(np.float32)
    points[-20:] *= 100
    check(vertices, faces, points, 3e-4)


def test_degenerate_and_equal_triangles():
    rng = np.random.default_rng(3)
    vertices = np.repeat(rng.standard_normal((20, 3)), 2, axis=0).astype(np.float32)
    faces = np.stack([np.arange(30), np.arange(30) + 1, np.arange(30) + 1], axis=-1)
    faces = np.concatenate([faces, faces[:5], np.zeros((5, 3))]).astype(np.int32)
    check(vertices, faces, rng.standard_normal((300, 3)).astype(np.float32), 1e-5)


def test_ten_thousand_triangles():
    rng = np.random.default_rng(4)
    u, v = np.meshgrid(np.linspace(0, np.pi, 72), np.linspace(0, 2 * np.pi, 72), indexing="ij")
    sphere = np.stack([np.sin(u) * np.cos(v), np.cos(u), np.sin(u) * np.sin(v)], axis=-1)
    sphere = (sphere.reshape(-1, 3) * (0.1 + 0.01 * rng.random((72 * 72, 1)))).astype(np.float32)
    at = (np.arange(71)[:, None] * 72 + np.arange(71)[None]).reshape(-1)
    faces = np.concatenate([at[:, None] + [0, 1, 72], at[:, None] + [1, 73, 72]])
    assert len(faces) > 10_000
    points = (0.15 * rng.standard_normal((256, 3))).astype(np.float32)
    check(sphere, faces.astype(np.int32), points, 2e-6)


def test_chunks_shapes_and_vmap():
    rng = np.random.default_rng(5)
    vertices = rng.standard_normal((2, 12, 3)).astype(np.float32)
    faces = rng.integers(0, 12, (8, 3)).astype(np.int32)
    points = rng.standard_normal((2, 5, 9, 3)).astype(np.float32)
    points[1, 0, :3] = [[np.nan, 0, 0], [np.inf, 0, 0], [1e30, 0, 0]]

    def run(v, p):
        return nearest_triangle(build_bvh(v, faces), p, chunk=16)

    found = jax.jit(jax.vmap(run))(vertices, points)
    assert found.shape == (2, 5, 9) and ((found >= 0) & (found < 8)).all()
    _, distance, least = find(vertices[0], faces, points[0].reshape(-1, 3))
    again = point_mesh_distance(vertices[0], faces, found[0].reshape(-1), points[0].reshape(-1, 3))
    np.testing.assert_allclose(distance, least, atol=1e-5)
    np.testing.assert_allclose(again[0], least, atol=1e-5)


def test_empty_mesh_is_refused():
    with pytest.raises(ValueError, match="at least one triangle"):
        build_bvh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32))


def test_distance_gradients():
    vertices = jnp.asarray([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = np.asarray([[0, 1, 2], [0, 0, 0], [0, 1, 1]], np.int32)
    special = [[0.0, 0, 0], [0.5, 0, 0], [0.2, 0.2, 0], [0.2, 0.2, 0.3], [0.5, 0.5, 0], [2.0, 0, 0]]
    points = jnp.repeat(jnp.asarray(special), 3, axis=0)
    index = jnp.tile(jnp.arange(3), 6)
    total = jax.jit(jax.grad(
        lambda v, p: jnp.sum(point_mesh_distance(v, faces, index, p)[0]), argnums=(0, 1)))
    at_vertices, at_points = total(vertices, points)
    assert np.isfinite(np.asarray(at_vertices)).all() and np.isfinite(np.asarray(at_points)).all()
    np.testing.assert_allclose(at_points[9], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(at_points[0], 0.0)


def test_walking_has_no_gradient():
    vertices = jnp.asarray([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = np.asarray([[0, 1, 2]], np.int32)

    def distance(v, p):
        index = nearest_triangle(build_bvh(v, faces), p)
        return jnp.sum(point_mesh_distance(v, faces, index, p)[0])

    gradient = jax.jit(jax.grad(distance, 1))(vertices, jnp.asarray([[0.2, 0.2, 0.5]]))
    np.testing.assert_allclose(gradient, [[0, 0, 1]], atol=1e-6)
