"""What KIND:PATH gives, and what it says of a wrong one."""

import pickle

import numpy as np
import pytest

from jaxhead.files.arrays import write_npz
from jaxhead.files.errors import InputError
from jaxhead.heads.loading import load_head, read_head
from jaxhead.heads.model import head_landmarks


def flame(folder, **change):
    rng = np.random.default_rng(0)
    model = {
        "f": np.arange(12, dtype=np.uint32).reshape(4, 3),
        "v_template": rng.normal(size=(12, 3)),
        "shapedirs": rng.normal(size=(12, 3, 400)),
        "posedirs": rng.normal(size=(12, 3, 36)),
        "J_regressor": np.eye(5, 12),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "weights": np.eye(12, 5),
    }
    path = folder / "flame2023.pkl"
    path.write_bytes(pickle.dumps(model | change, 2))
    return path


def test_flame_comes_with_what_a_fit_uses(tmp_path):
    path = flame(tmp_path)
    plain = read_head(f"flame:{path}")
    assert plain.model.name == "flame" and plain.lids is None and plain.lid_names == ()
    assert plain.model.expression_basis.shape == (100, 12, 3)
    np.savez(
        tmp_path / "mediapipe_landmark_embedding.npz", lmk_face_idx=np.array([1, 3]),
        lmk_b_coords=np.eye(3)[:2], landmark_indices=np.array([7, 9]),
    )  # fmt: skip
    for side in "lr":
        np.save(tmp_path / f"{side}_eyelid.npy", np.ones((12, 3)))
    head = read_head(f"flame:{path}")
    np.testing.assert_array_equal(head.landmark_indices, [7, 9])
    points = head_landmarks(head.model, head.model.template)
    np.testing.assert_allclose(points, head.model.template[[3, 10]], atol=1e-6)
    assert head.lids.shape == (2, 12, 3) and head.lid_names == ("eyelidLeft", "eyelidRight")
    assert head.contour is None


def test_npz_and_names_with_colons(tmp_path):
    path = tmp_path / "a:b.npz"
    write_npz(path, {"template": np.eye(3), "faces": np.array([[0, 1, 2]])})
    np.testing.assert_array_equal(load_head(f"npz:{path}").template, np.eye(3))


def test_mediapipe_is_the_closed_head(assets):
    head = read_head("mediapipe", assets=assets)
    assert head.model.name == "mediapipe"
    np.testing.assert_array_equal(head.landmark_indices, np.arange(468))
    named = load_head(f"mediapipe:{assets / 'face_landmarker.task'}")
    np.testing.assert_array_equal(named.template, head.model.template)


@pytest.mark.parametrize(
    "spec", ["", "flame", "flame:", "smpl:a.pkl", "npz", "/a/b.pkl", "FLAME:a.pkl", ":a"]
)
def test_unknown_kinds_are_refused(spec):
    with pytest.raises(InputError, match="expected one of flame:PATH, bfm:PATH, npz:PATH"):
        load_head(spec)


def test_files_that_are_not_there_or_wrong_are_named(tmp_path):
    missing = tmp_path / "x"
    for kind in ("flame", "bfm", "npz", "mediapipe"):
        with pytest.raises(InputError) as error:
            load_head(f"{kind}:{missing}")
        assert str(missing) in str(error.value)
    path = flame(tmp_path, weights=np.zeros((3, 5)))
    with pytest.raises(InputError, match="flame2023.pkl: 'weights' has shape"):
        load_head(f"flame:{path}")
    with pytest.raises(InputError, match="flame2023.pkl: .*mat file"):
        load_head(f"bfm:{path}")
    with pytest.raises(InputError, match="flame2023.pkl: .*npz archive"):
        load_head(f"npz:{path}")
