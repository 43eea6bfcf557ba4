"""Albedo and light of a face."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.appearance import (
    detail,
    fit_appearance,
    robust_spread,
    shade,
    vertex_albedo,
)

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


def test_detail_is_what_a_point_has_beyond_its_seen_surroundings():
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 1, (200, 2))
    near = np.exp(-0.5 * ((place[:, None] - place) ** 2).sum(-1) / 0.1**2).astype(np.float32)
    seen = rng.uniform(0, 1, 200).astype(np.float32)
    values = rng.normal(size=(200, 3)).astype(np.float32)
    slow = 3 + np.float32(place @ [[1.0, 0.0, 2.0], [0.0, 1.0, 0.5]])
    found = np.asarray(detail(values, near, seen))
    share = near * seen
    expected = values - share @ values / share.sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(detail(slow, near, seen)).mean() < 0.05 * slow.mean()
    assert found.std() > 0.9 * values.std()
    # What a hidden point shows is nobody's surroundings.
    seen[7] = 0
    other = values.copy()
    other[7] = 1e3
    rest = np.arange(200) != 7
    np.testing.assert_allclose(
        detail(other, near, seen)[rest], detail(values, near, seen)[rest], atol=1e-4
    )
    np.testing.assert_array_equal(detail(values, None, seen), values)
    assert np.isfinite(detail(values, near, 0 * seen)).all()
    slope = jax.grad(lambda x: (detail(x, near, seen) ** 2).sum())(values)
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0.1


def test_the_spread_is_of_the_detail_where_surroundings_count():
    (colours, normals, weights), _ = scene(noise=0.01)
    near = np.ones((colours.shape[1],) * 2, np.float32)
    even = colours + np.linspace(-0.1, 0.1, len(colours), dtype=np.float32)[:, None, None]
    whole, part = FIT(even, normals, weights), FIT(even, normals, weights, near)
    assert part.spread < 0.5 * whole.spread
    np.testing.assert_allclose(part.albedo, whole.albedo, rtol=1e-5)


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
