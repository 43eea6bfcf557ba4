"""Regions and landmarks by a model of the same vertices, whose faces may be others."""

import numpy as np
import pytest
from captures.importers.folders import ellipsoid, insta, poses

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers import labels
from jaxhead.captures.importers.importing import import_capture
from jaxhead.files.errors import InputError
from jaxhead.heads.model import HeadModel


def model(faces, count=None):
    vertices = ellipsoid()[0][:count]
    none = np.zeros((0, *vertices.shape), np.float32)
    return HeadModel(
        template=vertices, faces=faces, identity_basis=none, expression_basis=none,
        uv=np.full((len(vertices), 2), 0.25, np.float32),
        regions=np.arange(len(vertices), dtype=np.int32) % 3,
        landmark_faces=np.array([2, 5, 7], np.int32),
        landmark_weights=np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.8, 0.1, 0.1]], np.float32),
    )  # fmt: skip


def test_a_subject_gets_what_the_model_names(tmp_path, monkeypatch):
    vertices, faces = ellipsoid()
    # The model lists its faces in another order and corner, and one of them is not in the meshes.
    own = np.roll(faces, 1, axis=1)[::-1].copy()
    given = model(own)
    own[7] = [0, 20, 41]
    monkeypatch.setattr(labels, "load_head", lambda spec: given)
    subject = insta(tmp_path / "subject")
    notes = import_capture("insta", subject, tmp_path / "out", head="flame:x")
    assert any("3 landmarks by flame:x, 1 of them at the nearest vertex" in n for n in notes)
    capture = load_capture(tmp_path / "out")
    np.testing.assert_array_equal(capture.head.regions, np.arange(len(vertices)) % 3)
    assert np.all(capture.head.uv == 0.25)
    mesh, pose = capture.vertices[1], poses()[1]
    wanted = np.stack([
        given.landmark_weights[k] @ mesh[own[face]] for k, face in enumerate((2, 5))
    ])
    camera = wanted @ pose[:3, :3].T + pose[:3, 3]
    pixels = camera[:, :2] / camera[:, 2:] * [60, 62] + [12.25, 11.5]
    np.testing.assert_allclose(capture.landmarks[1, :2], pixels, atol=1e-4)
    assert capture.head.landmark_weights[2].max() == 1


def test_a_model_of_other_vertices_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "load_head", lambda spec: model(ellipsoid()[1], 40))
    with pytest.raises(InputError, match="flame:x: 40 vertices, the meshes have 42"):
        import_capture("insta", insta(tmp_path / "s"), tmp_path / "out", head="flame:x")
    assert not (tmp_path / "out").exists()
