"""Nearest-triangle volumes of posed frames against the hierarchy, and looking them up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from jaxhead.geometry import frenet, meshes, volume
from jaxhead.geometry.bvh import point_mesh_distance
from jaxhead.geometry.distances import squared_distance, triangle_planes

NEAREST = jax.jit(volume.nearest_volume)
DISTANCE = jax.jit(point_mesh_distance)


def icosphere(levels, radius):
    golden = (1 + 5**0.5) / 2
    points = [(a, b * golden, 0) for a in (-1, 1) for b in (-1, 1)]
    points = np.asarray([np.roll(p, k) for k in range(3) for p in points], float)
    near = np.linalg.norm(points[:, None] - points, axis=-1) < 2.1
    faces = [(i, j, k) for i in range(12) for j in range(i) for k in range(j)
             if near[i, j] and near[j, k] and near[i, k]]
    for _ in range(levels):
        middle, new = {}, []
        for a, b, c in faces:
            mids = []
            for edge in ((a, b), (b, c), (c, a)):
                key = tuple(sorted(edge))
                if key not in middle:
                    middle[key] = len(points)
                    points = np.vstack([points, points[list(edge)].sum(axis=0)])
                mids.append(middle[key])
            x, y, z = mids
            new += [(a, x, z), (x, b, y), (z, y, c), (x, y, z)]
        faces = new
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    return (radius * points).astype(np.float32), np.asarray(faces, np.int32)


@functools.cache
def problem():
    """A sphere of 10 cm whose front is pushed 4 cm inwards, as an opening mouth does."""
    template, faces = icosphere(3, 0.1)
    dent = np.exp(-np.sum((template - [0, -0.03, 0.09]) ** 2, axis=-1) / 0.03**2)
    posed = (template * (1 - 0.4 * dent[:, None])).astype(np.float32)
    box, shape = volume.fit_box(template, resolution=24, margin=0.03)
    neighbours = meshes.edge_neighbours(faces)
    exact = jax.jit(functools.partial(volume.template_volume, shape=shape))
    return template, posed, faces, neighbours, box, shape, exact


def test_box_has_cubic_voxels_around_the_mesh():
    rng = np.random.default_rng(0)
    vertices = rng.random((4, 50, 3)) * [0.1, 0.3, 0.2]
    box, shape = volume.fit_box(vertices, resolution=30, margin=0.02)
    voxel = (box[1] - box[0]) / shape[::-1]
    np.testing.assert_allclose(voxel, voxel[0], rtol=1e-5)
    assert shape[1] == 30 and shape[0] < 30 and shape[2] < shape[0]
    assert (box[0] <= vertices.min((0, 1)) - 0.0199).all()
    centres = volume.voxel_centres(box, shape)
    assert centres.shape == (*shape, 3)
    np.testing.assert_allclose(centres[0, 0, 0], box[0] + voxel / 2, rtol=1e-5)
    np.testing.assert_allclose(centres[-1, -1, -1], box[1] - voxel / 2, rtol=1e-5)


@pytest.mark.long
def test_propagated_volume_is_nearly_exact():
    template, posed, faces, neighbours, box, shape, exact = problem()
    initial, truth = exact(template, faces, box), exact(posed, faces, box)
    run = NEAREST
    found = run(posed, faces, neighbours, box, initial)
    centres = volume.voxel_centres(box, shape)

    def distance(index):
        return DISTANCE(posed, faces, index, centres)[0]

    def excess(index):
        return np.asarray(distance(index) - distance(truth))

    before, after = excess(initial), excess(found)
    wrong = after > 1e-6 + volume.TIE * np.asarray(distance(truth))
    print(f"farther than nearest: template {np.mean(before > 1e-6):.4f}, found {wrong.mean():.4f}; "
          f"worst {1e3 * after.max():.2f} mm")
    assert np.mean(before > 1e-4) > 0.04
    assert wrong.mean() < 0.005 and after.max() < 2e-3
    assert excess(run(posed, faces, neighbours, box, found)).max() <= after.max() + 1e-6


def test_volumes_of_several_frames_by_vmap():
    template, posed, faces, neighbours, box, shape, exact = problem()
    initial = exact(template, faces, box)
    both = jax.jit(jax.vmap(volume.nearest_volume, (0, None, None, None, None)))(
        jnp.stack([template, posed]), faces, neighbours, box, initial
    )
    one = NEAREST(posed, faces, neighbours, box, initial)
    # Symmetric ties far outside remain ties.
    assert np.mean(both[1] == one) > 0.98


def test_refined_lookup_finds_the_samples_own_triangle():
    template, posed, faces, neighbours, box, shape, exact = problem()
    index = exact(posed, faces, box)
    points = np.random.default_rng(0).uniform(-0.11, 0.11, (800, 3)).astype(np.float32)

    @jax.jit
    def excess(points):
        rough = volume.lookup_nearest(index, points, box)
        planes = triangle_planes(posed, faces)
        fine = volume.refine_index(planes, neighbours, rough, points, walks=2)
        best = jax.lax.map(
            lambda p: jnp.argmin(squared_distance(planes, jnp.arange(len(faces)), *p)), points)
        rough, fine, best = (
            jnp.sqrt(squared_distance(planes, i, *points.T)) for i in (rough, fine, best))
        return rough - best, fine - best - volume.TIE * best

    rough, fine = excess(points)
    assert (fine <= rough + 1e-6).all()
    assert np.mean(fine > 1e-5) < 0.1 * np.mean(rough > 1e-5)


def test_displacement_is_the_mapping_of_the_centres():
    template, posed, faces, neighbours, box, shape, exact = problem()
    index = exact(posed, faces, box)
    moved = jax.jit(functools.partial(volume.displacement_volume, variant="nearest"))(
        posed, template, faces, neighbours, index, box
    )
    centres = volume.voxel_centres(box, shape)
    expected, _ = jax.jit(functools.partial(frenet.map_points, variant="nearest"))(
        centres, centres, index, frenet.surface(posed, faces), frenet.surface(template, faces),
        neighbours,
    )
    np.testing.assert_allclose(centres + moved, expected, atol=1e-5)


def test_lookup_is_trilinear():
    rng = np.random.default_rng(0)
    shape, box = (4, 6, 5), np.asarray([[-1, 0, 2], [1, 3, 4]], np.float32)
    values = rng.standard_normal((2, *shape, 3)).astype(np.float16)
    axes = [np.asarray(volume.voxel_centres(box, shape))[i] for i in
            ((slice(None), 0, 0, 2), (0, slice(None), 0, 1), (0, 0, slice(None), 0))]
    points = rng.uniform(box[0] - 0.3, box[1] + 0.3, (7, 40, 3)).astype(np.float32)
    clipped = np.stack([np.clip(points[..., 2 - k], a[0], a[-1]) for k, a in enumerate(axes)], -1)
    frame = rng.integers(0, 2, (7, 40)).astype(np.int32)
    found = jax.jit(volume.lookup)(values, points, box, frame)
    assert found.dtype == jnp.float32
    for f in (0, 1):
        reference = RegularGridInterpolator(axes, values[f].astype(float))(clipped)
        np.testing.assert_allclose(found[frame == f], reference[frame == f], atol=1e-5)
        alone = volume.lookup(values[f], points, box)
        np.testing.assert_allclose(alone, reference, atol=1e-5)


def test_lookup_gradient_is_the_slope():
    shape, box = (4, 4, 4), np.asarray([[0, 0, 0], [1, 1, 1]], np.float32)
    slope = np.asarray([[1.0, 2, 3], [0, -1, 0], [4, 0, 0]], np.float32)
    values = volume.voxel_centres(box, shape) @ slope
    points = jnp.asarray([[0.3, 0.52, 0.7], [0.125, 0.125, 0.125], [5.0, 5, 5], [1.0, 0.5, 0.5]])
    found = jax.jit(jax.vmap(jax.jacobian(lambda p: volume.lookup(values, p, box))))(points)
    np.testing.assert_allclose(found[0], slope.T, atol=1e-5)
    np.testing.assert_allclose(found[2], 0.0, atol=1e-6)
    assert np.isfinite(np.asarray(found)).all()


def test_lookup_nearest_takes_the_voxel_that_holds_the_point():
    shape, box = (3, 4, 5), np.asarray([[0, 0, 0], [5, 4, 3]], np.float32)
    index = np.arange(60, dtype=np.int32).reshape(shape)
    points = jnp.asarray([[0.1, 0.1, 0.1], [4.9, 3.2, 2.5], [2.4, 1.5, 0.5], [-9.0, -9, 9]])
    expected = [index[0, 0, 0], index[2, 3, 4], index[0, 1, 2], index[2, 0, 0]]
    np.testing.assert_array_equal(volume.lookup_nearest(index, points, box), expected)
    frames = volume.lookup_nearest(np.stack([index, index + 100]), points, box, jnp.full(4, 1))
    np.testing.assert_array_equal(frames, np.asarray(expected) + 100)
