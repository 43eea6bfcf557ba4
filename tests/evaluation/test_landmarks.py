"""Figures of the landmark model on renders."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.evaluation import landmarks
from jaxhead.evaluation.landmarks import FaceReading


def _reading(shift=0.0, score=0.2, degrees=0.0):
    points = np.random.default_rng(0).uniform(0, 50, (468, 2))
    points[33], points[263] = (10.0, 20.0), (40.0, 60.0)  # 50 pixels apart
    turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    return FaceReading(points + [shift, 0.0], np.full(52, score), turn)


def test_errors_of_a_moved_face():
    errors = landmarks.face_errors(_reading(5.0, 0.3, 12.0), _reading())
    assert errors["landmark_distance_pixels"] == pytest.approx(5.0)
    assert errors["landmark_distance"] == pytest.approx(0.1)
    assert errors["blendshape_error"] == pytest.approx(0.1)
    assert errors["pose_error"] == pytest.approx(12.0)
    assert errors["faces_found"] == 1.0


def test_missing_faces():
    lost = landmarks.face_errors(None, _reading())
    assert lost["faces_found"] == 0.0 and math.isnan(lost["pose_error"])
    unknown = landmarks.face_errors(_reading(), None)
    assert all(math.isnan(value) for value in unknown.values())
    means = landmarks.mean_errors([lost, landmarks.face_errors(_reading(5.0), _reading()), unknown])
    assert means["faces_found"] == 0.5
    assert means["landmark_distance"] == pytest.approx(0.1)
    assert "reasons" not in means


def test_an_absent_model_is_null_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXHEAD_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAXHEAD_CACHE", str(tmp_path))
    with landmarks.face_reader(str(tmp_path)) as (reader, reason):
        assert reader is None
        assert "face_landmarker" in reason and "\n" not in reason
    means = landmarks.mean_errors([], reason)
    assert all(means[name] is None for name in landmarks.FIGURES)
    assert means["reasons"] == dict.fromkeys(landmarks.FIGURES, reason)


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 90.0, 179.9, 180.0])
def test_rotation_angle(degrees):
    a = Rotation.from_rotvec([0.3, 1.0, -0.2]).as_matrix()
    b = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.0, 0.8])).as_matrix() @ a
    assert landmarks.rotation_angle(a, b) == pytest.approx(degrees, abs=1e-5)


def test_the_model_reads_a_real_face(assets, clips):
    from jaxhead.files.images import read_image

    picture = read_image(clips / "macron.png")
    with landmarks.face_reader(str(assets)) as (reader, reason):
        if reader is None:
            pytest.skip(reason)
        face, nothing = reader(picture), reader(np.zeros((64, 64, 3), np.uint8))
    assert nothing is None
    assert face.landmarks.shape == (468, 2) and face.scores.shape == (52,)
    np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-6)
    inside = (face.landmarks > 0) & (face.landmarks < picture.shape[1::-1])
    assert inside.mean() > 0.95
