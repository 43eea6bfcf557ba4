"""The Frenet mapping against float64 goldens, its laws and its gradients."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.geometry import frenet, meshes
from jaxhead.geometry.transforms import apply_transform, axis_angle_to_matrix, rigid

MODULE = "deformed-to-canonical mapping with triangle frames"


def read_golden(path):
    with np.load(path) as file:
        if "manifest" not in file.files:
            return None
        manifest = json.loads(str(file["manifest"]))
        if manifest["module"] != MODULE or not manifest["system"].startswith("avatar"):
            return None
        inputs = {k[3:]: file[k] for k in file.files if k.startswith("in/")}
        outputs = {k[4:]: file[k] for k in file.files if k.startswith("out/")}
    return manifest["config"], inputs, outputs


def find_goldens():
    default = pathlib.Path(__file__).parents[1] / "goldens"
    folder = pathlib.Path(os.environ.get("JAXHEAD_GOLDENS") or default)
    return [(p.name, *g) for p in sorted(folder.glob("*.npz")) if (g := read_golden(p))]


def close(actual, expected, what):
    """1e-4 relative to the size of the array: single coordinates pass through zero."""
    error = np.max(np.abs(np.asarray(actual, np.float64) - expected), initial=0.0)
    assert error <= 1e-4 * np.max(np.abs(expected)), f"{what}: {error}"


@jax.jit
def brute_force(vertices, faces, points):
    a, b, c = meshes.corners(vertices, faces)
    point, _ = meshes.closest_point_on_triangle(points[:, None], a[None], b[None], c[None])
    squared = jnp.sum((points[:, None] - point) ** 2, axis=-1)
    return jnp.argmin(squared, axis=1)


def test_goldens():
    goldens = find_goldens()
    compared = 0
    for name, config, inputs, outputs in goldens:
        faces, points = inputs["faces"], jnp.asarray(inputs["points"])
        beta, own = config["beta"], config["own_rate_program"]
        nearest = brute_force(inputs["deformed"], faces, points)
        np.testing.assert_array_equal(nearest, outputs["triangle"], err_msg=name)
        a, b, c = (x[nearest] for x in meshes.corners(inputs["deformed"], faces))
        point, _ = meshes.closest_point_on_triangle(points, a, b, c)
        close(point, outputs["closest"], f"{name} closest")
        distance = jnp.linalg.norm(points - point, axis=-1)
        close(distance, outputs["distance"], f"{name} distance")

        neighbours = meshes.edge_neighbours(faces)
        hood = frenet.neighbourhood(nearest, neighbours)
        np.testing.assert_array_equal(hood, outputs["neighbourhood"], err_msg=name)
        deformed = frenet.surface(inputs["deformed"], faces)
        canonical = frenet.surface(inputs["canonical"], faces)
        close(deformed.frames, outputs["frames_deformed"], f"{name} frames_deformed")
        close(canonical.frames, outputs["frames_canonical"], f"{name} frames_canonical")
        scaling = (deformed.areas / canonical.areas)[nearest]
        close(scaling, outputs["scaling"], f"{name} scaling")
        weights = frenet.neighbourhood_weights(points, deformed.centroids, hood, beta=beta)
        close(weights, outputs["weights"], f"{name} weights")
        for key, mesh in (("deformed", deformed), ("canonical", canonical)):
            weights = frenet.neighbourhood_weights(
                points, mesh.centroids, hood, beta=beta, own_rate=own
            )
            close(weights, outputs[f"weights_program_{key}"], f"{name} weights_program_{key}")
        for variant in frenet.VARIANTS:
            mapped, direction = frenet.map_points(
                points, inputs["directions"], nearest, deformed, canonical, neighbours,
                variant=variant, beta=beta, own_rate=own,
            )
            suffix = "" if variant == "formula" else f"_{variant}"
            close(mapped, outputs[f"mapped{suffix}"], f"{name} mapped{suffix}")
            if f"direction{suffix}" in outputs:
                close(direction, outputs[f"direction{suffix}"], f"{name} direction{suffix}")
        compared += 1
    print(f"frenet goldens compared: {compared}")
    assert compared or os.environ.get("JAXHEAD_GOLDENS"), "tests/goldens holds no frenet golden"


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    faces = np.asarray([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4],
                        [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], np.int32)
    corners = np.concatenate([np.eye(3), -np.eye(3)])[[0, 3, 1, 4, 2, 5]] * 0.1
    canonical = (corners + 0.01 * rng.standard_normal((6, 3))).astype(np.float32)
    deformed = (canonical + 0.01 * rng.standard_normal((6, 3))).astype(np.float32)
    points = (0.15 * rng.standard_normal((40, 3))).astype(np.float32)
    directions = rng.standard_normal((40, 3)).astype(np.float32)
    index = np.asarray(brute_force(deformed, faces, jnp.asarray(points)))
    return faces, canonical, deformed, points, directions, index


MAP = jax.jit(frenet.map_points, static_argnames=("variant",))
SURFACE = jax.jit(frenet.surface)


@pytest.mark.parametrize("variant", frenet.VARIANTS)
def test_undeformed_mesh_maps_to_itself(problem, variant):
    faces, canonical, _, points, directions, index = problem
    s = SURFACE(canonical, faces)
    neighbours = meshes.edge_neighbours(faces)
    mapped, turned = MAP(points, directions, index, s, s, neighbours, variant=variant)
    np.testing.assert_allclose(mapped, points, atol=2e-5)
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    np.testing.assert_allclose(turned, unit, atol=2e-5)


@pytest.mark.parametrize("variant", ["formula", "nearest", "scaled"])
def test_rigid_motion_is_undone(problem, variant):
    faces, canonical, _, points, directions, index = problem
    turn = axis_angle_to_matrix(jnp.asarray([0.3, -0.7, 0.2]))
    motion = rigid(turn, jnp.asarray([0.1, 0.2, 0.3]))
    moved = SURFACE(apply_transform(motion, canonical), faces)
    mapped, _ = MAP(
        apply_transform(motion, points), directions, index, moved, SURFACE(canonical, faces),
        meshes.edge_neighbours(faces), variant=variant,
    )
    np.testing.assert_allclose(mapped, points, atol=2e-5)


def test_a_rule_per_triangle_does_what_its_variant_does(problem):
    faces, canonical, deformed, points, directions, index = problem
    neighbours, s, d = meshes.edge_neighbours(faces), SURFACE(canonical, faces), SURFACE(
        deformed, faces
    )
    rules = np.arange(len(faces), dtype=np.int32) % len(frenet.RULES)
    found = MAP(points, directions, index, d, s, neighbours, variant="regions", rules=rules)
    for name, label in frenet.RULES.items():
        here = rules[index] == label
        assert here.any()
        expected = MAP(points, directions, index, d, s, neighbours, variant=name)
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one[here], other[here], atol=1e-5)
    with pytest.raises(ValueError, match="expected rules"):
        frenet.map_points(points, directions, index, d, s, neighbours, variant="regions")


def test_frames_are_rotations(problem):
    faces, _, deformed, *_ = problem
    frames = frenet.triangle_frames(jnp.asarray([deformed, deformed]), faces)
    assert frames.shape == (2, 8, 4, 4)
    linear = frames[0, :, :3, :3]
    np.testing.assert_allclose(
        jnp.einsum("fji,fjk->fik", linear, linear), np.broadcast_to(np.eye(3), (8, 3, 3)), atol=1e-5
    )


def test_missing_neighbours_get_no_weight():
    points = jnp.zeros((1, 3))
    hood = jnp.asarray([[0, -1, 1, -1]])
    centroids = jnp.asarray([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0]])
    weights = frenet.neighbourhood_weights(points, centroids, hood, beta=4.0)
    expected = np.exp(-4 * np.asarray([0.1, 0.2]))
    np.testing.assert_allclose(weights[0, [0, 2]], expected / expected.sum(), rtol=1e-5)
    np.testing.assert_array_equal(weights[0, [1, 3]], 0.0)
    far = frenet.neighbourhood_weights(points + 1e6, centroids, hood, beta=4.0)
    assert np.isfinite(np.asarray(far)).all()


def test_batches_of_meshes(problem):
    faces, canonical, deformed, points, directions, index = problem
    neighbours, s = meshes.edge_neighbours(faces), SURFACE(canonical, faces)
    batch = frenet.surface(jnp.stack([canonical, deformed]), faces)
    both = jax.jit(jax.vmap(frenet.map_points, (None, None, None, 0, None, None)))(
        points, directions, index, batch, s, neighbours
    )
    one = MAP(points, directions, index, SURFACE(deformed, faces), s, neighbours, variant="formula")
    np.testing.assert_allclose(both[0][1], one[0], atol=1e-5)
    np.testing.assert_allclose(both[1][1], one[1], atol=1e-5)


@pytest.mark.parametrize(
    "variant", ["formula", pytest.param("program", marks=pytest.mark.long)]
)
def test_gradients_are_finite_on_flat_triangles_too(problem, variant):
    faces, canonical, deformed, points, directions, index = problem
    s, neighbours = SURFACE(canonical, faces), meshes.edge_neighbours(faces)

    def total(points, deformed):
        mapped, turned = frenet.map_points(
            points, directions, index, frenet.surface(deformed, faces), s, neighbours,
            variant=variant,
        )
        return jnp.sum(mapped**2) + jnp.sum(turned**2)

    slope = jax.jit(jax.grad(total, (0, 1)))
    for mesh in (deformed, np.zeros_like(deformed)):
        assert all(np.isfinite(np.asarray(g)).all() for g in slope(points, mesh))


def test_unknown_variant_is_named(problem):
    faces, canonical, _, points, directions, index = problem
    s = frenet.surface(canonical, faces)
    with pytest.raises(ValueError, match="variant='other'"):
        frenet.map_points(points, directions, index, s, s, meshes.edge_neighbours(faces),
                          variant="other")
