"""Heads out of files, ready to be fitted, and what is said of those that are not."""

import numpy as np
import pytest
from captures.fitting.small_heads import MARKS, small_body, small_head

from jaxhead.captures.fitting.config import FitConfig
from jaxhead.captures.fitting.marks import MEDIAPIPE_68
from jaxhead.captures.fitting.sources import config_for, fittable_head, fittable_of, read_fittable
from jaxhead.files.errors import InputError
from jaxhead.heads.flame import Embedding
from jaxhead.heads.loading import LoadedHead
from jaxhead.heads.model import head_to_arrays
from jaxhead.heads.procedural import procedural_head


def write(path, **changed):
    names = {"expression_names": np.array(list("abcde"))}
    arrays = {**head_to_arrays(small_head()), **names, **changed}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return f"npz:{path}"


def test_a_head_of_numbered_landmarks(tmp_path):
    lids = np.asarray(small_body().lids)
    spec = write(tmp_path / "head.npz", landmark_indices=np.arange(MARKS), lids=lids,
                 lid_names=np.array(["one", "two"]))  # fmt: skip
    found = read_fittable(spec)
    assert found.body.skull == 1 and found.body.lids.shape[0] == 2
    assert found.lid_names == ("one", "two") and not found.config.bounded
    assert found.marks.observed[:MARKS].tolist() == list(range(MARKS))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("lizard:x.npz", "lizard"), ("flame:", "flame"), ("mediapipe", "nothing to fit"),
        ("npz:/nowhere/head.npz", "/nowhere/head.npz"), ("flame:/nowhere/f.pkl", "/nowhere/f.pkl"),
    ],
)  # fmt: skip
def test_what_names_no_head(spec, words):
    with pytest.raises(InputError, match=words) as error:
        read_fittable(spec)
    assert "\n" not in str(error.value)


def test_a_head_whose_landmarks_nobody_knows_is_named_with_its_file(tmp_path):
    with pytest.raises(InputError, match=r"head\.npz: head 'small' has 60 landmarks, expected"):
        read_fittable(write(tmp_path / "head.npz"))
    none = {"landmark_faces": np.zeros(0, np.int32), "landmark_weights": np.zeros((0, 3))}
    with pytest.raises(InputError, match=r"head\.npz: head 'small' has no landmarks"):
        read_fittable(write(tmp_path / "head.npz", **none))


def test_mediapipes_points_join_the_jaw_line():
    rng = np.random.default_rng(0)
    head = small_head().replace(
        landmark_faces=rng.integers(0, 400, 68).astype(np.int32),
        landmark_weights=np.full((68, 3), 1 / 3, np.float32),
    )
    points = Embedding(rng.integers(0, 400, 105).astype(np.int32), np.full((105, 3), 1 / 3))
    loaded = LoadedHead(head, mediapipe=points, mediapipe_indices=np.arange(105))
    found = fittable_of(loaded)
    assert found.marks.observed[:17].tolist() == list(MEDIAPIPE_68[:17])
    assert found.marks.observed[17:122].tolist() == list(range(105))
    alone = fittable_of(LoadedHead(head))
    assert alone.marks.observed[:68].tolist() == list(MEDIAPIPE_68)


def test_named_expressions_are_bounded_and_components_are_cut():
    assert config_for(procedural_head()).bounded
    assert config_for(procedural_head()).deviations.expression == 0.5
    config = FitConfig(identity_components=2, expression_components=3)
    found = fittable_head(small_head(), observed=np.arange(MARKS), config=config)
    assert found.body.identity.shape[0] == 2 and found.body.expression.shape[0] == 3
    assert not found.config.bounded
