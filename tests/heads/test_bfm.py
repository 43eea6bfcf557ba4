"""The Basel Face Model in Deep3D's form against the published code's numbers, and its file."""

import jax
import numpy as np
import pytest
import scipy.io
from goldens_reader import known_goldens

from jaxhead.files.errors import InputError
from jaxhead.heads import bfm as basel
from jaxhead.heads.bfm_files import bfm_from_arrays, read_bfm
from jaxhead.heads.loading import load_head
from jaxhead.heads.model import head_landmarks

KEYS = ("meanshape", "idBase", "exBase", "meantex", "texBase", "tri", "point_buf", "keypoints")


@pytest.fixture
def golden(goldens):
    return known_goldens(goldens, system="geneface", module="Face3DHelper")[0]


def variables(golden) -> dict[str, np.ndarray]:
    return {key: golden.inputs[f"bfm_{key}"] for key in KEYS}


@jax.jit
def everything(model, coefficients):
    """All that a golden holds, compiled once."""
    parts = basel.split_coefficients(coefficients)
    shape = basel.bfm_shape(model, parts.identity, parts.expression)
    rotation = basel.bfm_rotation(parts.angles)
    normals = basel.bfm_normals(model, shape)
    texture = basel.bfm_texture(model, parts.texture)
    camera = basel.bfm_camera(shape, parts.angles, parts.translation)
    turned = normals @ rotation.swapaxes(-1, -2)
    return {
        "helper_mesh": shape,
        "helper_lm3d": basel.geneface_landmarks(model, parts.identity, parts.expression),
        "helper_idexp_lm3d": basel.geneface_motion(model, parts.identity, parts.expression),
        "shape": shape,
        "rotation": rotation.swapaxes(-1, -2),  # the published one is for rows
        "normal": normals,
        "texture": texture,
        "vertex_camera": camera,
        "color": basel.bfm_colours(texture, turned, parts.light),
        "landmark": basel.bfm_landmarks(model, coefficients),
    }


def test_everything_equals_the_published_numbers(goldens, tmp_path):
    for golden in known_goldens(goldens, system="geneface", module="Face3DHelper"):
        path = tmp_path / "BFM_model_front.mat"
        scipy.io.savemat(path, variables(golden) | {"note": "x"}, do_compression=True)
        model = read_bfm(path)
        found = everything(model, golden.inputs["coeff"])
        for name, value in found.items():
            golden.compare(name, value)
        one = jax.jit(jax.vmap(everything, in_axes=(None, 0)))(model, golden.inputs["coeff"])
        golden.compare("color", one["color"])


def test_gradients_are_finite_at_zero(golden):
    model = bfm_from_arrays(variables(golden))

    def loss(coefficients):
        found = everything(model, coefficients)
        return (found["landmark"] ** 2).sum() + (found["color"] ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(np.zeros(257, np.float32))
    assert np.isfinite(gradient).all() and np.abs(gradient[:144]).max() > 0


def test_it_is_a_head_model_in_metres(golden, tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, variables(golden))
    head, model = load_head(f"bfm:{path}"), read_bfm(path)
    coefficients = golden.inputs["coeff"]
    parts = basel.split_coefficients(coefficients)
    expected = 0.1 * np.asarray(basel.bfm_shape(model, parts.identity, parts.expression))
    moved = head.template + np.einsum("bi,ivk->bvk", parts.identity, head.identity_basis)
    moved = moved + np.einsum("bi,ivk->bvk", parts.expression, head.expression_basis)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    chosen = head_landmarks(head, expected[0])
    np.testing.assert_allclose(chosen, expected[0][model.keypoints], atol=1e-6)
    a, b, c = (head.template[head.faces[:, k]] for k in range(3))
    assert np.cross(b - a, c - a)[:, 2].sum() > 0
    assert head.expression_names[63] == "bfm_expression_63"


def test_the_real_size_is_read(tmp_path):
    """35709 vertices, 70789 faces; indices as floats, as MATLAB keeps them."""
    rng = np.random.default_rng(0)
    count, faces = 35709, 70789
    arrays = {
        "meanshape": rng.normal(size=(1, 3 * count)).astype(np.float32),
        "meantex": rng.uniform(0, 255, (1, 3 * count)).astype(np.float32),
        "idBase": np.zeros((3 * count, 80), np.float32),
        "exBase": np.zeros((3 * count, 64), np.float32),
        "texBase": np.zeros((3 * count, 80), np.float32),
        "tri": rng.integers(1, count + 1, (faces, 3)).astype(float),
        "point_buf": rng.integers(1, faces + 2, (count, 8)).astype(float),
        "keypoints": rng.integers(1, count + 1, (1, 68)).astype(float),
    }
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    model = read_bfm(tmp_path / "a.mat")
    assert model.texture_basis.shape == (80, count, 3) and model.faces.shape == (faces, 3)
    np.testing.assert_array_equal(model.vertex_faces, arrays["point_buf"] - 1)


def change(**values):
    return lambda arrays: arrays | values


WRONG = {
    "nothing": (lambda arrays: {"x": np.ones(3)}, "'meanshape' is missing"),
    "no texture": (lambda arrays: {k: v for k, v in arrays.items() if k != "texBase"},
                   "'texBase' is missing"),
    "shape": (change(idBase=np.zeros((3, 80))), r"'idBase' has shape .*, expected 288 x any"),
    "from zero": (change(tri=np.zeros((150, 3))), "'tri' has 0 to 0, expected 1 to 96"),
    "beyond": (change(keypoints=np.full((1, 68), 97)), "'keypoints' has 97 to 97"),
    "few": (change(keypoints=np.full((1, 5), 7)), r"'keypoints' has shape \(1, 5\)"),
    "infinite": (change(meantex=np.full((1, 288), np.inf)), "not finite"),
    "text": (change(meantex="all grey"), "'meantex' is not an array of numbers"),
    "structure": (change(meantex={"a": 1}), "'meantex' is not an array of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_by_file_and_variable(golden, tmp_path, case):
    edit, message = WRONG[case]
    path = tmp_path / "BFM_model_front.mat"
    scipy.io.savemat(path, edit(variables(golden)))
    with pytest.raises(InputError, match=message) as error:
        read_bfm(path)
    assert str(path) in str(error.value)
