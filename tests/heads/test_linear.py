"""Linear head models of anybody's making: a minimal file, a full one, and wrong ones."""

import jax
import numpy as np
import pytest

from jaxhead.files.arrays import write_npz
from jaxhead.files.errors import InputError
from jaxhead.heads.linear import read_linear
from jaxhead.heads.model import head_landmarks, head_to_arrays, head_vertices

FACES = np.array([[0, 1, 2], [2, 1, 3], [0, 2, 4]])


def small(**arrays) -> dict[str, np.ndarray]:
    template = np.random.default_rng(0).normal(size=(6, 3))
    return {"template": template, "faces": FACES} | arrays


def read(tmp_path, **arrays):
    path = tmp_path / "dog.npz"
    write_npz(path, small(**arrays))
    return read_linear(path)


def test_template_and_faces_are_enough(tmp_path):
    head = read(tmp_path)
    model = head.model
    np.testing.assert_allclose(head_vertices(model, None, None), small()["template"], atol=1e-6)
    assert model.identity_basis.shape == model.expression_basis.shape == (0, 6, 3)
    assert model.name == "linear" and model.skeleton is None and model.expression_names == ()
    assert head_landmarks(model, model.template).shape == (0, 3)
    assert model.uv.min() >= 0 and model.uv.max() <= 1
    assert head.landmark_indices is head.lids is head.contour is None and head.lid_names == ()


def everything() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    weights = rng.uniform(size=(6, 2))
    return {
        "name": np.array("dog"),
        "identity_basis": rng.normal(size=(2, 6, 3)),
        "identity_scale": np.array([2.0, 3.0]),
        "expression_basis": rng.normal(size=(3, 6, 3)),
        "expression_names": np.array(["bark", "pant", "sniff"]),
        "metres_per_unit": np.array(0.001),
        "landmark_vertices": np.array([3, 0, 4]),
        "landmark_indices": np.array([1, 33, 263]),
        "regions": np.array([0, 1, 1, 0, 0, 0]),
        "region_names": np.array(["face", "snout"]),
        "lids": rng.normal(size=(1, 6, 3)),
        "lid_names": np.array(["third"]),
        "skeleton_parents": np.array([-1, 0]),
        "skeleton_joint_regressor": np.eye(2, 6),
        "skeleton_weights": weights / weights.sum(1, keepdims=True),
        "skeleton_pose_basis": rng.normal(size=(9, 6, 3)),
        "contour_faces": np.zeros((79, 17), np.int64),
        "contour_weights": np.full((79, 17, 3), 1 / 3),
    }


def test_an_animal_with_everything_is_posed_in_metres(tmp_path):
    arrays = everything()
    head = read(tmp_path, **arrays)
    model = head.model
    np.testing.assert_allclose(model.template, 0.001 * small()["template"], atol=1e-8)
    scaled = 0.001 * arrays["identity_basis"] * np.array([2, 3])[:, None, None]
    np.testing.assert_allclose(model.identity_basis, scaled, atol=1e-8)
    assert model.expression_names == ("bark", "pant", "sniff") and model.name == "dog"
    np.testing.assert_array_equal(head.landmark_indices, [1, 33, 263])
    np.testing.assert_allclose(head.lids, 0.001 * arrays["lids"], atol=1e-8)
    assert head.lid_names == ("third",) and head.contour[0].shape == (79, 17)
    bark, turned = np.float32([1, 0, 0]), np.tile(np.eye(3, dtype=np.float32), (2, 1, 1))

    @jax.jit
    def points(turned):
        return head_landmarks(model, head_vertices(model, None, bark, turned))

    expected = 0.001 * (small()["template"] + arrays["expression_basis"][0])
    np.testing.assert_allclose(points(turned), expected[[3, 0, 4]], atol=1e-7)
    turned[1] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    assert np.abs(points(turned) - expected[[3, 0, 4]]).max() > 1e-4


