"""The planar point-triangle distance against the differentiable closest point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.geometry.distances import PLANES, squared_distance, triangle_planes
from jaxhead.geometry.meshes import closest_point_on_triangle, corners


@jax.jit
def both(vertices, faces, points):
    planes = triangle_planes(vertices, faces)
    assert len(planes) == PLANES
    index = jnp.broadcast_to(jnp.arange(len(faces))[:, None], (len(faces), len(points)))
    fast = squared_distance(planes, index, *points.T[:, None, :])
    a, b, c = (x[:, None] for x in corners(vertices, faces))
    closest, _ = closest_point_on_triangle(points[None], a, b, c)
    return jnp.sqrt(fast), jnp.linalg.norm(points[None] - closest, axis=-1)


@pytest.mark.parametrize("scale", [1e-3, 10.0])
def test_random_triangles(scale):
    rng = np.random.default_rng(0)
    vertices = (scale * rng.standard_normal((60, 3))).astype(np.float32)
    faces = rng.integers(0, 60, (80, 3)).astype(np.int32)
    points = (2 * scale * rng.standard_normal((50, 3))).astype(np.float32)
    fast, slow = both(vertices, faces, points)
    np.testing.assert_allclose(fast, slow, atol=3e-6 * scale, rtol=1e-5)


def test_triangles_without_area_or_length():
    vertices = np.asarray([[0, 0, 0], [1, 0, 0], [0.3, 0, 0], [0.3, 1e-7, 0]], np.float32)
    faces = np.asarray([[0, 0, 0], [0, 1, 1], [0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 1, 3]], np.int32)
    points = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    fast, slow = both(vertices, faces, points)
    np.testing.assert_allclose(fast[0], np.linalg.norm(points, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(fast[1:], np.broadcast_to(slow[1], fast[1:].shape), atol=1e-5)


def test_ties_go_to_the_triangle_that_faces_the_point():
    # A roof: from beside the ridge's foot, both slopes are equally near at the ridge.
    vertices = np.asarray([[0, 0, 0], [0, 1, 0], [1, 0.5, -1], [-1, 0.5, -1]], np.float32)
    faces = np.asarray([[0, 2, 1], [0, 1, 3]], np.int32)
    points = np.asarray([[0.02, 0.5, 1.0], [-0.02, 0.5, 1.0]], np.float32)
    index = jnp.asarray([[0, 0], [1, 1]])

    @jax.jit
    def measure(vertices):
        planes = triangle_planes(vertices, faces)
        return [squared_distance(planes, index, *points.T, tie=t) for t in (0.0, 1e-3)]

    plain, decided = measure(vertices)
    np.testing.assert_allclose(plain[0], plain[1], rtol=1e-6)
    np.testing.assert_array_equal(np.argmin(decided, axis=0), [0, 1])
    assert (decided <= plain).all() and (decided >= 0.999 * plain).all()


def test_under_jit_and_vmap():
    rng = np.random.default_rng(2)
    vertices = rng.standard_normal((3, 12, 3)).astype(np.float32)
    faces = np.arange(12, dtype=np.int32).reshape(4, 3)

    def run(v):
        return squared_distance(triangle_planes(v, faces), jnp.arange(4), 0.1, 0.2, 0.3)

    together = jax.jit(jax.vmap(run))(vertices)
    np.testing.assert_allclose(together[2], jax.jit(run)(vertices[2]), rtol=1e-4, atol=1e-6)
