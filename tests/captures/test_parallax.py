"""Heights above the sheet, from where points on a sheet of the wrong depth seem to go."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.captures import parallax
from jaxhead.captures.sheet import NODES
from jaxhead.captures.sway_textures import NearTemplates

FRAMES = 40


def clip(turn=0.2):
    """Poses of a head that turns before a still camera, nodes of a plane, and smooth heights."""
    random = np.random.default_rng(0)
    axis = np.linspace(-0.15, 0.15, NODES)
    x, y = np.meshgrid(axis, axis[::-1])
    nodes = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    heights = (0.03 * np.cos(x / 0.1) * np.sin(y / 0.1 + 1)).reshape(-1)
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    angles = turn * random.normal(size=(FRAMES, 3)) * [0.5, 1, 0.2]
    poses[:, :3, :3] = Rotation.from_rotvec(angles).as_matrix() @ np.diag([1.0, -1, -1])
    poses[:, 2, 3] = 0.9
    return poses, nodes, heights


def seen_on_sheet(poses, nodes, heights):
    """(N, n, 2) where the lines of sight to raised nodes meet the plane z = 0, less the nodes."""
    centres = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    raised = nodes + heights[:, None] * [0, 0, 1]
    sight = raised - centres[:, None]
    back = raised[..., 2] / sight[..., 2]
    return (raised - back[..., None] * sight - nodes)[..., :2]


def test_slopes_are_those_of_the_lines_of_sight():
    poses, nodes, _ = clip()
    slopes = parallax.sight_slopes(nodes, poses)
    centre = -poses[3, :3, :3].T @ poses[3, :3, 3]
    assert centre[2] > 0.5
    sight = nodes[7] - centre
    np.testing.assert_allclose(slopes[3, 7], sight[:2] / sight[2], rtol=1e-12)
    behind = poses.copy()
    behind[:, :3, :3] = behind[:, :3, :3] @ np.diag([-1.0, 1, -1])
    assert np.abs(parallax.sight_slopes(nodes, behind)).max() <= 2


def test_heights_are_found_and_explain_the_shifts():
    poses, nodes, heights = clip()
    shifts = seen_on_sheet(poses, nodes, heights)
    slopes = parallax.sight_slopes(nodes, poses)
    found = parallax.heights_of(shifts, slopes, np.ones(len(nodes)))
    assert np.abs(found - heights).max() < 0.2 * np.abs(heights).max()
    left = shifts + found[:, None] * slopes
    left, before = left - left.mean(0), shifts - shifts.mean(0)
    assert np.sqrt((left**2).mean()) < 0.15 * np.sqrt((before**2).mean())


def test_tracked_skin_and_a_head_that_does_not_turn_stay_where_they_are():
    poses, nodes, heights = clip()
    shifts, slopes = seen_on_sheet(poses, nodes, heights), parallax.sight_slopes(nodes, poses)
    assert not parallax.heights_of(shifts, slopes, np.zeros(len(nodes))).any()
    assert np.isfinite(parallax.heights_of(0 * shifts, 0 * slopes, np.ones(len(nodes)))).all()
    far = parallax.heights_of(50 * shifts, slopes, np.ones(len(nodes)))
    assert np.abs(far).max() == pytest.approx(0.06)


class Stand:
    """In place of `Frames`: cameras that see one pixel, which shows the frame's number."""

    def __init__(self, angles):
        self.poses = np.tile(np.eye(4), (len(angles), 1, 1))
        turns = Rotation.from_rotvec(np.outer(angles, [0, 1, 0])).as_matrix()
        self.poses[:, :3, :3] = turns @ np.diag([1.0, -1, -1])
        self.poses[:, 2, 3] = 0.9
        self.sheet = type("Sheet", (), {"covered": np.ones(1, bool)})

    def seen(self, ids, shifts, blur):
        return np.stack([ids[:, None].astype(np.float32), np.ones((len(ids), 1), np.float32)], 1)


def test_near_templates_are_means_of_frames_from_the_same_side():
    angles = np.repeat([-0.6, 0.0, 0.6], 10)
    ids = np.setdiff1d(np.arange(30), [29])
    near = NearTemplates(Stand(angles), ids, np.zeros((30, 4, 2)), 1.0)
    value, known = near.of(np.array([0, 12, 29]))
    # Frames 1..9 without the frame itself; 10..19 without 12; 20..28, of which 29 is none.
    np.testing.assert_allclose(value[:, 0], [5, (145 - 12) / 9, 24], rtol=1e-4)
    np.testing.assert_allclose(known, 1.0)
    alone = NearTemplates(Stand(angles[:1]), np.array([0]), np.zeros((1, 4, 2)), 1.0)
    np.testing.assert_allclose(alone.of(np.array([0]))[0], 0.0)
