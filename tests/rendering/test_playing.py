"""Poses that a render plays."""

import numpy as np

from jaxhead.rendering.playing import back_and_forth, transferred_poses


def test_a_clip_is_played_back_and_forth_without_showing_its_ends_twice():
    assert back_and_forth(9, 4).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert back_and_forth(3, 1).tolist() == [0, 0, 0] and back_and_forth(2, 9).tolist() == [0, 1]
    steps = np.abs(np.diff(back_and_forth(1000, 7)))
    assert np.all(steps == 1)


def test_transferred_shifts_move_as_many_face_widths():
    other = np.stack([np.eye(4)] * 3)
    other[:, :3, 3] = [[0, 0, 2], [0.2, 0, 2], [-0.2, 0, 2]]
    own = np.stack([np.eye(4)] * 2)
    own[:, :3, 3] = [[0.1, 0, 1], [0.1, 0, 1]]
    shifts = transferred_poses(other, own)[:, :3, 3]
    np.testing.assert_allclose(shifts, [[0.1, 0, 1], [0.2, 0, 1], [0, 0, 1]], atol=1e-6)
