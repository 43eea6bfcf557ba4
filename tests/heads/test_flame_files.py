"""FLAME's files: a made-up model of full size, as Python 2 and chumpy wrote it, and wrong ones."""

import io
import pathlib
import pickle
import shutil

import jax
import numpy as np
import pytest
from files import python2
from heads import flame_like

from jaxhead.files.errors import InputError
from jaxhead.heads.flame import flame_vertices
from jaxhead.heads.flame_files import read_flame
from jaxhead.heads.model import REGIONS, head_landmarks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return flame_like.write_flame(tmp_path_factory.mktemp("flame")).parent


@pytest.fixture(scope="module")
def flame(folder):
    return read_flame(folder / "generic_model.pkl")


def test_a_model_of_full_size_is_read_with_all_that_lies_beside_it(flame):
    model, expected = flame.model, flame_like.flame_like()
    np.testing.assert_allclose(model.template, expected["v_template"], atol=1e-7)
    np.testing.assert_array_equal(model.faces, expected["f"])
    shapes = np.moveaxis(expected["shapedirs"], -1, 0)
    np.testing.assert_allclose(model.identity_basis, shapes[:300], atol=1e-7)
    np.testing.assert_allclose(model.expression_basis, shapes[300:], atol=1e-7)
    np.testing.assert_allclose(
        model.skeleton.pose_basis, np.moveaxis(expected["posedirs"], -1, 0), atol=1e-7
    )
    np.testing.assert_allclose(model.skeleton.joint_regressor, expected["J_regressor"], atol=1e-6)
    np.testing.assert_allclose(model.skeleton.weights, expected["weights"], atol=1e-6)
    assert (len(model.template), len(model.faces)) == (5023, 9976)
    assert model.skeleton.parents == (-1, 0, 1, 1, 1)
    assert model.expression_names[0] == "flame_expression_000"
    embedded = flame_like.embeddings()
    np.testing.assert_array_equal(model.landmark_faces, embedded["full_lmk_faces_idx"][0])
    np.testing.assert_array_equal(flame.inner.faces, embedded["static_lmk_faces_idx"])
    np.testing.assert_array_equal(flame.contour.faces, embedded["dynamic_lmk_faces_idx"])
    np.testing.assert_allclose(flame.contour.weights.sum(-1), 1, atol=1e-6)
    assert len(flame.mediapipe.faces) == len(flame.mediapipe_indices) == 51
    np.testing.assert_allclose(flame.eyelids, flame_like.eyelids(expected), atol=1e-8)
    regions = np.array(REGIONS)[model.regions]
    assert set(regions[3931:]) == {"eyes"}
    assert set(regions[flame.masks["lips"]]) == {"lips"}
    assert set(regions[flame.masks["scalp"]]) <= {"scalp", "face", "ears", "neck"}
    assert np.isfinite(model.uv).all() and model.uv.min() >= 0 and model.uv.max() <= 1


def test_the_made_up_model_is_a_head(flame):
    """Whoever fits it to pictures needs a face where a face is."""
    both = jax.jit(lambda pose, lids: flame_vertices(flame, None, None, pose, lids))
    points = jax.jit(lambda vertices: 100 * head_landmarks(flame.model, vertices))
    rest = np.asarray(points(flame.model.template))
    assert np.linalg.norm(rest - flame_like.landmarks_cm(), axis=1).max() < 1.0
    assert rest[69, 0] > 3 > -3 > rest[68, 0]  # the left iris is the second
    jaw = np.zeros(15, np.float32)
    jaw[6] = 0.3
    moved = np.asarray(points(both(jaw, np.zeros(2, np.float32)))) - rest
    assert moved[8, 1] < -1.2 and moved[57, 1] < -1 and abs(moved[27]).max() < 0.1
    shut = both(0 * jaw, np.float32([1, 0])) - flame.model.template
    lowest = np.asarray(shut)[:, 1].argmin()
    assert shut[lowest, 1] < -0.005 and flame.model.template[lowest, 0] > 0.02


def test_fewer_components_and_nothing_beside(folder, tmp_path):
    path = tmp_path / "flame2023.pkl"
    shutil.copy(folder / "generic_model.pkl", path)
    flame = read_flame(path, shape_components=100, expression_components=50)
    assert flame.model.identity_basis.shape[0] == 100
    np.testing.assert_allclose(
        flame.model.expression_basis[49], flame_like.flame_like()["shapedirs"][..., 349], atol=1e-7
    )
    assert flame.eyelids is None and flame.contour is None and flame.masks == {}
    assert len(flame.model.landmark_faces) == 0
    regions = np.array(REGIONS)[flame.model.regions]
    assert set(regions) == {"face", "neck", "eyes"} and set(regions[3931:]) == {"eyes"}


def small() -> dict:
    rng = np.random.default_rng(0)
    return {
        "f": np.arange(12, dtype=np.uint32).reshape(4, 3),
        "v_template": rng.normal(size=(12, 3)),
        "shapedirs": rng.normal(size=(12, 3, 302)),
        "posedirs": rng.normal(size=(12, 3, 36)),
        "J_regressor": np.eye(5, 12),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "weights": np.eye(12, 5),
    }


def without(key):
    return lambda model: {k: v for k, v in model.items() if k != key}


def put(**values):
    return lambda model: model | values


