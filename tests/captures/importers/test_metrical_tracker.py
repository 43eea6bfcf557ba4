"""metrical-tracker's outputs; the model that makes masks is a stand-in that knows the disc."""

import numpy as np
import pytest
from captures.importers import folders
from captures.importers.folders import (
    SIZE,
    disc,
    ellipsoid,
    meshes,
    metrical,
    noise,
    picture,
    poses,
)

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers import people
from jaxhead.captures.importers.importing import import_capture
from jaxhead.files.errors import InputError
from jaxhead.files.torch_files import read_torch


@pytest.fixture
def subject(tmp_path, monkeypatch):
    class Model:
        def __init__(self, options, why):
            del options, why

        def person(self, frame):
            return disc(frame.shape[0]).astype(np.float32)

    monkeypatch.setattr("jaxhead.captures.importers.metrical_tracker.Segmenter", Model)
    return metrical(tmp_path / "subject")


def test_everything_is_kept(subject, tmp_path):
    notes = import_capture("metrical-tracker", subject, tmp_path / "out")
    capture = load_capture(tmp_path / "out")
    assert capture.info["notes"] == notes
    vertices, scores = meshes()
    np.testing.assert_allclose(capture.head_to_camera, poses(), atol=1e-6)
    np.testing.assert_array_equal(capture.K, [[60, 0, 12.25], [0, 62, 11.5], [0, 0, 1]])
    np.testing.assert_allclose(capture.vertices, vertices, atol=1e-7)
    np.testing.assert_allclose(capture.expression[:, :3], scores, atol=1e-6)
    # Jaw, eyes and lids are those of the canonical mesh: they count as zero.
    assert capture.expression.shape == (4, 3 + 6 + 12 + 2)
    assert np.abs(capture.expression[:, 3:]).max() < 1e-6
    assert capture.head.expression_names[3] == "jaw_0"
    assert capture.train.tolist() == [0, 1, 2] and capture.test.tolist() == [3]
    assert np.all(capture.layer("depth", 2) == 502)
    person, head, torso = np.moveaxis(capture.masks(1).astype(int), -1, 0)
    np.testing.assert_array_equal(person, 255 * disc())
    np.testing.assert_allclose(head + torso, person, atol=1)
    assert head[SIZE // 2, SIZE // 2] > 250
    assert abs(int(capture.background[0, 0, 0]) - 128) < 2


def frame(subject, change):
    path = subject / "checkpoint/00001.frame"
    value = read_torch(path)
    change(value)
    folders.torch_archive(path, value)


MISTAKES = {
    "no checkpoint": (lambda p: [f.unlink() for f in (p / "checkpoint").iterdir()], "no .frame"),
    "no camera": (lambda p: frame(p, lambda v: v.pop("opencv")), "opencv is missing"),
    "no K": (lambda p: frame(p, lambda v: v["opencv"].pop("K")), "opencv.K is missing"),
    "K": (lambda p: frame(p, lambda v: v["opencv"].update(K=np.eye(4))), "opencv.K has shape"),
    "text": (lambda p: frame(p, lambda v: v["opencv"].update(t="x")), "opencv.t has dtype"),
    "focal": (
        lambda p: frame(p, lambda v: v["opencv"].update(K=np.diag([50.0, 50, 1]))), "another camera"
    ),
    "mirrored": (
        lambda p: frame(p, lambda v: v["opencv"].update(R=np.diag([1.0, 1, -1]))), "R mirrors"
    ),
    "lids": (lambda p: frame(p, lambda v: v["flame"].pop("eyelids")), "flame.eyelids is missing"),
    "scores": (lambda p: frame(p, lambda v: v["flame"].update(exp=np.ones((1, 2)))), "2 numbers"),
    "hostile": (lambda p: (p / "checkpoint/00001.frame").write_bytes(b"cos\nsystem\n"), "00001"),
    "mesh": (lambda p: (p / "mesh/00002.ply").unlink(), "00002.ply"),
    "topology": (
        lambda p: folders.ply(p / "mesh/00002.ply", ellipsoid()[0], ellipsoid()[1][::-1]),
        "one topology",
    ),
    "picture": (lambda p: (p / "input/00002.png").unlink(), "input: lacks picture 00002"),
    "size": (lambda p: picture(p / "input/00000.png", noise((8, 9, 3))), "9 x 8"),
    "depth": (
        lambda p: picture(p / "depth/00002.png", np.zeros((8, 9), np.uint16)), "00002.png: 9 x 8"
    ),
    "one depth less": (lambda p: (p / "depth/00002.png").unlink(), "lacks 00002.png"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(subject, tmp_path, mistake):
    spoil, reason = MISTAKES[mistake]
    spoil(subject)
    with pytest.raises(InputError, match=reason) as caught:
        import_capture("metrical-tracker", subject, tmp_path / "out")
    assert str(subject) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["subject"]


def test_the_face_s_ends_are_forehead_and_chin():
    from jaxhead.heads.procedural import procedural_head

    head = procedural_head()
    top, chin = (np.asarray(head.template)[k] for k in people.face_ends(head))
    assert abs(top[0]) < 0.015 and abs(chin[0]) < 0.015
    assert top[1] > 0.04 and chin[1] < -0.07 and min(top[2], chin[2]) > 0.02


def test_pictures_of_any_shape_are_squared():
    wide = noise((4, 6, 3))
    assert people.squared(wide).shape == (6, 6, 3)
    np.testing.assert_array_equal(people.squared(wide)[:4], wide)
    assert people.squared(wide[:, :4]).shape == (4, 4, 3)
