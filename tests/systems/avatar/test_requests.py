"""From options to pictures' requests: splits, driving captures, cameras, torso and size."""

import dataclasses

import numpy as np
import pytest

from jaxhead.captures.pose_predictor import POSE, predictor_from_arrays
from jaxhead.captures.sway_predictor import predict_sway
from jaxhead.captures.torso_predictor import predict_torso
from jaxhead.files.errors import InputError
from jaxhead.rendering.playing import orbit_pose
from jaxhead.rendering.requests import Background, RenderOptions
from jaxhead.systems.avatar import requests
from jaxhead.systems.avatar.inputs import frame_condition
from jaxhead.systems.avatar.requests import make_requests, posed


@pytest.fixture
def ask(small):
    def make(inputs=None, **options):
        return make_requests(
            RenderOptions(**options), small.spec, inputs or small.inputs, small.head, small.config
        )

    return make


@pytest.fixture
def driving(small, monkeypatch):
    """Every path is a capture that drives: the own one, moved away, louder and longer."""
    own = small.capture
    poses = np.concatenate([own.head_to_camera] * 2)
    poses[:, :3, 3] *= 1.5
    poses[:, :3, 3] += [0.1, 0.02, 0]
    other = dataclasses.replace(
        own, head_to_camera=poses, expression=np.concatenate([own.expression[::-1]] * 2),
        status=np.zeros(30, np.uint8), train=np.arange(24), test=np.arange(24, 30),
    )  # fmt: skip
    monkeypatch.setattr(requests, "load_capture", lambda path: other)
    return other


def camera_centre(pose):
    return -pose[:3, :3].T @ pose[:3, 3]


def test_splits_and_frame_counts(ask, small):
    capture = small.capture
    for split, ids in (("train", capture.train), ("test", capture.test), ("all", range(15))):
        made = ask(split=split)
        assert made.frame_ids.tolist() == list(ids)
        np.testing.assert_array_equal(made.head_to_camera, capture.head_to_camera[made.frame_ids])
        np.testing.assert_array_equal(made.vertices, capture.vertices[made.frame_ids])
        expected = frame_condition(
            small.inputs, capture.expression[made.frame_ids], made.vertices,
            made.head_to_camera, small.config,
        )
        expected[:, -POSE:] = np.clip(expected[:, -POSE:], -3, 3)
        np.testing.assert_allclose(made.condition, expected, atol=1e-5)
    assert ask(split="all", frames=4).frame_ids.tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="'test'"):
        ask(inputs=small.inputs | {"test": np.zeros(0, np.int32)})


def test_neutral_is_the_template_without_expression(ask, small):
    made = ask(neutral=True)
    template = np.asarray(small.head.template)
    np.testing.assert_allclose(made.vertices, np.stack([template] * 3), atol=1e-6)
    expression = made.condition[:, :-POSE]
    assert np.all(expression == expression[0]) and np.all(np.abs(made.condition) <= 3)
    np.testing.assert_array_equal(made.head_to_camera, ask().head_to_camera)
    assert made.frame_ids.tolist() == small.capture.test.tolist()


def test_expressions_of_another_capture(ask, small, driving):
    made = ask(expression_from="other")
    assert len(made.vertices) == 30 and np.all(made.frame_ids == -1)
    np.testing.assert_allclose(made.vertices, posed(small.head, driving.expression), atol=1e-6)
    assert np.all(np.abs(made.condition) <= requests.MOST_DEVIATIONS)
    # The own three test poses go back and forth without a jump.
    own = small.capture.head_to_camera[small.capture.test]
    np.testing.assert_array_equal(made.head_to_camera[:6], own[[0, 1, 2, 1, 0, 1]])
    assert len(ask(expression_from="other", frames=5).vertices) == 5


def test_other_names_of_expressions_are_refused(ask, driving, monkeypatch):
    names = ("wink", *driving.head.expression_names[1:])
    renamed = dataclasses.replace(driving, head=driving.head.replace(expression_names=names))
    monkeypatch.setattr(requests, "load_capture", lambda path: renamed)
    with pytest.raises(InputError, match="names"):
        ask(expression_from="other")


def test_poses_of_another_capture(ask, small, driving):
    made = ask(pose_from="other", split="train")
    own = small.capture.head_to_camera[small.capture.train]
    assert len(made.head_to_camera) == 30 and np.all(made.frame_ids == -1)
    np.testing.assert_allclose(
        made.head_to_camera[:, :3, :3], driving.head_to_camera[:, :3, :3], atol=1e-6
    )
    np.testing.assert_allclose(
        made.head_to_camera[:, :3, 3].mean(0), own[:, :3, 3].mean(0), atol=1e-5
    )
    assert any("predicted" in note for note in made.notes)
    both = ask(pose_from="other", expression_from="other", frames=7)
    assert len(both.vertices) == len(both.head_to_camera) == 7


