"""Cameras of other programs: a point that a source's rule puts somewhere lands there by ours."""

import numpy as np
import pytest
from captures.importers.folders import opengl, poses
from goldens_reader import known_goldens

from jaxhead.captures.importers.cameras import (
    from_camera_to_world,
    from_signed_focals,
    from_world_to_camera,
    pinhole,
    scaled,
)
from jaxhead.files.errors import InputError
from jaxhead.geometry.cameras import pixel_rays

POINTS = np.array([[0.01, 0.02, 0.08], [-0.05, -0.1, 0.03], [0.0, 0.1, -0.02]])


def project(points, K, pose):
    camera = points @ pose[:3, :3].T + pose[:3, 3]
    assert np.all(camera[:, 2] > 0)
    return camera[:, :2] / camera[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]


def rays(K, pose, height, width):
    """Origins and unit directions (H, W, 3) of all pixel centres."""
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    pixels = np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)
    found = pixel_rays(K.astype(np.float32), pose.astype(np.float32), pixels)
    return [np.asarray(part).reshape(height, width, 3) for part in found]


def unit(directions):
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def test_opencv_cameras_keep_their_pixels():
    pose, K = poses()[1], pinhole(60, 62, 12.25, 11.5)
    matrix = np.linalg.inv(pose)
    found = from_camera_to_world(matrix, "x", axes="opencv")
    np.testing.assert_allclose(found, pose, atol=1e-12)
    np.testing.assert_allclose(from_world_to_camera(pose, "x"), pose)
    # By the source's own rule: x right, y down, z forward, pixel centres at +0.5.
    camera = (POINTS - matrix[:3, 3]) @ matrix[:3, :3]
    wanted = np.stack([60 * camera[:, 0] / camera[:, 2] + 12.25,
                       62 * camera[:, 1] / camera[:, 2] + 11.5], -1)  # fmt: skip
    np.testing.assert_allclose(project(POINTS, K, found), wanted, atol=1e-9)


@pytest.mark.parametrize("pixel_centre", [0.0, 0.5])
def test_opengl_cameras_keep_their_pixels(pixel_centre):
    """x right, y up, the camera looks along -z; a whole-number centre is half a pixel of ours."""
    matrix = opengl(poses()[2])
    camera = (POINTS - matrix[:3, 3]) @ matrix[:3, :3]
    assert np.all(camera[:, 2] < 0)
    column = -60 * camera[:, 0] / camera[:, 2] + 12.25
    row = 62 * camera[:, 1] / camera[:, 2] + 11.5
    K = pinhole(60, 62, 12.25, 11.5, pixel_centre=pixel_centre)
    found = project(POINTS, K, from_camera_to_world(matrix, "x", axes="opengl"))
    # Pixel 3 of a source that counts centres from 0 is our pixel whose centre is 3.5.
    np.testing.assert_allclose(found, np.stack([column, row], -1) + 0.5 - pixel_centre, atol=1e-9)


def test_the_tracker_s_pose_and_rays_of_adnerf(goldens):
    for golden in known_goldens(goldens, system="AD-NeRF", module="process_data"):
        euler, trans = golden.inputs["euler"], golden.inputs["trans"]
        matrices = golden.outputs["transform_matrix"]
        for matrix, rotation, shift in zip(matrices, golden.outputs["rot"], trans):
            pose = from_camera_to_world(matrix, "x", axes="opengl")
            # The tracker: camera R X + t with y up and z < 0 before the camera.
            camera = POINTS @ rotation.T + shift
            ours = POINTS @ pose[:3, :3].T + pose[:3, 3]
            np.testing.assert_allclose(ours, camera * [1, -1, -1], atol=2e-6)
        assert len(euler) == len(matrices)
    for golden in known_goldens(goldens, system="AD-NeRF", module="get_rays"):
        size = golden.config
        K = pinhole(size["focal"], size["focal"], size["cx"], size["cy"], pixel_centre=0.0)
        pose = from_camera_to_world(golden.inputs["c2w"], "x", axes="opengl")
        origins, directions = rays(K, pose, size["H"], size["W"])
        golden.compare("rays_o", origins)
        golden.compare("viewdirs", directions.reshape(-1, 3))


