"""AD-NeRF's cameras, pose codes and choice of rays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens

from jaxhead.encodings.frequency import frequency
from jaxhead.geometry.cameras import pixel_rays
from jaxhead.networks.nerf_mlp import FaceNeRF
from jaxhead.networks.torch_layers import from_published
from jaxhead.systems.adnerf import rays


def test_rays_are_the_published_ones(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="get_rays"):
        c = golden.config
        camera = jnp.array([c["focal"], c["cx"], c["cy"]])
        pixels = jnp.stack(
            jnp.meshgrid(jnp.arange(c["H"]), jnp.arange(c["W"]), indexing="ij"), -1
        )
        origins, directions = rays.camera_rays(camera, golden.inputs["c2w"], pixels)
        golden.compare("rays_o", origins)
        golden.compare("rays_d", directions)
        length = jnp.linalg.norm(directions, axis=-1, keepdims=True)
        golden.compare("viewdirs", (directions / length).reshape(-1, 3))


def test_poses_and_codes_are_the_published_ones(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="pose_to_euler_trans"):
        euler, trans = golden.inputs["euler"], golden.inputs["trans"]
        golden.compare("rot", rays.tracker_rotation(euler))
        world = rays.tracker_camera_to_world(euler, trans)
        golden.compare("transform_matrix", world)
        golden.compare("code", jax.vmap(rays.pose_code)(world))
        own = rays.pose_code(world, kind="angles")
        np.testing.assert_allclose(own[:, :3], euler, atol=2e-6)


def test_our_cameras_see_the_same():
    K = np.array([[50.0, 0, 16.5], [0, 50.0, 12.0], [0, 0, 1]])
    head = np.array(rays.tracker_camera_to_world([0.2, -0.3, 0.1], [0.03, -0.02, -0.7]))
    flip = np.diag([1.0, -1, -1, 1])
    head_to_camera = flip @ np.linalg.inv(head)
    np.testing.assert_allclose(rays.published_poses(head_to_camera[None])[0], head, atol=1e-6)
    pixels = np.array([[3, 5], [20, 0]])
    origins, directions = rays.camera_rays(
        jnp.asarray(rays.published_camera(K)), jnp.asarray(head), jnp.asarray(pixels)
    )
    centre, unit = pixel_rays(K, np.float32(head_to_camera), pixels[:, ::-1] + 0.5)
    np.testing.assert_allclose(origins, centre, atol=1e-5)
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    np.testing.assert_allclose(directions / length, unit, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_rectangle_includes_its_ends(transposed):
    inside = np.asarray(rays.in_rectangle((6, 9), jnp.array([2, 1, 3, 2]), transposed=transposed))
    columns, rows = (range(2, 6), range(1, 4))
    rows, columns = (columns, rows) if transposed else (rows, columns)
    expected = np.zeros((6, 9), bool)
    expected[np.ix_(rows, columns)] = True
    np.testing.assert_array_equal(inside, expected)


@pytest.mark.parametrize("within, region", [(19, 30), (19, 10), (0, 30), (20, 54)])
def test_rays_come_once_and_so_many_from_the_region(within, region):
    inside = (jnp.arange(54) < region).reshape(6, 9)
    draw = jax.jit(rays.draw_pixels, static_argnames=("count", "within"))
    pixels = np.asarray(draw(jax.random.key(2), inside, count=20, within=within))
    assert len({tuple(pixel) for pixel in pixels}) == 20
    hits = np.asarray(inside)[pixels[:, 0], pixels[:, 1]]
    assert hits.sum() == min(within, region) and hits[: hits.sum()].all()
    others = np.asarray(draw(jax.random.key(3), inside, count=20, within=within))
    assert not np.array_equal(others, pixels)


def test_published_counts():
    assert int(2048 * 0.95) == 1945 and 2048 - 1945 == 103
    with pytest.raises(ValueError, match="21 of 20 rays, 54 pixels"):
        rays.draw_pixels(jax.random.key(0), jnp.ones((6, 9), bool), count=20, within=21)


def test_the_torso_field_is_told_the_published_signal(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="FaceNeRF (torso)"):
        c, given = golden.config, golden.inputs
        code = rays.pose_code(jnp.asarray(given["pose"]))
        golden.compare("code", code)
        audio = given["aud"][: c["dim_aud_body"]]
        signal = rays.torso_signal(audio, code, bands=c["multires_pose"])
        golden.compare("signal", signal)
        net = FaceNeRF(c["D"], c["W"], tuple(c["skips"]), precision="highest")
        points = frequency(jnp.asarray(given["points"]), bands=c["multires"])
        views = frequency(jnp.asarray(given["viewdirs"]), bands=c["multires_views"])[:, None]
        shapes = jax.eval_shape(net.init, jax.random.key(0), points, signal, views)["params"]
        params = {"params": from_published(golden.weights, shapes)}
        golden.compare("raw", jax.jit(net.apply)(params, points, signal, views))