def test_components_of_scans_as_the_documentation_has_them(tmp_path):
    scans = 100 * np.random.default_rng(2).normal(size=(5, 6, 3))
    mean = scans.mean(0)
    _, sizes, axes = np.linalg.svd((scans - mean).reshape(len(scans), -1), full_matrices=False)
    np.savez(
        tmp_path / "dog.npz", template=mean, faces=FACES, metres_per_unit=0.001, name="dog",
        identity_basis=axes[:4].reshape(-1, *mean.shape), identity_scale=sizes[:4] / 5**0.5,
    )  # fmt: skip
    model = read_linear(tmp_path / "dog.npz").model
    basis = np.asarray(model.identity_basis, np.float64).reshape(4, -1)
    wanted = (0.001 * scans[3] - model.template).reshape(-1)
    found = np.linalg.lstsq(basis.T, wanted, rcond=None)[0]
    assert np.abs(found).max() < 3  # deviations
    again = head_vertices(model, found.astype(np.float32), None)
    np.testing.assert_allclose(again, 0.001 * scans[3], atol=1e-6)


def test_a_capture_s_own_head_is_such_a_file(tmp_path):
    model = read(tmp_path, **everything()).model
    write_npz(tmp_path / "head.npz", head_to_arrays(model))
    again = read_linear(tmp_path / "head.npz").model
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    assert again.region_names == ("face", "snout")


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"identity_bases": np.zeros((1, 6, 3))}, "'identity_bases' is unknown, did you mean"),
        ({"zzz": np.zeros(1)}, "'zzz' is unknown, expected one of template"),
        ({"faces": FACES + 4}, "faces refers to 8"),
        ({"faces": FACES + 0.5}, "faces has dtype float64"),
        ({"template": np.zeros((6, 2))}, r"template has shape \(6, 2\), expected any x 3"),
        ({"expression_basis": np.zeros((2, 5, 3))}, r"expression_basis has shape \(2, 5, 3\)"),
        ({"expression_basis": np.full((1, 6, 3), np.nan)}, "expression_basis .* not finite"),
        ({"identity_scale": np.ones(2)}, "identity_scale has shape"),
        ({"metres_per_unit": np.array(0.0)}, "metres_per_unit is 0"),
        ({"metres_per_unit": np.ones(3)}, "metres_per_unit has shape .* expected a number"),
        ({"landmark_vertices": np.array([5])}, r"landmark_vertices \[5\] lie on no face"),
        ({"landmark_vertices": np.array([9])}, r"landmark_vertices \[9\] lie on no face"),
        ({"landmark_vertices": np.array([0]), "landmark_faces": np.array([0])}, "expected one"),
        ({"landmark_vertices": np.array([0]), "landmark_indices": np.array([478])}, "0 to 477"),
        ({"landmark_indices": np.array([1])}, r"expected \(0,\) of MediaPipe's"),
        ({"lids": np.zeros((1, 5, 3))}, "lids has shape"),
        ({"lids": np.zeros((1, 6, 3)), "lid_names": np.array(["a", "b"])}, "lid_names has 2"),
        ({"contour_faces": np.zeros((79, 17))}, "belong together"),
        ({"expression_names": np.array(["a"])}, "expression_names has 1 names for 0"),
        ({"regions": np.full(6, 12)}, "regions go to 12, there are 10 names"),
        ({"skeleton_parents": np.array([-1])}, "skeleton_joint_regressor' is missing"),
        (everything() | {"skeleton_parents": np.array([-1, 1])}, "skeleton_parents"),
        (everything() | {"skeleton_weights": np.full((6, 2), 0.4)}, "of vertex 0 sum to 0.8"),
        (everything() | {"contour_faces": np.full((79, 17), 3)}, "contour_faces .* 0 to 2"),
    ],
)
def test_wrong_arrays_are_refused_by_file_and_name(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, **arrays)
    assert "dog.npz" in str(error.value)


def test_missing_arrays_are_named(tmp_path):
    write_npz(tmp_path / "a.npz", {"faces": FACES})
    with pytest.raises(InputError, match="a.npz: array 'template' is missing"):
        read_linear(tmp_path / "a.npz")
