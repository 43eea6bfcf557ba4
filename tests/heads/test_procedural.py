"""The procedural head: a closed human head whose expressions do what their names say."""

import importlib.util
import pathlib

import numpy as np
import pytest

from jaxhead.heads.model import head_from_arrays, head_landmarks, head_to_arrays, region_index
from jaxhead.heads.procedural import procedural_head
from jaxhead.heads.surface import FINE

_SPEC = importlib.util.spec_from_file_location(
    "mesh_laws", pathlib.Path(__file__).with_name("mesh_laws.py")
)
mesh_laws = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mesh_laws)


@pytest.fixture(scope="module")
def head():
    return procedural_head()


def _at(head, **scores):
    vertices = head.template.copy()
    for name, score in scores.items():
        vertices += score * head.expression_basis[head.expression_names.index(name)]
    return vertices


def test_surface_is_closed_outward_and_does_not_cross_itself(head):
    border = mesh_laws.border_edges(head.faces)
    assert head.template[np.unique(border), 1].max() < -0.2  # one ring: the neck's bottom
    assert 0.003 < mesh_laws.signed_volume(head.template, head.faces) < 0.007  # m^3
    assert mesh_laws.intersecting_pairs(head.template, head.faces) == []


def test_head_is_symmetric_and_of_human_size(head):
    upper = head.template[head.template[:, 1] > -0.09]
    assert 0.15 < np.ptp(upper[:, 0]) < 0.17
    assert 0.19 < np.ptp(upper[np.abs(upper[:, 1] - 0.05) < 0.02, 2]) < 0.22
    mirrored = head.template * [-1, 1, 1]
    np.testing.assert_allclose(np.sort(mirrored[:, 0]), np.sort(head.template[:, 0]), atol=1e-5)


def test_expressions_have_unique_names_and_move_what_they_name(head):
    assert len(set(head.expression_names)) == len(head.expression_names) >= 15
    assert np.isfinite(head.expression_basis).all()
    lips, crown = head.regions == region_index(head, "lips"), head.template[:, 1] > 0.04
    opened = _at(head, jawOpen=1.0) - head.template
    assert opened[lips, 1].min() < -0.015 and np.abs(opened[crown]).max() < 1e-4
    smile = _at(head, mouthSmileLeft=1.0) - head.template
    corner = np.argmax(smile[:, 1] * lips)
    assert head.template[corner, 0] > 0.015 and smile[corner, 1] > 0.004
    blink = _at(head, eyeBlinkLeft=1.0) - head.template
    assert blink[head.template[:, 0] < 0].max() == 0 and blink[:, 1].min() < -0.006


def test_left_and_right_mirror_each_other(head):
    for name in ("mouthSmile", "eyeBlink", "browDown"):
        left = head.expression_basis[head.expression_names.index(name + "Left")]
        right = head.expression_basis[head.expression_names.index(name + "Right")]
        np.testing.assert_allclose(np.sort(left[:, 0]), np.sort(-right[:, 0]), atol=2e-5)
        np.testing.assert_allclose(np.sort(left[:, 1]), np.sort(right[:, 1]), atol=2e-5)


def test_closed_lids_meet(head):
    model = procedural_head(detail=FINE, eyelids=False)
    border = np.unique(mesh_laws.border_edges(model.faces))
    left = border[(model.template[border, 0] > 0.01) & (model.template[border, 1] > 0)]
    closed = _at(model, eyeBlinkLeft=1.0)[left]
    opened = model.template[left]
    middle = np.abs(opened[:, 0] - 0.0315) < 0.002
    assert np.ptp(opened[middle, 1]) > 0.008 and np.ptp(closed[middle, 1]) < 0.002


def test_landmarks_lie_on_the_face_and_the_model_round_trips(head):
    landmarks = head_landmarks(head, head.template)
    assert landmarks.shape == (len(head.landmark_faces), 3) and np.min(landmarks[:, 2]) > 0
    again = head_from_arrays(head_to_arrays(head))
    np.testing.assert_array_equal(again.expression_basis, head.expression_basis)
    assert again.name == "procedural"
