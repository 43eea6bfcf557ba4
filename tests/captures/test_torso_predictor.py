"""Prediction of the torso's motion from the head's."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.captures.torso_predictor import (
    fill_torso,
    fit_torso_predictor,
    predict_torso,
    torso_parameters,
)

COUNT, SIZE = 120, 128


def clip(delay):
    """A head that sways, and a torso that follows it by a third, `delay` frames later."""
    time = np.arange(COUNT + delay) / 25
    sway = 0.03 * np.sin(2.2 * time) + 0.02 * np.sin(3.9 * time + 1)
    poses = np.tile(np.eye(4), (COUNT, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(
        np.stack([0 * sway, 3 * sway, 0 * sway], 1)[delay:]
    ).as_matrix() @ np.diag([1.0, -1, -1])
    poses[:, :3, 3] = np.stack([sway, 0 * sway, 0.9 + 0 * sway], 1)[delay:]
    motion = np.tile(np.eye(2, 3), (COUNT, 1, 1))
    motion[:, 0, 2] = 200 * sway[:COUNT]
    return poses, motion


@pytest.mark.parametrize("delay", [0, 5])
def test_predicts_held_out_motion(delay):
    poses, motion = clip(delay)
    usable = np.arange(COUNT) < 96
    predictor = fit_torso_predictor(poses, motion, usable, size=SIZE)
    predicted = predict_torso(predictor, poses)
    assert predicted.shape == (COUNT, 2, 3) and predicted.dtype == np.float32
    missed = predicted[96:, 0, 2] - motion[96:, 0, 2]
    assert np.sqrt((missed**2).mean()) < 0.25 * motion[96:, 0, 2].std()
    assert float(predictor.error) < motion[:, 0, 2].std()


def test_far_poses_stay_bounded():
    poses, motion = clip(0)
    predictor = fit_torso_predictor(poses, motion, np.arange(COUNT), size=SIZE)
    far = poses.copy()
    far[:, 0, 3] += 5.0
    assert np.abs(predict_torso(predictor, far)[:, :, 2]).max() < 40 * motion[:, 0, 2].std()


@pytest.mark.parametrize("usable", [[], [3], [3, 4]])
def test_hardly_any_measurement_gives_the_mean(usable):
    poses, motion = clip(0)
    predictor = fit_torso_predictor(poses, motion, np.array(usable, int), size=SIZE)
    expected = motion[usable].mean(0) if usable else np.eye(2, 3)
    np.testing.assert_allclose(predict_torso(predictor, poses)[7], expected, atol=1e-5)


def test_filling():
    motion = np.tile(np.eye(2, 3), (4, 1, 1))
    motion[:, 0, 2] = [0, np.nan, 2, np.nan]
    filled = fill_torso(motion, np.array([True, False, True, False]))
    np.testing.assert_allclose(filled[:, 0, 2], [0, 1, 2, 2])
    np.testing.assert_array_equal(fill_torso(motion, np.zeros(4, bool))[1], np.eye(2, 3))


def test_long_gaps_take_the_prediction_and_short_ones_do_not():
    motion, predicted = np.zeros((30, 2, 3)), np.full((30, 2, 3), 7.0)
    measured = np.ones(30, bool)
    measured[5:8] = measured[12:20] = False
    filled = fill_torso(motion, measured, predicted)
    assert (filled[12:20] == 7).all() and (np.delete(filled, slice(12, 20), 0) == 0).all()
    np.testing.assert_array_equal(fill_torso(motion, np.zeros(30, bool), predicted), predicted)


def test_torso_parameters_are_shift_of_the_centre_and_linear_part():
    identity = np.eye(2, 3, dtype=np.float32)
    assert not torso_parameters(identity, (80, 100)).any()
    moved = identity + np.array([[0, 0, 10], [0, 0, -5]], np.float32)
    np.testing.assert_allclose(torso_parameters(moved, (80, 100)), [0.1, -0.05, 0, 0, 0, 0])
    scaled = np.array([[1.1, 0, 0], [0, 1.1, 0]], np.float32)
    parameters = torso_parameters(np.stack([identity, scaled]), (100, 100))
    np.testing.assert_allclose(parameters[1], [0.05, 0.05, 0.1, 0, 0, 0.1], atol=1e-6)
