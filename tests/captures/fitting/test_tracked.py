"""From a followed face to the tracking of a capture, with a statistical head."""

import dataclasses

import numpy as np
import pytest
from captures.fitting.clips import CONFIG, FOCAL, seen, truth
from captures.fitting.small_heads import MARKS, small_body, small_head, small_marks
from scipy.spatial.transform import Rotation

from jaxhead.captures.crop import Crop
from jaxhead.captures.fitting.tracked import (
    Fittable,
    fit_clip,
    neck_turns,
    observe,
    pose_blocks,
    posed_arrays,
    tracking_of,
)
from jaxhead.captures.following import FaceTrack
from jaxhead.captures.writing import project
from jaxhead.files.errors import InputError

COUNT, SIZE = 25, (512, 640)


def followed(found=None):
    landmarks = np.zeros((COUNT, 478, 3), np.float32)
    landmarks[..., :2] = (seen(truth(COUNT)) + np.array(SIZE[::-1]) / 2) / np.array(SIZE[::-1])
    found = np.ones(COUNT, bool) if found is None else found
    landmarks[~found] = 0
    return FaceTrack(landmarks, np.zeros((COUNT, 52), np.float32), found, found.astype(int),
                     tuple(f"score{k}" for k in range(52)), SIZE)  # fmt: skip


def fittable():
    return Fittable(small_head(), small_body(), small_marks(), CONFIG, ("lid_left", "lid_right"))


@pytest.fixture(scope="module")
def tracked():
    found = np.ones(COUNT, bool)
    found[7] = False
    clip = observe(followed(found))
    fit = fit_clip(clip, fittable())
    return clip, fit, *tracking_of(fit, clip, fittable())


def test_a_capture_of_the_subject(tracked):
    clip, _, tracking, head = tracked
    assert clip.status[7] == 1 and clip.train.sum() == 20
    assert abs(tracking.focal / FOCAL - 1) < 0.08
    assert head.expression_names == tracking.names and len(tracking.names) == 5 + 2 + 9 + 3
    assert tracking.names[5:8] == ("lid_left", "lid_right", "jaw_x")
    assert tracking.names[-1] == "neck_z"
    assert tracking.scores.shape == (COUNT, 19) and tracking.basis.shape == (19, 260, 3)
    assert head.identity_basis.shape[0] == 0 and np.isclose(tracking.weights.sum(), 1)
    arrays = posed_arrays(tracking, Crop(64, 0, 512, 256))
    for frame in (0, 12, COUNT - 1):
        vertices = arrays["vertices"][frame]
        corners = np.asarray(head.faces)[head.landmark_faces]
        # The neck turns after the landmarks were fitted: what hangs on it moves.
        skull = np.asarray(small_body().weights)[corners][..., 0].max(1) < 0.01
        points = np.einsum("lc,lck->lk", head.landmark_weights, vertices[corners])
        pixels = project(points, arrays["K"], arrays["head_to_camera"][frame])
        error = pixels - arrays["landmarks"][frame][:MARKS]
        assert skull.sum() > 30 and np.sqrt((error[skull] ** 2).sum(-1).mean()) < 1.0


def test_scores_and_basis_make_nearly_the_posed_vertices(tracked):
    *_, tracking, head = tracked
    vertices = np.asarray(tracking.vertices)
    linear = head.template + np.einsum("ne,evk->nvk", tracking.scores, head.expression_basis)
    error = np.linalg.norm(linear - vertices, axis=-1).mean()
    moved = np.linalg.norm(vertices - head.template, axis=-1).mean()
    assert error < 0.25 * moved


def test_blocks_fill_up_and_cut_again(tracked):
    _, fit, *_ = tracked
    frames = fit.frames.astype(np.float32)
    body = small_body().replace(
        identity=np.zeros((0, 260, 3), np.float32), joint_identity=np.zeros((0, 5, 3), np.float32)
    )
    parts = list(pose_blocks(body, frames[:19], np.zeros((19, 3))))
    assert [len(part) for part in parts] == [16, 3]
    again = list(pose_blocks(body, frames[16:19], np.zeros((3, 3))))
    np.testing.assert_allclose(parts[1], again[0], atol=1e-6)


def test_the_neck_takes_its_share_of_the_turn():
    turn = np.linspace(-0.4, 0.4, 9)[:, None] * [[0, 1, 0]]
    rotation = np.diag([1.0, -1, -1]) @ Rotation.from_rotvec(turn).as_matrix()
    np.testing.assert_allclose(neck_turns(rotation, rotation, 0.5), 0.5 * turn, atol=1e-6)
    assert not neck_turns(rotation, rotation, 0.0).any()


def test_clips_without_a_face_are_refused_in_one_line():
    found = np.zeros(COUNT, bool)
    found[:5] = True
    with pytest.raises(InputError, match="in 5 of 25 frames, expected at least half"):
        observe(followed(found))
    found = np.arange(COUNT) >= 21
    with pytest.raises(InputError, match="a face was found in 4 of 25"):
        observe(followed(found))


def test_bounded_scores_stay_shares():
    config = dataclasses.replace(CONFIG, bounded=True)
    bounded = dataclasses.replace(fittable(), config=config)
    clip = observe(followed(np.arange(COUNT) != 7))
    tracking, _ = tracking_of(fit_clip(clip, bounded), clip, bounded)
    assert tracking.scores[:, :5].min() >= 0 and tracking.scores[:, :5].max() <= 1
