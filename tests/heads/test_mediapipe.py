"""The closed head: a closed surface of human size that follows the face smoothly."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.heads.mediapipe import (
    FACE_VERTICES,
    _nearest_rotation,
    canonical_face,
    closed_head,
    extend_vertices,
)
from jaxhead.heads.model import head_landmarks, region_index

_SPEC = importlib.util.spec_from_file_location(
    "mesh_laws", pathlib.Path(__file__).with_name("mesh_laws.py")
)
mesh_laws = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mesh_laws)


@pytest.fixture(scope="module")
def head(assets):
    face = canonical_face(assets / "face_landmarker.task")
    return face, *closed_head(face)


def _open_jaw(vertices, degrees):
    """A crude jaw: rotation about the hinge below a line, sharp between the lips."""
    x, y, _ = vertices.T
    step = lambda t: np.clip(t, 0, 1) ** 2 * (3 - 2 * np.clip(t, 0, 1))  # noqa: E731
    soft = step((-y - 0.01) / 0.045) * step(np.abs(x) / 0.02)
    centre = step((0.035 - np.abs(x)) / 0.013)
    weight = ((1 - centre) * soft + centre * (y < -0.0425))[:, None]
    hinge = np.array([0, 0.005, -0.03])
    turned = Rotation.from_euler("x", degrees, degrees=True).apply(vertices - hinge) + hinge
    return (vertices + weight * (turned - vertices)).astype(np.float32)


def test_surface_is_closed_outward_and_does_not_cross_itself(head):
    _, model, _ = head
    border = mesh_laws.border_edges(model.faces)
    assert len(border) == 36
    assert model.template[np.unique(border), 1].max() < -0.19  # the neck's bottom ring
    assert 0.004 < mesh_laws.signed_volume(model.template, model.faces) < 0.008  # m^3
    assert mesh_laws.intersecting_pairs(model.template, model.faces) == []


def test_size_is_a_human_head(head):
    _, model, _ = head
    skull = model.template[model.regions == region_index(model, "scalp")]
    breadth = 2 * np.abs(skull[:, 0]).max()
    length = model.template[9, 2] - skull[:, 2].min()  # from the glabella
    height = skull[:, 1].max() - model.template[152, 1]  # from the chin
    assert 0.15 < breadth < 0.17 and 0.19 < length < 0.21 and 0.22 < height < 0.25
    for name in ("face", "lips", "eyes", "ears", "scalp", "neck", "mouth"):
        assert (model.regions == region_index(model, name)).sum() >= 16, name


def test_landmarks_are_the_tracked_vertices(head):
    _, model, _ = head
    np.testing.assert_allclose(
        head_landmarks(model, model.template), model.template[:FACE_VERTICES], atol=1e-7
    )


def test_canonical_face_gives_the_template_and_similarities_commute(head):
    face, model, extension = head
    np.testing.assert_allclose(extend_vertices(extension, face.vertices), model.template, atol=1e-6)
    turn = Rotation.from_rotvec([0.7, -1.2, 2.0]).as_matrix().astype(np.float32)
    move = lambda v: 1.3 * v @ turn.T + np.float32([0.1, -0.4, 0.8])  # noqa: E731
    got = extend_vertices(extension, np.stack([move(face.vertices)] * 2))
    np.testing.assert_allclose(got[1], move(model.template), atol=3e-6)


def test_jaw_moves_the_throat_and_the_bag_but_not_the_skull(head):
    face, model, extension = head
    opened = np.asarray(jax.jit(extend_vertices)(extension, _open_jaw(face.vertices, 10.0)))
    moved = np.linalg.norm(opened - model.template, axis=1)
    extra = np.arange(len(moved)) >= FACE_VERTICES
    assert moved[extra & (model.template[:, 1] > 0.04)].max() < 1e-3
    bag = model.regions == region_index(model, "mouth")
    assert moved[bag].max() > 8e-3 and moved[bag].min() < 1e-3
    assert moved[extra & (model.regions == region_index(model, "face"))].max() > 8e-3
    assert mesh_laws.intersecting_pairs(opened, model.faces) == []


def test_gradient_is_finite_and_noise_is_not_blown_up(head):
    face, model, extension = head
    gradient = jax.grad(lambda v: (extend_vertices(extension, v) ** 2).sum())(
        jnp.asarray(face.vertices)
    )
    assert np.isfinite(gradient).all()
    noise = 5e-4 * np.random.default_rng(0).standard_normal((20, FACE_VERTICES, 3))
    noisy = extend_vertices(extension, (face.vertices + noise).astype(np.float32))
    assert np.abs(noisy - model.template)[:, FACE_VERTICES:].std() < 5e-4


def test_nearest_rotation_agrees_with_the_singular_value_decomposition():
    matrices = np.random.default_rng(2).standard_normal((50, 3, 3)).astype(np.float32)
    matrices[np.linalg.det(matrices) < 0] *= -1
    left, _, right = np.linalg.svd(matrices.astype(np.float64))
    np.testing.assert_allclose(_nearest_rotation(jnp.asarray(matrices)), left @ right, atol=1e-4)
