"""What a run takes from its capture: normalised conditions, boxes, regions."""

import dataclasses
import json

import numpy as np
import pytest

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers.importing import import_capture
from jaxhead.captures.insta_export import export_insta
from jaxhead.captures.pose_predictor import POSE
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar.inputs import (
    AvatarSpec,
    expression_components,
    expression_condition,
    frame_condition,
    prepare,
    region_masks,
    torso_condition,
)
from jaxhead.training.configuration import from_document


def test_conditions_are_whitened_over_the_training_frames(small):
    capture = small.capture
    condition = expression_condition(small.inputs, capture.expression, capture.vertices)
    assert condition.shape == (len(capture), small.spec.components - POSE)
    train = condition[capture.train]
    np.testing.assert_allclose(train.mean(0), 0, atol=2e-3)
    np.testing.assert_allclose(np.cov(train.T), np.eye(train.shape[1]), atol=5e-3)


def test_the_head_s_pose_is_the_condition_s_end(small):
    capture, inputs = small.capture, small.inputs
    frames = (capture.expression, capture.vertices, capture.head_to_camera)
    condition = frame_condition(inputs, *frames, small.config)
    assert condition.shape == (len(capture), small.spec.components)
    expression = expression_condition(inputs, capture.expression, capture.vertices)
    np.testing.assert_array_equal(condition[:, :-POSE], expression)
    pose = condition[capture.train][:, -POSE:]
    np.testing.assert_allclose(pose.mean(0), 0, atol=0.05)
    assert np.all((pose.std(0) > 0.9) & (pose.std(0) < 1.01))
    field = dataclasses.replace(small.config.field, pose=False)
    without = frame_condition(inputs, *frames, dataclasses.replace(small.config, field=field))
    np.testing.assert_array_equal(without, expression)


def test_without_sway_nothing_sways(small):
    sway = np.random.default_rng(0).normal(size=(15, 4, 4, 2)).astype(np.float32)
    capture = dataclasses.replace(small.capture, sway=sway)
    _, arrays = prepare(capture, small.config)
    np.testing.assert_array_equal(arrays["sway"], sway)
    assert arrays["sway_predictor/weights"].shape == (POSE, 32)
    surface = dataclasses.replace(small.config.surface, sway=False)
    _, arrays = prepare(capture, dataclasses.replace(small.config, surface=surface))
    assert arrays["sway"].shape == (15, 2, 2, 2) and not arrays["sway"].any()


def test_components_are_no_more_than_the_frames_span():
    random = np.random.default_rng(0)
    rank = random.uniform(size=(40, 3))
    scores, shapes = rank @ random.uniform(size=(3, 9)), rank @ random.uniform(size=(3, 12))
    assert expression_components(scores, shapes, 12)["expression_scale"].shape == (3,)
    assert expression_components(scores, shapes, 2)["expression_components"].shape == (2, 21)
    still = expression_components(np.full((7, 9), 0.3), np.ones((7, 12)), 12)
    assert still["expression_components"].shape == (0, 21)


def test_lids_that_move_little_are_told_apart_from_a_jaw_that_moves_much():
    random = np.random.default_rng(0)
    jaw, blink = random.normal(size=(2, 60, 1))
    lids = np.arange(30) >= 27
    shapes = np.where(lids, 5e-4 * blink, 1e-2 * jaw * random.uniform(0.5, 1, 30))
    # No score names the blink, and there is more noise than it moves the skin.
    scores = 0.1 * jaw + random.normal(size=(60, 6)) * 0.1
    unexplained = []
    for known in (lids, None):
        arrays = expression_components(scores, shapes, 3, known)
        features = np.concatenate([scores, shapes], -1) - arrays["expression_mean"]
        condition = features @ arrays["expression_components"].T
        _, residual, *_ = np.linalg.lstsq(condition, blink - blink.mean(), rcond=None)
        unexplained.append(float(residual[0] / np.sum((blink - blink.mean()) ** 2)))
    assert unexplained[0] < 0.05 and unexplained[1] > 0.5, unexplained
    shapes[:, lids] = 1e-6 * random.normal(size=(60, 3))
    still = expression_components(scores, shapes, 3, lids)
    without = expression_components(scores, shapes, 3)
    np.testing.assert_allclose(still["expression_scale"], without["expression_scale"], rtol=1e-3)


