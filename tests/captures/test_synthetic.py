"""The synthetic capture: valid, deterministic, and its truth agrees with itself."""

import filecmp

import numpy as np
import pytest
from PIL import Image

from jaxhead.captures.format import load_capture
from jaxhead.captures.synthetic import load_truth, synthesize
from jaxhead.files.errors import InputError
from jaxhead.files.offline import without_reports
from jaxhead.geometry.rasterise import interpolate, rasterise

SIZE = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic") / "made"
    return synthesize(path, frames=10, size=SIZE, seed=3, novel_frames=1)


@pytest.fixture(scope="module")
def capture(folder):
    return load_capture(folder)


def _camera(points, pose):
    return points @ pose[:3, :3].T + pose[:3, 3]


def _pixels(points, K):
    return points[:, :2] / points[:, 2:] * K[0, 0] + K[:2, 2]


def test_capture_is_valid_and_complete(capture):
    assert len(capture) == 10 and capture.size == (SIZE, SIZE)
    assert capture.train.tolist() == list(range(8)) and capture.test.tolist() == [8, 9]
    assert len(capture.head.expression_names) >= 15
    assert abs(len(capture.audio()) - 10 / 25 * 16000) <= 640
    assert capture.expression.min() >= 0 and capture.expression.max() <= 1
    assert not (capture.status.any())


def test_masks_split_the_person(capture):
    person, head, torso = np.moveaxis(capture.masks(0).astype(float), -1, 0)
    np.testing.assert_allclose(head + torso, person, atol=1.01)
    assert 0.15 < (head > 127).mean() < 0.45 and 0.08 < (torso > 127).mean() < 0.4
    outside = person == 0
    difference = np.abs(capture.frame(0).astype(int) - capture.background.astype(int))
    assert difference[outside].max() <= 1


def test_tracked_mesh_lies_on_the_picture_and_the_depth(capture, folder):
    truth = load_truth(folder)
    frame = int(truth.frame_ids[0])
    nose = int(np.argmax(capture.vertices[frame, :, 2]))
    points = _camera(capture.vertices[frame], capture.head_to_camera[frame])
    column, row = _pixels(points, capture.K)[nose].astype(int)
    assert abs(truth.frame_depth[0, row, column] - points[nose, 2]) < 3e-3
    head = capture.masks(frame)[..., 1] > 0
    for x, y in capture.landmarks[frame]:
        assert head[int(y), int(x)]


def test_novel_views_have_the_stated_yaw_and_see_the_same_head(capture, folder):
    truth = load_truth(folder)
    assert sorted(truth.yaw_degrees.tolist()) == [-45, -30, 30, 45]
    for view, pose in enumerate(truth.head_to_camera):
        turn = np.diag([1, -1, -1]) @ pose[:3, :3]
        yaw = np.degrees(np.arctan2(turn[0, 2], turn[2, 2]))
        assert abs(yaw - truth.yaw_degrees[view]) < 0.2
        frame = truth.view_ids[view]
        nose = int(np.argmax(capture.vertices[frame, :, 2]))
        points = _camera(capture.vertices[frame], pose)
        column, row = _pixels(points, capture.K)[nose].astype(int)
        assert abs(truth.depth[view, row, column] - points[nose, 2]) < 6e-3
        assert truth.masks[view, row, column, 1] > 0


@pytest.mark.long
def test_depth_is_the_mesh_s_at_the_pixel_s_centre(capture, folder):
    truth, faces = load_truth(folder), np.asarray(capture.head.faces)
    for view, pose in enumerate(truth.head_to_camera):
        points = _camera(capture.vertices[truth.view_ids[view]], pose)
        size = truth.depth.shape[1:]
        face, weights, _ = rasterise(
            _pixels(points, capture.K), points[:, 2], faces, size, cull="back"
        )
        depth = np.asarray(interpolate(points[:, 2:], faces, face, weights))[..., 0]
        off = (truth.depth[view] - depth)[(np.asarray(face) >= 0) & (truth.depth[view] > 0)]
        on_mesh = off[np.abs(off) < 0.01]
        assert len(on_mesh) > 0.3 * len(off)
        assert abs(np.median(on_mesh)) < 1e-4  # the nearest in a pixel is 0.8 mm before it


def test_torso_moves_on_its_own(capture):
    motion = capture.torso_motion
    np.testing.assert_allclose(motion[0], [[1, 0, 0], [0, 1, 0]], atol=1e-4)
    assert np.abs(motion[-1, :, 2]).max() > 0.05


@pytest.mark.long
def test_the_seed_fixes_the_folder(folder, tmp_path):
    again = synthesize(tmp_path / "again", frames=10, size=SIZE, seed=3, novel_frames=1)
    names = ["capture.json", "tracking.npz", "audio.wav", "frames/000004.png", "background.png"]
    names += ["truth/frames/000002.png", "truth/truth.npz"]
    _, differing, missing = filecmp.cmpfiles(folder, again, names, shallow=False)
    assert not differing and not missing


@pytest.mark.parametrize(
    "options,named",
    [
        ({"frames": 1}, "frames=1"),
        ({"size": 8}, "size=8"),
        ({"novel_yaw_degrees": 91}, "novel_yaw"),
        ({"speech": "song"}, "speech='song'"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path, options, named):
    with pytest.raises(InputError, match=named):
        synthesize(tmp_path / "made", **options)
    assert not (tmp_path / "made").exists()


def test_another_speech_moves_the_mouth_and_nothing_else_by_itself(folder, capture):
    from jaxhead.captures.synthetic_motion import act

    plain, phonemes = (
        act(frames=100, fps=25.0, seed=3, yaw_range_degrees=15.0, speech=speech)
        for speech in ("syllables", "phonemes")
    )
    assert np.array_equal(plain.torso_to_camera, phonemes.torso_to_camera)
    assert np.array_equal(plain.yaw_degrees, phonemes.yaw_degrees)
    assert np.abs(plain.speech.samples - phonemes.speech.samples).max() > 0.1
    names = capture.head.expression_names
    mouth = names.index("jawOpen")
    assert 0.3 < phonemes.expression[:, mouth].max() <= 0.62
    np.testing.assert_array_equal(
        plain.expression[:, names.index("eyeBlinkLeft")],
        phonemes.expression[:, names.index("eyeBlinkLeft")],
    )


def test_existing_folder_and_missing_truth_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="made"):
        synthesize(folder, frames=2, size=16)
    with pytest.raises(InputError, match="truth"):
        load_truth(tmp_path)


def test_the_landmark_model_finds_the_face(folder, assets):
    mediapipe = pytest.importorskip("mediapipe")
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    from mediapipe.tasks.python import BaseOptions

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(assets / "face_landmarker.task"))
    )
    truth = load_truth(folder)
    pictures = [load_capture(folder).frame(0), *truth.frames]
    with without_reports(), vision.FaceLandmarker.create_from_options(options) as landmarker:
        for picture in pictures:
            # The detector expects faces of more than a few dozen pixels.
            large = np.asarray(
                Image.fromarray(picture).resize((256, 256), Image.Resampling.BICUBIC)
            )
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=large)
            assert landmarker.detect(image).face_landmarks
