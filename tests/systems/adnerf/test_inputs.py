"""What a run takes from its capture: rectangles, mouths, boxes, and nothing of held-out frames."""

import dataclasses
import json

import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.systems.adnerf.inputs import AdnerfSpec, pose_numbers, prepare
from jaxhead.systems.adnerf.mouth import mouth_numbers, rest_numbers
from jaxhead.systems.adnerf.regions import face_rectangles, mask_rectangle, regions_of
from jaxhead.systems.adnerf.space import space_arrays
from jaxhead.training.configuration import from_document
from tests.systems.adnerf.conftest import FAST


@pytest.fixture(scope="module")
def prepared(capture):
    return prepare(capture, FAST)


def test_the_spec_survives_json(prepared):
    spec, _ = prepared
    assert from_document(AdnerfSpec, json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert spec.width == 83 and spec.rate == 50 and spec.measured == 3 and 1 <= spec.rest <= 2


def test_held_out_frames_give_their_pose_and_nothing_else(capture, prepared):
    changed = {}
    for name in ("expression", "vertices", "torso_motion", "sway"):
        changed[name] = getattr(capture, name).copy()
        changed[name][capture.test] += 0.2
    spec, inputs = prepare(dataclasses.replace(capture, **changed), FAST)
    assert spec == prepared[0]
    for name, value in inputs.items():
        np.testing.assert_array_equal(value, prepared[1][name], err_msg=name)
    assert not inputs["mouth"][capture.test].any() and not inputs["rest"][capture.test].any()
    assert len(inputs["torso_motion"]) == len(inputs["sway"]) == len(capture.train)


def test_numbers_are_in_deviations_over_the_training_frames(capture, prepared):
    _, inputs = prepared
    train = capture.train
    for numbers in (inputs["mouth"][train], pose_numbers(inputs, capture.head_to_camera[train])):
        np.testing.assert_allclose(numbers.std(0), 1, atol=0.05)
    np.testing.assert_allclose(np.median(inputs["rest"][train], 0), 0, atol=1e-5)
    # The rest is what the mouth does not tell.
    mixed = np.corrcoef(inputs["mouth"][train].T, inputs["rest"][train].T)[:3, 3:]
    assert np.abs(mixed).max() < 0.5


def test_a_capture_without_meshes_has_no_measured_mouth_and_a_box_around_its_silhouettes(
    capture, prepared
):
    bare = dataclasses.replace(
        capture, vertices=np.zeros((len(capture), 0, 3), np.float32),
        expression=np.zeros((len(capture), 0), np.float32),
    )
    mouth, found = mouth_numbers(bare, 3)
    assert mouth.shape == (15, 0) and found["mouth_scale"].shape == (0,)
    assert rest_numbers(bare, mouth, 2).shape == (15, 0)
    arrays = space_arrays(bare, FAST.hash.sampling)
    low, high = arrays["box"]
    meshes = capture.vertices[capture.train].reshape(-1, 3)
    head = meshes[:, 1] > np.quantile(meshes[:, 1], 0.3)
    inside = np.all((meshes[head] > low) & (meshes[head] < high), -1)
    assert inside.mean() > 0.95 and np.all(high - low < 1.0)
    assert arrays["occupancy"].any() and not arrays["solid"].any()
    assert np.all(arrays["skin"][..., 2:] == 1)
    spec, _ = prepare(bare, FAST)
    assert spec.measured == spec.rest == 0


def test_the_face_rectangle_follows_the_published_rule():
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(40, 80, (5, 68, 2))
    landmarks[:, 27, 1], landmarks[:, 8, 1] = 55.0, 85.0
    rects = face_rectangles(landmarks, (128, 128))
    for marks, (x, y, w, h) in zip(landmarks, rects):
        low, high = marks[:, 0].min(), marks[:, 0].max()
        cx, cy = int((low + high) / 2), 55
        half_width, half_height = int((high - cx) * 1.5), int((85.0 - cy) * 1.15)
        assert (x, y) == (max(0, cx - half_width), max(0, cy - half_height))
        assert w == min(127 - x, 2 * half_width) and h == min(127 - y, 2 * half_height)
    far = face_rectangles(landmarks + 100, (128, 128))
    assert np.all(far[:, 2:] >= 1) and np.all(far[:, :2] < 128)


def test_mouth_and_eyes_lie_in_the_face(capture, prepared):
    _, inputs = prepared
    mouth, eyes, face = (inputs[n] for n in ("mouth_boxes", "eye_boxes", "face_rects"))
    assert np.all(mouth[:, 1] > eyes[..., 1].max(1)) and np.all(mouth[:, 2] > mouth[:, 0])
    assert np.all(mouth[:, 0] > face[:, 0]) and np.all(mouth[:, 2] < face[:, 0] + face[:, 2] + 1)


def test_without_landmarks_the_head_says_where_the_face_is():
    mask = np.zeros((40, 60, 3), np.uint8)
    mask[10:30, 20:40, 1] = 255
    found = regions_of(np.zeros((2, 0, 2)), lambda frame: mask, (40, 60))
    np.testing.assert_array_equal(found["face_rects"], [[20, 10, 20, 20]] * 2)
    np.testing.assert_allclose(found["mouth_boxes"][0], [26, 22, 34, 27])
    assert found["eye_boxes"].shape == (2, 2, 4)
    assert mask_rectangle(np.zeros((4, 6), np.uint8)).tolist() == [0, 0, 6, 4]


def test_a_capture_without_a_training_frame_is_refused(capture):
    empty = dataclasses.replace(capture, train=np.zeros(0, np.int32))
    with pytest.raises(InputError, match="no usable training frame"):
        prepare(empty, FAST)