WRONG = {
    "no template": (without("v_template"), "'v_template' is missing, found f, shapedirs"),
    "no joints": (without("kintree_table"), "'kintree_table' is missing"),
    "a body": (put(kintree_table=np.zeros((2, 24), np.uint32)), "FLAME's five joints"),
    "other joints": (
        put(kintree_table=np.array([[-1, 0, 1, 2, 1], [0, 1, 2, 3, 4]])), "five joints"),
    "ten shapes": (put(shapedirs=np.zeros((12, 3, 10))), "'shapedirs' has 10 components"),
    "transposed": (put(posedirs=np.zeros((36, 36))), r"'posedirs' has shape \(36, 36\)"),
    "faces beyond": (put(f=np.full((4, 3), 12, np.uint32)), "'f' refers to vertex 12 of 12"),
    "broken numbers": (put(v_template=np.full((12, 3), np.nan)), "not finite"),
    "text": (put(weights=np.array(["a"])), "'weights' has dtype"),
    "other chumpy": (put(weights="<chumpy.reordering.Select>"), "is '<chumpy.reordering.Select>'"),
    "regressor": (put(J_regressor=np.zeros((5, 11))), "'J_regressor' has shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_models_are_refused_by_file_and_field(tmp_path, case):
    change, message = WRONG[case]
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(change(small()), 2))
    with pytest.raises(InputError, match=message) as error:
        read_flame(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


BESIDE = {
    "landmark_embedding.npy": {
        "a list": ([1, 2], "holds a list"),
        "no contour": (without("dynamic_lmk_faces_idx"), "'dynamic_lmk_faces_idx' is missing"),
        "face": (put(static_lmk_faces_idx=np.full(51, 4)), "refers to face 4, the model has 4"),
        "counts": (put(static_lmk_faces_idx=np.zeros(50, int),
                       static_lmk_bary_coords=np.ones((50, 3))), "68 full and 50 static"),
        "weights": (put(full_lmk_bary_coords=np.ones((1, 67, 3))), "'full_lmk_bary_coords'"),
    },
    "mediapipe_landmark_embedding.npz": {
        "numbers": (put(landmark_indices=np.array([478])), "go to 478"),
        "face": (put(lmk_face_idx=np.array([9])), "refers to face 9"),
    },
    "FLAME_masks.pkl": {
        "vertex": (put(face=np.array([12])), "refers to vertex 12"),
        "names": (put(face="all"), "'face' is 'all'"),
    },
}  # fmt: skip
RIGHT = {
    "landmark_embedding.npy": {
        "static_lmk_faces_idx": np.zeros(51, int), "static_lmk_bary_coords": np.ones((51, 3)),
        "full_lmk_faces_idx": np.zeros((1, 68), int),
        "full_lmk_bary_coords": np.ones((1, 68, 3)),
        "dynamic_lmk_faces_idx": np.zeros((79, 17), int),
        "dynamic_lmk_bary_coords": np.ones((79, 17, 3)),
    },
    "mediapipe_landmark_embedding.npz": {
        "lmk_face_idx": np.array([1]), "lmk_b_coords": np.ones((1, 3)),
        "landmark_indices": np.array([7]),
    },
    "FLAME_masks.pkl": {"face": np.array([1]), "neck": np.zeros(0, int)},
}  # fmt: skip


def write(path: pathlib.Path, content) -> None:
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".npy":
        np.save(path, np.array(content, object), allow_pickle=True)
    else:
        path.write_bytes(python2.dumps(content))


@pytest.mark.parametrize("name, case", [(n, c) for n, cases in BESIDE.items() for c in cases])
def test_wrong_files_beside_are_refused_by_their_name(tmp_path, name, case):
    model = tmp_path / "generic_model.pkl"
    model.write_bytes(pickle.dumps(small(), 2))
    write(tmp_path / name, RIGHT[name])
    read_flame(model)
    change, message = BESIDE[name][case]
    write(tmp_path / name, change(RIGHT[name]) if callable(change) else change)
    with pytest.raises(InputError, match=message) as error:
        read_flame(model)
    assert name in str(error.value)


def test_an_eyelid_of_another_mesh_is_refused(tmp_path):
    model = tmp_path / "generic_model.pkl"
    model.write_bytes(pickle.dumps(small(), 2))
    np.save(tmp_path / "l_eyelid.npy", np.zeros((12, 3)))
    assert read_flame(model).eyelids is None  # of one eye only is none
    (tmp_path / "blendshapes").mkdir()
    np.save(tmp_path / "blendshapes" / "r_eyelid.npy", np.zeros((11, 3)))
    with pytest.raises(InputError, match=r"r_eyelid.npy: 'eyelid' has shape \(11, 3\)"):
        read_flame(model)


def test_texture_coordinates_are_those_of_the_texture_file(tmp_path):
    model = tmp_path / "generic_model.pkl"
    model.write_bytes(pickle.dumps(small(), 2))
    vt = np.random.default_rng(0).uniform(size=(20, 2))
    np.savez(tmp_path / "FLAME_texture.npz", vt=vt, ft=np.arange(12).reshape(4, 3) + 5)
    uv = read_flame(model).model.uv
    np.testing.assert_allclose(uv, vt[5:17] * [1, -1] + [0, 1], atol=1e-6)


def test_a_pickle_that_attacks_is_refused_here_too(tmp_path):
    stream = io.BytesIO(b"cposix\nsystem\n(S'true'\ntR.")
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(stream.getvalue())
    with pytest.raises(InputError, match=r"generic_model.pkl: asks for posix\.system"):
        read_flame(path)
