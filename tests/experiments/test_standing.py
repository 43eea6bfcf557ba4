"""A clip whose poses went into its meshes shows the same points at the same pixels."""

import numpy as np
import pytest

from experiments.benchmarks.standing import write_standing
from jaxhead.captures.format import load_capture
from jaxhead.captures.pose_predictor import mean_pose
from jaxhead.captures.synthetic import load_truth, synthesize
from jaxhead.captures.writing import project
from jaxhead.files.errors import InputError


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    synthesize(folder / "moving", frames=6, size=32, seed=1, novel_frames=1)
    moving = load_capture(folder / "moving")
    write_standing(moving, str(folder / "standing"))
    return moving, load_capture(folder / "standing")


def test_every_vertex_stays_at_its_pixel_and_no_pose_is_left(both):
    moving, standing = both
    assert np.ptp(standing.head_to_camera, axis=0).max() == 0
    for index in range(len(moving)):
        one, other = (
            project(np.asarray(c.vertices[index]), c.K, c.head_to_camera[index]) for c in both
        )
        np.testing.assert_allclose(one, other, atol=2e-3)
        np.testing.assert_array_equal(moving.frame(index), standing.frame(index))
        np.testing.assert_array_equal(moving.masks(index), standing.masks(index))
    np.testing.assert_array_equal(moving.train, standing.train)


def test_novel_cameras_see_the_moved_meshes_where_they_saw_the_head(both):
    truths = [load_truth(c.path) for c in both]
    for view, frame in enumerate(truths[0].view_ids):
        one, other = (
            project(np.asarray(c.vertices[frame]), c.K, truth.head_to_camera[view])
            for c, truth in zip(both, truths)
        )
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_the_mean_of_one_pose_is_that_pose(both):
    pose = both[0].head_to_camera[:1].astype(np.float64)
    np.testing.assert_allclose(mean_pose(pose), pose[0], atol=1e-6)


def test_what_exists_is_not_replaced(both):
    with pytest.raises(InputError):
        write_standing(both[0], str(both[1].path))
