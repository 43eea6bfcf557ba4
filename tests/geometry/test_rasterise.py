"""The rasteriser against a per-pixel loop, its laws and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.geometry import cameras
from jaxhead.geometry.rasterise import interpolate, rasterise

SIZE = (40, 56)
COMPILED = jax.jit(rasterise, static_argnums=3, static_argnames=("keep", "cull"))


def draw(pixels, depth, faces, **options):
    """Draws with padding to one shape, so that few programs are compiled."""
    spare_vertices, spare_faces = 180 - len(pixels), 60 - len(faces)
    pixels = np.pad(pixels, ((0, spare_vertices), (0, 0)))
    depth = np.pad(depth, (0, spare_vertices), constant_values=1)
    faces = np.pad(np.asarray(faces, np.int32), ((0, spare_faces), (0, 0)))
    return tuple(map(np.asarray, COMPILED(pixels, depth, faces, SIZE, **options)))


def reference(pixels, depth, faces, size, keep):
    """Every pixel tested against every triangle in float64."""
    y, x = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5, indexing="ij")
    best = np.full(size, -np.inf)
    face, margin = np.full(size, -1), np.full(size, np.inf)
    for f, ids in enumerate(faces):
        (ax, ay), (bx, by), (cx, cy) = pixels[ids].astype(float)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        w = np.stack([(bx - x) * (cy - y) - (by - y) * (cx - x),
                      (cx - x) * (ay - y) - (cy - y) * (ax - x),
                      (ax - x) * (by - y) - (ay - y) * (bx - x)], -1) / area
        margin = np.minimum(margin, np.abs(w).min(-1) * np.sqrt(abs(area)))
        key = (w / depth[ids]).sum(-1) * (1 if keep == "nearest" else -1)
        better = (w.min(-1) >= 0) & (key > best)
        margin = np.where((w.min(-1) >= 0) & (np.abs(key - best) < 1e-5), 0, margin)
        best, face = np.where(better, key, best), np.where(better, f, face)
    return face, np.abs(best), margin > 0.02


def soup(seed, count=60):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-0.3, 1.3, (count, 1, 2)) * SIZE[::-1]
    reach = np.where(np.arange(count)[:, None, None] % 10, 6, 40)
    pixels = (centres + reach * rng.standard_normal((count, 3, 2))).reshape(-1, 2)
    depth = rng.uniform(0.5, 2.0, 3 * count)
    faces = np.arange(3 * count).reshape(-1, 3)
    return pixels.astype(np.float32), depth.astype(np.float32), faces.astype(np.int32)


@pytest.mark.parametrize("keep", ["nearest", "farthest"])
def test_against_a_loop(keep):
    for seed in range(3):
        pixels, depth, faces = soup(seed)
        face, weights, z = draw(pixels, depth, faces, keep=keep)
        expected, inverse, clear = reference(pixels, depth, faces, SIZE, keep)
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(np.asarray(face)[clear], expected[clear])
        seen = clear & (expected >= 0)
        np.testing.assert_allclose(np.asarray(z)[seen], 1 / inverse[seen], rtol=1e-4)
        np.testing.assert_allclose(np.asarray(weights)[seen].sum(-1), 1.0, rtol=1e-5)
        nothing = np.asarray(face) < 0
        assert (np.asarray(weights)[nothing] == 0).all() and (np.asarray(z)[nothing] == 0).all()


def grid_mesh(n):
    y, x = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n), indexing="ij")
    at = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).reshape(-1)
    faces = np.concatenate([at[:, None] + [0, n, 1], at[:, None] + [1, n, n + 1]])
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32), faces.astype(np.int32)


def test_neighbouring_triangles_leave_no_holes():
    unit, faces = grid_mesh(6)
    turn = np.asarray([[0.94, 0.34], [-0.34, 0.94]], np.float32)
    pixels = ((unit - 0.5) @ turn * 90 + np.asarray(SIZE[::-1]) / 2).astype(np.float32)
    face, _, _ = draw(pixels, np.ones(36, np.float32), faces)
    assert (face >= 0).all()
    aligned = (unit * 30).astype(np.float32)
    face, _, z = draw(aligned + 0.5, np.ones(36, np.float32), faces)
    assert (face[:31, :31] >= 0).all() and (face[31:] < 0).all()
    np.testing.assert_allclose(z[:31, :31], 1.0, rtol=1e-6)


def test_points_on_the_mesh_are_perspective_correct():
    unit, faces = grid_mesh(6)
    height = np.linspace(-0.6, 0.6, 36)[:, None]
    points = np.concatenate([unit - 0.5, height], -1).astype(np.float32)
    K = cameras.intrinsics(np.float32(0.8), SIZE)
    pose = jnp.diag(jnp.asarray([1.0, -1, -1, 1])).at[2, 3].set(2.0)
    face, weights, depth = draw(*cameras.project(points, K, pose), faces)
    surface = np.asarray(interpolate(points, faces, face, weights))
    seen = np.asarray(face) >= 0
    assert seen.sum() > 300
    pixels = np.asarray(cameras.pixel_centres(SIZE))[seen]
    there = cameras.unproject(pixels, np.asarray(depth)[seen], K, pose)
    np.testing.assert_allclose(surface[seen], there, atol=2e-5)


def test_culling_keeps_the_side_that_faces_the_camera():
    # Counter-clockwise seen from +z, camera on +z: seen from outside.
    points = np.asarray([[-0.3, -0.3, 0], [0.3, -0.3, 0], [0, 0.3, 0]], np.float32)
    K = cameras.intrinsics(np.float32(0.8), SIZE)
    pose = jnp.diag(jnp.asarray([1.0, -1, -1, 1])).at[2, 3].set(2.0)
    screen = cameras.project(points, K, pose)
    outside = np.asarray([[0, 1, 2]], np.int32)
    for faces, cull, drawn in ((outside, "back", True), (outside, "front", False),
                               (outside[:, ::-1], "back", False), (outside[:, ::-1], "none", True)):
        assert (draw(*screen, faces, cull=cull)[0] >= 0).any() == drawn


def test_what_is_behind_degenerate_or_absent_is_not_drawn():
    pixels = np.asarray([[5, 5], [50, 5], [25, 35], [np.nan, 0], [1e30, 1e30]], np.float32)
    for second, faces in (
        (-1.0, [[0, 1, 2], [0, 1, 2], [1, 0, 2]]),
        (1.0, [[0, 1, 3], [0, 0, 1], [2, 2, 2]]),
        (1.0, np.zeros((0, 3), np.int32)),
    ):
        depth = np.asarray([1.0, second, 1, 1, 1], np.float32)
        face, weights, z = draw(pixels, depth, faces)
        assert (face == -1).all() and (z == 0).all() and (weights == 0).all()
    whole = np.asarray([[-1e4, -1e4], [1e5, -1e4], [-1e4, 1e5], [0, 0], [0, 0]], np.float32)
    faces = np.asarray([[3, 4, 3], [0, 1, 2], [4, 4, 4]], np.int32)
    assert (draw(whole, np.ones(5, np.float32), faces)[0] == 1).all()


def test_vmap_and_gradients():
    rng = np.random.default_rng(0)
    unit, faces = grid_mesh(4)
    unit = unit + 0.05 * rng.standard_normal(unit.shape)
    pixels = np.stack([40 * unit + 5, 30 * unit + 2]).astype(np.float32)
    depth = rng.uniform(1, 2, (2, 16)).astype(np.float32)
    colour = rng.random((16, 3)).astype(np.float32)

    def total(pixels, depth):
        face, weights, z = rasterise(pixels, depth, faces, SIZE)
        value = jnp.mean(z) + jnp.mean(interpolate(colour, faces, face, weights) ** 2)
        return value, face

    run = jax.jit(jax.vmap(jax.value_and_grad(total, (0, 1), has_aux=True)))
    (_, face), (at_pixels, at_depth) = run(pixels, depth)
    for k in (0, 1):
        alone = draw(pixels[k], depth[k], faces)[0]
        # A centre on a shared edge may belong to either side.
        assert np.mean(face[k] != alone) < 2e-3
    assert np.isfinite(np.asarray(at_pixels)).all() and np.asarray(at_pixels != 0).any()
    step = (1e-2 * rng.standard_normal(depth.shape)).astype(np.float32)
    slope = (run(pixels, depth + step)[0][0] - run(pixels, depth - step)[0][0]) / 2
    np.testing.assert_allclose(slope, np.sum(at_depth * step, axis=-1), rtol=2e-2, atol=1e-6)


def test_options_are_named():
    pixels, depth, faces = soup(0, 2)
    with pytest.raises(ValueError, match="keep='last'"):
        rasterise(pixels, depth, faces, SIZE, keep="last")
    with pytest.raises(ValueError, match="cull='both'"):
        rasterise(pixels, depth, faces, SIZE, cull="both")
