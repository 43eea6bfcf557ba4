"""Albedo and light of a face."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.appearance import fit_appearance, robust_spread, shade, vertex_albedo

FIT = jax.jit(fit_appearance)


def scene(frames=12, points=80, noise=0.0):
    """Colours that a turning set of points shows under a light from the side."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(frames, points, 3)) + [0, 0, -2.0]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    light = np.zeros((9, 3))
    light[0] = [2.6, 2.5, 2.4]
    light[1:4] = rng.uniform(-0.6, 0.6, (3, 3))
    albedo = rng.uniform(0.2, 0.7, (points, 3))
    colours = albedo * np.asarray(shade(jnp.asarray(light), jnp.asarray(normals)))
    colours += noise * rng.normal(size=colours.shape)
    weights = rng.uniform(0.2, 1.0, (frames, points))
    return [np.float32(a) for a in (colours, normals, weights)], albedo


def test_light_and_albedo_come_back_up_to_a_common_factor():
    given, albedo = scene()
    found = FIT(*given)
    factor = (albedo / np.asarray(found.albedo)).mean(0)
    np.testing.assert_allclose(found.albedo * factor, albedo, atol=0.02)
    # Light that few normals tell apart may be another; what they show is not.
    shown = np.asarray(found.albedo * shade(found.light, given[1]))
    assert np.abs(shown - given[0]).mean() < 0.01
    mean = (given[2][..., None] * np.asarray(shade(found.light, given[1]))).sum((0, 1))
    np.testing.assert_allclose(mean / given[2].sum(), 1, atol=0.05)
    assert found.spread < 0.02 and found.known.min() > 0.5


def test_a_hand_before_the_face_does_not_count():
    (colours, normals, weights), _ = scene()
    clean = FIT(colours, normals, weights)
    colours[3, :40] = [1.0, 0.0, 0.0]
    dirty = FIT(colours, normals, weights)
    assert np.abs(dirty.albedo - clean.albedo).mean() < 0.03
    flat = np.tile(np.float32([[3.5, *([0] * 8)]]).T, (1, 3))
    assert (shade(flat, normals) > 0).all()


def test_points_never_seen_are_unknown():
    given, _ = scene()
    given[2][:, 5] = 0
    found = FIT(*given)
    assert found.known[5] == 0 and np.isfinite(found.albedo).all()
    assert 0 < robust_spread(0 * given[0], given[2]) < 3e-3


def test_vertices_take_the_mean_of_their_points():
    given, _ = scene(points=80)
    found = FIT(*given)
    corners = np.array([[0, 1, 2]] * 3 + [[1, 2, 3]] * 77)
    barycentric = np.tile(np.float32([[1, 0, 0]]), (80, 1))
    result = vertex_albedo(found, corners, barycentric, 5)
    np.testing.assert_allclose(result[0], np.asarray(found.albedo)[:3].mean(0), rtol=1e-5)
    np.testing.assert_allclose(result[1], np.asarray(found.albedo)[3:].mean(0), rtol=1e-5)
    assert not result[4].any()
