"""The torso's alignment: known similarities, hidden parts, and what cannot be measured."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from jaxhead.captures.torso import TorsoTracker, torso_reference, trusted

SIZE = 256


def cloth():
    return gaussian_filter(np.random.default_rng(0).uniform(size=(SIZE, SIZE)), 2.0) * 4 - 1.5


def similarity(shift, scale, degrees):
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([128.0, 200.0])
    return np.concatenate([linear, (shift + centre - linear @ centre)[:, None]], 1)


def moved(picture, motion):
    """The picture whose pixel A p is the reference's pixel p."""
    inverse = np.linalg.inv(motion[:, :2])
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1) + 0.5
    source = (grid - motion[:, 2]) @ inverse.T - 0.5
    return map_coordinates(picture, [source[..., 1], source[..., 0]], order=3, mode="nearest")


def region():
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[150:250, 40:216] = 1
    return mask


def run(pictures, visible=None):
    tracker = TorsoTracker(torso_reference(cloth().astype(np.float32), region()))
    for picture in pictures:
        seen = np.ones((SIZE, SIZE), np.float32) if visible is None else visible
        tracker.add(picture.astype(np.float32), seen, np.zeros(2))
    return tracker.finish(len(pictures))


POINTS = np.array([[60.0, 160, 1], [200, 160, 1], [128, 240, 1]])


def largest_error(found, truth):
    return np.abs(np.einsum("nij,pj->npi", found - np.stack(truth), POINTS)).max()


def test_recovers_similarities_to_a_twentieth_of_a_pixel():
    truth = [
        similarity(np.array([6 * np.sin(k), 2.0 * np.cos(k)]), 1 + 0.02 * np.sin(k), 2 * np.sin(k))
        for k in range(4)
    ]
    motion, error, measured = run([moved(cloth(), motion) for motion in truth])
    assert measured.all() and error.max() < 0.15
    assert largest_error(motion, truth) < 0.05


def test_a_change_of_light_and_a_hidden_part_are_not_motion():
    truth = [similarity(np.array([3.0, -1.5]), 1.0, 1.0)]
    picture = moved(cloth(), truth[0]) + 0.2
    visible = np.ones((SIZE, SIZE), np.float32)
    picture[150:200, 100:150] = 1.0
    visible[145:205, 95:155] = 0.0
    motion, _, _ = run([picture], visible)
    assert largest_error(motion, truth) < 0.1


def test_another_picture_is_not_measured():
    other = np.random.default_rng(9).uniform(size=(SIZE, SIZE))
    _, _, measured = run([other * 2])
    assert not measured.any()


def test_without_a_torso_nothing_is_measured():
    tracker = TorsoTracker(torso_reference(cloth(), np.zeros((SIZE, SIZE), np.float32)))
    tracker.add(cloth(), region(), np.zeros(2))
    motion, _, measured = tracker.finish(1)
    assert not measured.any()
    np.testing.assert_array_equal(motion, np.eye(2, 3)[None])


def test_implausible_motion_is_not_trusted():
    far = similarity(np.array([120.0, 0.0]), 1.0, 0.0)
    large = similarity(np.zeros(2), 1.5, 0.0)
    still = np.eye(2, 3)
    error, rest = np.array([0.01, 0.01, 0.01, 0.9]), np.full(4, 0.95)
    result = trusted(error, rest, np.stack([far, large, still, still]), SIZE)
    assert result.tolist() == [False, False, True, False]


def test_hair_that_follows_with_changes_is_trusted_and_what_explains_nothing_is_not():
    still = np.stack([np.eye(2, 3)] * 4)
    error, rest = np.array([0.8, 0.8, 0.8, 1.1]), np.array([1.2, 0.9, 0.8, 2.0])
    assert trusted(error, rest, still, SIZE).tolist() == [True, False, False, False]
