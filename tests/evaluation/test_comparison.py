"""What counts as the face of a capture: landmarks, else its mesh, else its rectangle."""

import dataclasses

import numpy as np
from captures.importers.folders import adnerf, insta

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers.importing import import_capture
from jaxhead.evaluation.comparison import Truth, face_points
from jaxhead.heads.model import REGIONS


def test_landmarks_come_first(tmp_path):
    import_capture("adnerf", adnerf(tmp_path / "subject"), tmp_path / "capture")
    capture = load_capture(tmp_path / "capture")
    np.testing.assert_array_equal(face_points(capture, 1), capture.landmarks[1])
    bare = dataclasses.replace(capture, landmarks=np.zeros((6, 0, 2), np.float32))
    np.testing.assert_array_equal(face_points(bare, 1), [[3, 4], [13, 4], [3, 16], [13, 16]])
    person, face = Truth(bare, None).regions(1)
    assert person.any() and face[10, 8] and not face[10, 20] and not face[1, 8]
    nothing = dataclasses.replace(bare, face_rect=None)
    assert face_points(nothing, 1).shape == (0, 2)
    assert not Truth(nothing, None).regions(1)[1].any()


def test_a_mesh_shows_its_face(tmp_path):
    import_capture("insta", insta(tmp_path / "subject"), tmp_path / "capture")
    capture = load_capture(tmp_path / "capture")
    face = np.isin(capture.head.regions, [REGIONS.index(name) for name in ("face", "lips", "eyes")])
    points = face_points(capture, 0)
    assert face.any() and len(points) == face.sum()
    camera = capture.head_to_camera[0] @ np.append(capture.vertices[0][face][0], 1)
    np.testing.assert_allclose(points[0], (capture.K @ camera[:3])[:2] / camera[2], rtol=1e-5)
