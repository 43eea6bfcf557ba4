"""From a real clip to a capture: a few frames, gaps, several faces, bad input."""

import dataclasses
import json

import numpy as np
import pytest

from jaxhead.captures.folder import Job, finished
from jaxhead.captures.format import load_capture
from jaxhead.captures.record import fitted_audio, record
from jaxhead.files.errors import InputError
from jaxhead.files.video import VideoWriter, decode

SIZE = 64


def write_clip(path, frames, seconds=None):
    audio = None
    if seconds is not None:
        audio = 0.1 * np.sin(np.arange(round(16000 * seconds)) / 9.0).astype(np.float32)
    with VideoWriter(path, 25.0, audio=audio, crf=10, preset="ultrafast") as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def frames(clips):
    pytest.importorskip("mediapipe")
    return list(decode(clips / "may_5s.mp4", max_frames=10))


@pytest.fixture(scope="module")
def capture(frames, assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    wide = [np.pad(f, ((0, 0), (0, 128), (0, 0)), mode="edge") for f in frames]
    wide[5] = wide[6] = np.full_like(wide[0], 120)  # nobody there
    video = write_clip(folder / "a clip.mp4", wide, seconds=0.3)
    record(video, folder / "capture", size=SIZE, assets=assets)
    return load_capture(folder / "capture")


@pytest.mark.clips
def test_shapes_and_status(capture):
    assert len(capture) == 10 and capture.size == (SIZE, SIZE)
    assert capture.vertices.shape[1] == len(capture.head.template) > 468
    assert capture.expression.shape[1] == 52 == len(capture.head.expression_names)
    assert capture.status.tolist() == [0] * 5 + [1, 1] + [0] * 3
    assert capture.info["interpolated"][0]["first"] == 5
    assert capture.train.tolist() == list(range(8)) and capture.test.tolist() == [8, 9]
    for name in ("torso_motion", "landmarks", "expression", "head_to_camera"):
        assert np.isfinite(getattr(capture, name)).all()


@pytest.mark.clips
def test_the_mesh_lies_on_the_landmarks(capture):
    for index in (0, 8, 9):
        pose, K = capture.head_to_camera[index], capture.K
        points = capture.vertices[index, :468] @ pose[:3, :3].T + pose[:3, 3]
        pixels = points[:, :2] / points[:, 2:] * K[0, 0] + K[:2, 2]
        assert np.abs(pixels - capture.landmarks[index, :468]).mean() < 0.25
    assert 5 < np.degrees(2 * np.arctan(SIZE / 2 / capture.K[0, 0])) < 60
    assert 0.3 < capture.head_to_camera[:, 2, 3].mean() < 3


@pytest.mark.clips
def test_masks_cover_the_face_and_not_the_corner(capture):
    masks = capture.masks(0)
    x, y = capture.landmarks[0, 1].astype(int)
    assert masks[y, x, 0] > 240 and masks[y, x, 1] > 240 and masks[y, x, 2] < 20
    assert masks[2, -3].max() < 20
    assert capture.masks(5)[..., 0].mean() < 60


@pytest.mark.clips
def test_sound_is_as_long_as_the_pictures_and_the_overlay_plays(capture):
    assert len(capture.audio()) == 10 * 640
    assert any("shorter" in note for note in capture.info["notes"])
    overlay = list(decode(capture.path / "overlay.mp4"))
    assert len(overlay) == 10 and overlay[0].shape[1] == 2 * overlay[0].shape[0]
    json.dumps(dict(capture.info), allow_nan=False)


@pytest.mark.clips
def test_no_face_at_all_is_an_error_and_leaves_nothing(frames, assets, tmp_path):
    video = write_clip(tmp_path / "empty.mp4", [np.full_like(frames[0], 90)] * 4)
    with pytest.raises(InputError, match=r"empty\.mp4: no face"):
        record(video, tmp_path / "capture", size=SIZE, assets=assets)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.mp4"]


@pytest.mark.clips
def test_one_frame_and_two_faces(frames, assets, tmp_path):
    small = frames[0][::2, ::2]
    both = np.concatenate([np.pad(small, ((128, 128), (0, 0), (0, 0))), frames[0]], 1)
    video = write_clip(tmp_path / "photo.mp4", [both])
    record(video, tmp_path / "capture", size=SIZE, assets=assets, overlay=False)
    capture = load_capture(tmp_path / "capture")
    assert len(capture) == 1 and capture.train.tolist() == [0] and not len(capture.test)
    assert capture.info["tracking"]["several_faces"] == 1
    assert capture.info["crop"]["left"] > 200 and capture.audio() is None
    assert not (capture.path / "overlay.mp4").exists()


def test_bad_size_and_existing_folder(tmp_path):
    with pytest.raises(InputError, match="size"):
        record(tmp_path / "x.mp4", tmp_path / "out", size=20000)
    with pytest.raises(InputError, match="x.mp4"):
        record(tmp_path / "x.mp4", tmp_path / "out")


@pytest.mark.parametrize(
    ("extra", "said"), [(0, None), (640, None), (-640, None), (16000, "longer"), (-4000, "shorter")]
)
def test_sound_is_fitted_to_the_frames(extra, said):
    samples = np.ones(16000 + extra, np.float32)
    fitted, notes = fitted_audio(samples, 25, 25.0)
    assert len(fitted) == 16000
    assert bool(notes) == (said is not None) and (said is None or said in notes[0])


def test_no_sound():
    assert fitted_audio(None, 25, 25.0)[0] is None


@pytest.mark.clips
def test_a_folder_that_is_done_again_knows_the_capture(capture, tmp_path):
    video = capture.path.parent / "a clip.mp4"
    job = Job("capture", str(video), str(capture.path), SIZE, 25.0, None)
    assert finished(job)
    with pytest.raises(InputError, match="of size 64"):
        finished(dataclasses.replace(job, size=128))