def test_a_turned_camera_goes_where_it_says_and_keeps_the_head_in_place(small):
    pose = small.capture.head_to_camera[0]
    to_picture = pose[:3, :3]  # head axes to the axes of the old camera

    def moved(yaw, pitch):
        turned = orbit_pose(pose, yaw, pitch)
        np.testing.assert_allclose(turned[:3, :3] @ turned[:3, :3].T, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(turned[:3, 3], pose[:3, 3])  # the head's centre
        return to_picture @ (camera_centre(turned) - camera_centre(pose))

    right, up = moved(20, 0), moved(0, 20)
    distance = np.linalg.norm(pose[:3, 3])
    assert right[0] > 0.9 * distance * np.sin(np.radians(20)) and right[2] > 0
    assert abs(right[1]) < 0.1 * right[0]
    assert up[1] < -0.9 * distance * np.sin(np.radians(20))  # the picture's y points down
    np.testing.assert_allclose(np.linalg.norm(right), 2 * distance * np.sin(np.radians(10)), 1e-4)
    assert moved(-20, 0)[0] < 0 and np.allclose(moved(0, 0), 0, atol=1e-6)


def test_view_and_orbit(ask, small):
    poses = small.capture.head_to_camera
    view = ask(view=(15.0, -5.0), split="all")
    expected = np.stack([orbit_pose(pose, 15, -5) for pose in poses])
    np.testing.assert_allclose(view.head_to_camera, expected, atol=1e-6)
    orbit = ask(orbit_degrees=30.0, split="all")
    np.testing.assert_allclose(orbit.head_to_camera[0], poses[0], atol=1e-6)
    yaw = []
    for pose, own in zip(orbit.head_to_camera, poses):
        turn = pose[:3, :3] @ own[:3, :3].T
        yaw.append(np.degrees(np.arctan2(turn[0, 2], turn[2, 2])))
    np.testing.assert_allclose(yaw, 30 * np.sin(2 * np.pi * np.arange(15) / 15), atol=1e-2)
    assert view.frame_ids.tolist() == list(range(15)) and view.notes


def test_torso_is_measured_where_it_was_and_predicted_elsewhere(ask, small):
    inputs = dict(small.inputs)
    known = np.ones(15, bool)
    known[13] = False
    inputs["torso_measured"] = known
    predictor = predictor_from_arrays(inputs, "torso_predictor")
    guess = predict_torso(predictor, inputs["head_to_camera"])
    made = ask(inputs=inputs)
    np.testing.assert_allclose(made.torso_motion[[0, 2]], inputs["torso_motion"][[12, 14]])
    np.testing.assert_allclose(made.torso_motion[1], guess[13], atol=1e-4)
    assert any("predicted in 1 frame" in note for note in made.notes)
    predicted = ask(inputs=inputs, torso="predicted")
    np.testing.assert_allclose(predicted.torso_motion, guess[12:15], atol=1e-4)
    assert not np.allclose(predicted.torso_motion[0], made.torso_motion[0], atol=1e-3)
    # Far from all motion that was seen the condition stays near what was trained.
    inputs["torso_motion"] = inputs["torso_motion"] + 1000
    assert np.abs(ask(inputs=inputs).torso_condition).max() <= 4


def test_sway_is_measured_where_a_frame_shows_what_it_showed(small, ask, driving):
    inputs = dict(small.inputs)
    random = np.random.default_rng(0)
    inputs["sway"] = random.normal(size=(15, 4, 4, 2)).astype(np.float32)
    centre = random.normal(size=32).astype(np.float32)
    for name, value in (("weights", np.ones((POSE, 32))), ("centre", centre)):
        inputs[f"sway_predictor/{name}"] = value
    predictor = predictor_from_arrays(inputs, "sway_predictor")
    guess = predict_sway(predictor, inputs["head_to_camera"])
    for asked in ({}, {"view": (20.0, 0.0)}, {"neutral": True}):
        np.testing.assert_array_equal(ask(inputs=inputs, **asked).sway, inputs["sway"][12:15])
    np.testing.assert_array_equal(ask(inputs=inputs, torso="predicted").sway, guess[12:15])
    played = ask(inputs=inputs, expression_from="there")
    assert played.sway.shape == (30, 4, 4, 2)
    np.testing.assert_array_equal(played.sway[0], guess[12])
    moved = ask(inputs=inputs, pose_from="there")
    np.testing.assert_array_equal(moved.sway, predict_sway(predictor, moved.own_poses))


def test_size_scales_camera_torso_and_background(ask, small):
    own, double = ask(), ask(size=128)
    assert double.size == (128, 128) and double.background.shape == (128, 128, 3)
    points = small.capture.vertices[12] @ own.head_to_camera[0, :3, :3].T
    points = points + own.head_to_camera[0, :3, 3]

    def pixels(K):
        projected = points @ K.T
        return projected[:, :2] / projected[:, 2:]

    np.testing.assert_allclose(pixels(double.K), 2 * pixels(own.K), rtol=1e-5)
    reference = np.array([[10.0, 20, 1], [50, 60, 1]])
    for one, two in zip(own.torso_motion, double.torso_motion):
        np.testing.assert_allclose(
            (reference * [2, 2, 1]) @ two.T, 2 * (reference @ one.T), rtol=1e-5
        )
    np.testing.assert_array_equal(double.torso_condition, own.torso_condition)
    shrunk = double.background.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(shrunk - own.background).mean() < 0.01


def test_backgrounds(ask, small):
    np.testing.assert_allclose(ask().background, small.capture.background / np.float32(255))
    green = ask(background=Background(kind="colour", colour=(0.0, 1.0, 0.0)), size=32)
    assert green.background.shape == (32, 32, 3) and np.all(green.background == [0, 1, 0])
    assert not ask(background=Background(kind="transparent")).background.any()
