"""Photometric refinement: a textured surface that was put down askew finds its place."""

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from jaxhead.captures.refine import refine_poses
from jaxhead.captures.unwrap import surface_points

SIZE, SIDE = 96, 9
K = np.array([[300.0, 0, 48], [0, 300.0, 48], [0, 0, 1]], np.float32)


def sheet():
    """A curved sheet of 9 x 9 vertices, 16 cm wide, its faces turned to +z."""
    axis = np.linspace(-0.08, 0.08, SIDE)
    x, y = np.meshgrid(axis, axis)
    vertices = np.stack([x, y, 0.03 - 4 * x**2 - 4 * y**2], -1).reshape(-1, 3)
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, d), (a, d, c))])
    return vertices, faces.astype(np.int32)


def picture(pose, texture):
    """The sheet's texture seen by the camera (orthographic texture coordinates)."""
    grid = (np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1) + 0.5 - 48) / 300
    rays = np.concatenate([grid, np.ones((SIZE, SIZE, 1))], -1) @ pose[:3, :3]
    origin = -pose[:3, 3] @ pose[:3, :3]
    depth = np.full((SIZE, SIZE), -origin[2])
    for _ in range(12):  # fixed point: where the ray meets the curved sheet
        place = origin + rays * depth[..., None]
        height = 0.03 - 4 * (place[..., :2] ** 2).sum(-1)
        depth = (height - origin[2]) / rays[..., 2]
    place = origin + rays * depth[..., None]
    at = (place[..., :2] + 0.08) / 0.16 * (len(texture) - 1)
    return map_coordinates(texture, [at[..., 1], at[..., 0]], order=1, mode="nearest")


def poses(offsets):
    result = np.tile(np.eye(4), (len(offsets), 1, 1))
    turn = Rotation.from_rotvec(offsets[:, :3]).as_matrix()
    result[:, :3, :3] = turn @ np.diag([1.0, -1, -1])
    result[:, :3, 3] = [0, 0, 0.6] + offsets[:, 3:]
    return result


def scene():
    rng = np.random.default_rng(0)
    texture = rng.uniform(size=(40, 40))
    smooth = 0.08 * np.sin(np.arange(12)[:, None] / 2.0 + np.arange(6)) * [1, 1, 1, 0.1, 0.1, 0]
    truth = poses(smooth)
    frames = [picture(pose, texture).astype(np.float32) for pose in truth]
    noise = rng.normal(size=(12, 6)) * [0.004, 0.004, 0.004, 0.0015, 0.0015, 0.0]
    return truth, poses(smooth + noise), frames


def test_refined_poses_agree_with_the_truth():
    truth, noisy, frames = scene()
    vertices, faces = sheet()
    surface = surface_points(vertices, faces, np.ones(len(vertices)))
    training = np.arange(12) < 10
    result = refine_poses(
        lambda: iter(frames),
        surface,
        np.tile(vertices, (12, 1, 1)),
        K,
        noisy,
        training,
        np.ones(12, bool),
        rounds=3,
    )
    assert result.after.mean() < 0.5 * result.before.mean()
    assert (result.after <= result.before).all()

    def wobble(found):
        # All poses may share an offset: the template moves with them.
        pixels = found[:, :2, 3] / found[:, 2:3, 3] * 300
        offset = pixels - truth[:, :2, 3] / truth[:, 2:3, 3] * 300
        return np.sqrt(((offset - offset.mean(0)) ** 2).sum(1).mean())

    assert wobble(result.poses) < 0.35 * wobble(noisy)


def test_frames_that_do_not_show_the_face_keep_their_pose():
    _, noisy, frames = scene()
    vertices, faces = sheet()
    measured = np.arange(12) != 5
    result = refine_poses(
        lambda: iter(frames),
        surface_points(vertices, faces, np.ones(len(vertices))),
        np.tile(vertices, (12, 1, 1)),
        K,
        noisy,
        measured,
        measured,
        rounds=1,
    )
    np.testing.assert_allclose(result.poses[5], noisy[5], atol=1e-6)
    assert not result.improved[5] and np.isfinite(result.poses).all()


def test_surface_points_lie_on_the_mesh_and_spread_evenly():
    vertices, faces = sheet()
    weights = np.where(vertices[:, 0] < 0.0, 0.0, 1.0)
    surface = surface_points(vertices, faces, weights)
    np.testing.assert_allclose(surface.barycentric.sum(1), 1, atol=1e-6)
    assert (surface.barycentric >= 0).all() and (surface.weights == 1).all()
    places = np.einsum("pk,pki->pi", surface.barycentric, vertices[surface.corners])
    assert places[:, 0].min() >= -1e-6
    counts = np.histogram2d(places[:, 0], places[:, 1], bins=4, range=[[0, 0.08], [-0.08, 0.08]])[0]
    assert counts.min() > 0.7 * counts.mean()