def test_torso_conditions_are_normalised_over_the_training_frames(small):
    condition = torso_condition(small.inputs, small.capture.torso_motion, small.spec.size)
    train = condition[small.capture.train]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-3)
    assert np.all(train.std(0) < 1.01)


def test_the_region_holds_the_head_and_its_box_holds_the_region(capture):
    masks, box = region_masks(capture.masks(0))
    np.testing.assert_array_equal(masks[..., :3], capture.masks(0))
    near = masks[..., 3] > 0
    assert set(np.unique(masks[..., 3])) <= {0, 255}
    assert np.all(near[masks[..., 1] > 12]) and near.sum() > (masks[..., 1] > 12).sum()
    rows, columns = np.nonzero(near)
    assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    _, whole = region_masks(np.zeros((20, 30, 3), np.uint8))
    assert whole.tolist() == [0, 0, 30, 20]


def test_boxes_hold_all_training_meshes(small):
    meshes = small.capture.vertices[small.capture.train]
    for name, margin in (("box", small.config.surface.margin), ("surface_box", 0.01)):
        low, high = small.inputs[name]
        assert np.all(meshes.min((0, 1)) >= low + 0.99 * margin)
        assert np.all(meshes.max((0, 1)) <= high - 0.99 * margin)
    sides = np.diff(small.inputs["surface_box"], axis=0)[0]
    voxels = sides / np.array(small.spec.shape[::-1])
    np.testing.assert_allclose(voxels, voxels[0], rtol=1e-3)
    assert max(small.spec.shape) == small.config.surface.resolution


def test_the_spec_survives_json(small):
    document = json.loads(json.dumps(dataclasses.asdict(small.spec)))
    again = from_document(AvatarSpec, document)
    assert again == small.spec and hash(again) == hash(small.spec)


def test_held_out_frames_change_nothing_that_is_shared(small):
    capture, test = small.capture, small.capture.test
    changed = {}
    for name in ("expression", "vertices", "torso_motion"):
        changed[name] = getattr(capture, name).copy()
        changed[name][test] += 0.2
    poses = capture.head_to_camera.copy()
    poses[test, :3, 3] += 0.1
    other = dataclasses.replace(capture, head_to_camera=poses, **changed)
    spec, inputs = prepare(other, small.config)
    assert spec == small.spec
    for name, value in inputs.items():
        if name not in (*changed, "head_to_camera"):
            np.testing.assert_array_equal(value, small.inputs[name], err_msg=name)


def test_a_capture_without_a_training_frame_is_refused(small):
    empty = dataclasses.replace(small.capture, train=np.zeros(0, np.int32))
    with pytest.raises(InputError, match="no usable training frame"):
        prepare(empty, small.config)


def test_a_capture_without_a_mesh_is_refused(small):
    bare = dataclasses.replace(
        small.capture, vertices=np.zeros((len(small.capture), 0, 3), np.float32),
        info={**small.capture.info, "source": {"format": "radnerf"}},
    )  # fmt: skip
    with pytest.raises(InputError, match="no head mesh .*radnerf"):
        prepare(bare, small.config)


def test_an_imported_capture_is_prepared_like_any_other(small, tmp_path):
    """Cut-outs over white, without landmarks, torso or sway."""
    export_insta(small.folder, tmp_path / "insta")
    import_capture("insta", tmp_path / "insta", tmp_path / "capture")
    capture = load_capture(tmp_path / "capture")
    spec, inputs = prepare(capture, small.config)
    assert (spec.size, spec.train_frames) == (small.spec.size, small.spec.train_frames)
    np.testing.assert_allclose(spec.box, small.spec.box, atol=1e-6)
    assert inputs["occupancy"].any() and not inputs["torso_measured"].any()
    for name, value in inputs.items():
        assert value.dtype.kind != "f" or np.isfinite(value).all(), name
