"""NeRFace's folders: signed focal lengths, boxes, and a person keyed out of the background."""

import numpy as np
import pytest
from captures.importers.folders import (
    FOCAL,
    SIZE,
    disc,
    nerface,
    noise,
    picture,
    poses,
    rewrite,
)

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers.importing import import_capture
from jaxhead.captures.importers.people import differing
from jaxhead.files.errors import InputError


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1)])
def test_everything_is_kept(tmp_path, signs):
    subject = nerface(tmp_path / "subject", signs)
    notes = "\n".join(import_capture("nerface", subject, tmp_path / "out"))
    capture = load_capture(tmp_path / "out")
    assert not capture.has_mesh and capture.expression.shape == (3, 76)
    np.testing.assert_allclose(capture.expression[1], 0.1 + np.arange(76), rtol=1e-6)
    assert capture.train.tolist() == [0, 1] and capture.test.tolist() == [2]
    # Subjects of either sign show the same head here: mirrored where one sign is negative.
    np.testing.assert_allclose(capture.head_to_camera, poses(3), atol=1e-6)
    centre = (0.49 * SIZE + 0.5, 0.52 * SIZE + 0.5)
    wanted = [[FOCAL, 0, centre[0]], [0, FOCAL + 2, centre[1]], [0, 0, 1]]
    np.testing.assert_allclose(capture.K, wanted, rtol=1e-6)
    assert capture.info["convention"]["mirrored"] == (signs[0] < 0) == ("mirrored" in notes)
    np.testing.assert_allclose(capture.face_rect[0], np.array([0.2, 0.1, 0.6, 0.6]) * SIZE)
    np.testing.assert_array_equal(capture.background, 128)
    person, head, torso = np.moveaxis(capture.masks(2).astype(int), -1, 0)
    assert np.abs(person - 255 * disc()).mean() < 20
    below = np.arange(SIZE) + 0.5 >= 0.7 * SIZE
    assert not head[below].any() and not torso[~below].any()
    np.testing.assert_allclose(head + torso, person, atol=1)


def test_the_person_has_no_holes_and_strangers_do_not_count():
    background = noise((40, 40, 3), 1) // 4 + 100
    frame = background.copy()
    frame[10:, 10:30] = 230
    frame[20:25, 15:20] = background[20:25, 15:20]
    frame[2:5, 33:36] = 230
    person = differing(frame, background)
    assert np.all(person[14:, 14:26] > 0.99)
    assert person[:8].max() < 0.1 and person[:, 33:].max() < 0.1
    assert not differing(background, background).any()


def train(change):
    return lambda path: rewrite(path / "transforms_train.json", change)


MISTAKES = {
    "absent": (lambda p: (p / "train/f_0001.png").unlink(), "f_0001, which is missing"),
    "outside": (train(lambda d: d["frames"][0].update(file_path="./../a")), "leads out"),
    "no intrinsics": (train(lambda d: d.update(intrinsics=[0, 1, 0.5, 0.5])), "focal lengths"),
    "pixels": (train(lambda d: d.update(intrinsics=[60, 60, 12, 12])), "shares of the size"),
    "three": (train(lambda d: d.update(intrinsics=[60, 60, 0.5])), "4 numbers"),
    "other": (train(lambda d: d.update(intrinsics=[61, 60, 0.5, 0.5])), "focal length"),
    "box": (train(lambda d: d["frames"][0].update(bbox=[1, 0, 0, 1])), "bbox"),
    "short": (train(lambda d: d["frames"][1].update(expression=[1, 2])), "expression of 2"),
    "no expression": (train(lambda d: d["frames"][1].pop("expression")), "expression is missing"),
    "mirrored": (
        train(lambda d: [r.__setitem__(2, -r[2]) for r in d["frames"][0]["transform_matrix"]]),
        "mirrors",
    ),
    "plate": (lambda p: picture(p / "bg/00050.png", noise((8, 9, 3))), "9 x 8"),
    "size": (lambda p: picture(p / "test/f_0000.png", noise((8, 9, 3))), "9 x 8"),
    "no frames": (train(lambda d: d.update(frames=[])), "no frame to train"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(tmp_path, mistake):
    subject = nerface(tmp_path / "subject")
    spoil, reason = MISTAKES[mistake]
    spoil(subject)
    with pytest.raises(InputError, match=reason) as caught:
        import_capture("nerface", subject, tmp_path / "out")
    assert str(subject) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["subject"]


def test_without_a_background_the_model_is_asked_for(tmp_path, monkeypatch):
    subject = nerface(tmp_path / "subject")
    (subject / "bg/00050.png").unlink()
    monkeypatch.setenv("JAXHEAD_ASSETS", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="holds no masks; to make them, selfie_segmentation"):
        import_capture("nerface", subject, tmp_path / "out")