def test_the_rays_of_radnerf(goldens):
    """Its own space has axes (y, z, x) of the head's, and lengths times a scale."""
    for golden in known_goldens(goldens, system="geneface", module="smooth_camera_path"):
        fx, fy, cx, cy = golden.inputs["intrinsics"].tolist()
        size, scale = golden.config, golden.config["scale"]
        for index in range(len(golden.outputs["rays_o"])):
            pose = from_camera_to_world(golden.inputs["c2w"][index], "x", axes="opengl")
            origins, directions = rays(pinhole(fx, fy, cx, cy), pose, size["H"], size["W"])
            wanted = golden.outputs["rays_d"][index]
            np.testing.assert_allclose(directions.reshape(-1, 3)[:, [1, 2, 0]], wanted, atol=1e-5)
            moved = scale * origins.reshape(-1, 3)[:, [1, 2, 0]] + size["offset"]
            np.testing.assert_allclose(moved, golden.outputs["rays_o"][index], atol=1e-5)


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_signed_focal_lengths_of_nerface(goldens, signs):
    """The ray through a pixel is the source's, mirrored in x where one focal length is negative."""
    for golden in known_goldens(goldens, system="nerface", module="get_ray_bundle"):
        height, width = golden.config["height"], golden.config["width"]
        fx, fy, cx, cy = golden.inputs["intrinsics"].astype(float)
        matrix = golden.inputs["pose"].astype(float)
        sx, sy = signs
        pose, mirrored = from_signed_focals(matrix, sx * fx, sy * fy, "x")
        assert mirrored == (sx * sy < 0) and np.linalg.det(pose[:3, :3]) > 0
        K = pinhole(fx, fy, cx * width, cy * height, pixel_centre=0.0)
        origins, directions = rays(K, pose, height, width)
        j, i = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        own = np.stack([(i - width * cx) / (sx * fx), -(j - height * cy) / (sy * fy),
                        -np.ones_like(i)], -1) @ matrix[:3, :3].T  # fmt: skip
        if signs == (1, 1):
            golden.compare("directions", own)
            golden.compare("origins", origins)
        flip = np.array([-1.0 if mirrored else 1.0, 1, 1])
        np.testing.assert_allclose(directions, unit(own) * flip, atol=1e-5)
        np.testing.assert_allclose(origins[0, 0], matrix[:3, 3] * flip, atol=1e-5)


def test_resizing_moves_no_point():
    pose, K = poses()[0], pinhole(60, 62, 12.25, 11.5)
    np.testing.assert_allclose(
        project(POINTS, scaled(K, 0.5), pose), project(POINTS, K, pose) / 2, atol=1e-12
    )


@pytest.mark.parametrize(
    "change, reason",
    [
        (np.diag([-1.0, 1, 1, 1]), "mirrors"),
        (np.diag([1.0, 1, -1, 1]), "mirrors"),
        (np.diag([2.0, 2, 2, 1]), "not rigid"),
        (np.diag([1.0, 1.1, 1, 1]), "not rigid"),
        (np.zeros((4, 4)), "not rigid"),
    ],
)
def test_what_is_no_rotation_is_refused(change, reason):
    matrix = np.linalg.inv(poses()[1]) @ change
    for call in (
        lambda: from_camera_to_world(matrix, "a.json: transform_matrix", axes="opencv"),
        lambda: from_camera_to_world(matrix, "a.json: transform_matrix", axes="opengl"),
        lambda: from_world_to_camera(matrix, "a.json: transform_matrix"),
        lambda: from_signed_focals(matrix, -60.0, 60.0, "a.json: transform_matrix"),
    ):
        with pytest.raises(InputError, match=f"a.json: transform_matrix .*{reason}"):
            call()
