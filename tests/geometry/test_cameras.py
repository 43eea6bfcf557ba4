"""Projection, rays and intrinsics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.geometry import cameras
from jaxhead.geometry.transforms import axis_angle_to_matrix, rigid

SIZE = (96, 128)


@pytest.fixture(scope="module")
def camera():
    K = cameras.intrinsics(np.float32(0.4), SIZE)
    flip = axis_angle_to_matrix(jnp.asarray([np.pi - 0.1, 0.05, 0.2], jnp.float32))
    return K, rigid(flip, jnp.asarray([0.01, -0.02, 0.9]))


def test_axes():
    K = cameras.intrinsics(0.5, SIZE)
    pixels, depth = cameras.project(jnp.asarray([[0.0, 0, 2], [0.1, 0.1, 2]]), K, jnp.eye(4))
    np.testing.assert_allclose(pixels[0], [64, 48], atol=1e-4)
    assert (pixels[1] > pixels[0]).all() and depth[0] == 2
    edge, _ = cameras.project(jnp.asarray([[0.0, np.tan(0.25), 1.0]]), K, jnp.eye(4))
    np.testing.assert_allclose(edge[0, 1], 96, rtol=1e-5)


def test_rays_pass_through_the_projected_points(camera):
    points = 0.1 * np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    pixels, depth = cameras.project(points, *camera)
    origins, directions = cameras.pixel_rays(*camera, pixels)
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=-1), 1.0, rtol=1e-5)
    distance = depth / cameras.ray_depth_factor(camera[0], pixels)
    np.testing.assert_allclose(origins + distance[:, None] * directions, points, atol=1e-5)
    np.testing.assert_allclose(cameras.unproject(pixels, depth, *camera), points, atol=1e-5)
    np.testing.assert_allclose(
        origins[0], cameras.camera_centre(camera[1]), atol=1e-6
    )


def test_batched_cameras(camera):
    K, pose = camera
    points = jnp.zeros((5, 3)) + jnp.arange(5.0)[:, None] * 0.01
    both, _ = cameras.project(jnp.stack([points, points]), jnp.stack([K, K]),
                              jnp.stack([pose, pose]))
    np.testing.assert_allclose(both[1], cameras.project(points, K, pose)[0], atol=1e-4)
    shared, _ = jax.vmap(cameras.project, (None, None, 0))(points, K, jnp.stack([pose, pose]))
    np.testing.assert_allclose(shared, both, atol=1e-4)


def test_resize_and_crop_keep_the_picture(camera):
    K, pose = camera
    points = 0.1 * np.random.default_rng(1).standard_normal((8, 3)).astype(np.float32)
    pixels, _ = cameras.project(points, K, pose)
    half, _ = cameras.project(points, cameras.resize_intrinsics(K, jnp.asarray([0.5, 0.25])), pose)
    np.testing.assert_allclose(half, pixels * jnp.asarray([[0.5, 0.25]]), rtol=1e-4)
    crop, _ = cameras.project(points, cameras.crop_intrinsics(K, jnp.asarray([10.0, 4.0])), pose)
    np.testing.assert_allclose(crop, pixels - jnp.asarray([[10.0, 4.0]]), atol=1e-3)


def test_pixel_centres():
    centres = cameras.pixel_centres((2, 3))
    assert centres.shape == (2, 3, 2)
    np.testing.assert_allclose(centres[1, 2], [2.5, 1.5])


def test_orbit_keeps_its_centre(camera):
    K, pose = camera
    centre = jnp.asarray([0.0, 0.02, 0.03])
    turned = cameras.orbit(pose, jnp.asarray([0.0, 0.5]), jnp.asarray([0.0, -0.2]), centre)
    np.testing.assert_allclose(turned[0], pose, atol=1e-6)
    still, _ = cameras.project(centre[None], K, turned[1])
    np.testing.assert_allclose(still, cameras.project(centre[None], K, pose)[0], atol=1e-3)


def test_gradients_are_finite_in_the_camera_plane():
    K = cameras.intrinsics(0.5, SIZE)
    for point in ([0.0, 0, 0], [1.0, 1, 0], [0.0, 0, -1]):
        g = jax.grad(lambda p: jnp.sum(cameras.project(p[None], K, jnp.eye(4))[0]))(
            jnp.asarray(point)
        )
        assert np.isfinite(np.asarray(g)).all()
