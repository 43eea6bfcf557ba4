"""INSTA's layout: what is kept, what is refused, and the way there and back."""

import json

import numpy as np
import pytest
from captures.importers import folders
from captures.importers.folders import SIZE, disc, ellipsoid, insta, meshes, noise, poses, rewrite

from jaxhead.captures.format import CaptureWriter, load_capture
from jaxhead.captures.importers.importing import import_capture
from jaxhead.captures.insta_export import export_insta
from jaxhead.files.errors import InputError
from jaxhead.heads.model import REGIONS


@pytest.fixture
def subject(tmp_path):
    return insta(tmp_path / "subject")


def test_everything_is_kept(subject, tmp_path):
    notes = import_capture("insta", subject, tmp_path / "out")
    capture = load_capture(tmp_path / "out")
    assert capture.info["notes"] == notes and "4 frames of 24 x 24" in notes[0]
    assert capture.info["source"]["format"] == "insta"
    assert capture.train.tolist() == [0, 1, 2] and capture.test.tolist() == [3]
    vertices, scores = meshes()
    np.testing.assert_allclose(capture.head_to_camera, poses(), atol=1e-6)
    np.testing.assert_array_equal(capture.K, [[60, 0, 12.25], [0, 62, 11.5], [0, 0, 1]])
    np.testing.assert_allclose(capture.vertices, vertices, atol=1e-7)
    np.testing.assert_allclose(capture.expression, scores, atol=1e-6)
    np.testing.assert_array_equal(capture.head.faces, ellipsoid()[1])
    # Meshes that are linear in their scores are met by the fitted displacements, here of 3 frames.
    made = capture.head.template + np.einsum(
        "ne,evk->nvk", capture.expression, capture.head.expression_basis
    )
    np.testing.assert_allclose(made[:3], vertices[:3], atol=2e-5)
    alpha = disc()
    white = np.where(alpha[..., None], noise((SIZE, SIZE, 3), 2), 255)
    np.testing.assert_array_equal(capture.frame(2), white)
    cloth = alpha & (np.arange(SIZE) >= SIZE - 6)[:, None]
    for channel, mask in enumerate((alpha, alpha & ~cloth, cloth)):
        np.testing.assert_array_equal(capture.masks(2)[..., channel], 255 * mask)
    np.testing.assert_array_equal(capture.background, 255)
    assert np.unique(capture.layer("parsing", 1)).tolist() == [0, 90, 250]
    assert np.all(capture.layer("depth", 1) == 501) and capture.info["depth_unit"] == 0.001
    assert capture.info["parsing_classes"]["130"] == "upper_lip"


def test_regions_follow_the_parsed_pictures(subject, tmp_path):
    """The ellipsoid's front is skin wherever frames show it."""
    import_capture("insta", subject, tmp_path / "out")
    head = load_capture(tmp_path / "out").head
    front = (head.template[:, 2] > 0.06) & (np.abs(head.template[:, 0]) < 0.03)
    front &= np.abs(head.template[:, 1]) < 0.03
    assert front.any() and np.all(head.regions[front] == REGIONS.index("face"))


def test_without_what_may_lack(subject, tmp_path):
    for split in ("test", "val"):
        (subject / f"transforms_{split}.json").unlink()
    whole = subject / "transforms_train.json"
    whole.rename(subject / "transforms.json")

    def strip(document):
        document["camera_angle_x"] = 2 * np.arctan(SIZE / 2 / document.pop("fl_x"))
        document["frames"].insert(1, None)
        for frame in filter(None, document["frames"]):
            for name in ("exp_path", "depth_path", "seg_mask_path"):
                del frame[name]

    rewrite(subject / "transforms.json", strip)
    notes = "\n".join(import_capture("insta", subject, tmp_path / "out", size=12))
    capture = load_capture(tmp_path / "out")
    assert "1 entries" in notes and "missing, and left out: expression" in notes
    assert capture.expression.shape == (3, 0) and capture.layers() == ()
    assert capture.size == (12, 12) and capture.frame(0).shape == (12, 12, 3)
    np.testing.assert_allclose(capture.K, [[30, 0, 6.125], [0, 31, 5.75], [0, 0, 1]], rtol=1e-6)


def frame_of(document):
    return document["frames"][1]


MISTAKES = {
    "picture missing": (lambda d: frame_of(d).update(file_path="images/9.png"), "path .*9.png"),
    "picture outside": (lambda d: frame_of(d).update(file_path="../a.png"), "leads out"),
    "picture absolute": (lambda d: frame_of(d).update(mesh_path="/etc/passwd"), "leads out"),
    "picture on windows": (lambda d: frame_of(d).update(exp_path="a\\..\\..\\b"), "leads out"),
    "no mesh": (lambda d: frame_of(d).pop("mesh_path"), r"frames\[1\]: mesh_path is missing"),
    "misnamed": (lambda d: d.update(FL_X=d.pop("fl_x")), "camera_angle_x is missing"),
    "other case": (lambda d: d.update(CX=d.pop("cx")), "cx is missing .*'CX'"),
    "no number": (lambda d: d.update(cx="x"), "cx 'x'"),
    "not finite": (lambda d: d.update(cy=float("nan")), "cy nan"),
    "one depth less": (lambda d: frame_of(d).pop("depth_path"), "depth_path is missing"),
    "mirrored": (
        lambda d: [row.__setitem__(0, -row[0]) for row in frame_of(d)["transform_matrix"]],
        "transform_matrix mirrors",
    ),
    "not rigid": (
        lambda d: [row.__setitem__(0, 2 * row[0]) for row in frame_of(d)["transform_matrix"]],
        "not rigid",
    ),
    "cut matrix": (lambda d: frame_of(d)["transform_matrix"].pop(), "4 x 4 numbers"),
    "frames no list": (lambda d: d.update(frames={}), "expected a list"),
    "no frames": (lambda d: d.update(frames=[]), "no frame"),
    "other camera": (lambda d: d.update(cx=3.0), "another camera"),
    "other size": (lambda d: d.update(w=25.0), "another camera|expected 25"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_document_are_one_line(subject, tmp_path, mistake):
    change, reason = MISTAKES[mistake]
    rewrite(subject / "transforms_train.json", change)
    refused(subject, tmp_path, f"transforms_train.json.*({reason})|({reason})")


def refused(subject, tmp_path, reason):
    with pytest.raises(InputError, match=reason) as caught:
        import_capture("insta", subject, tmp_path / "out")
    assert str(subject) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["subject"]


def test_mistakes_in_the_files_are_one_line(subject, tmp_path):
    vertices, faces = ellipsoid()
    twice = np.tile(vertices, (2, 1))
    for name, spoil, reason in (
        ("meshes/00001.obj", lambda p: folders.obj(p, vertices, faces[:, ::-1]), "one topology"),
        ("meshes/00001.obj", lambda p: folders.obj(p, twice, faces), "84 .* has 42"),
        ("meshes/00002.obj", lambda p: p.write_text("v 1 2\n"), "00002.obj"),
        ("depth/00001.png", lambda p: folders.picture(p, np.zeros((9, 24), np.uint16)), "24 x 9"),
        ("depth/00001.png", lambda p: folders.picture(p, np.zeros((24, 24), np.uint8)), "16 bits"),
        ("images/00001.png", lambda p: folders.picture(p, noise((24, 24, 3))), "transparency"),
        ("images/00001.png", lambda p: folders.picture(p, noise((24, 20, 4))), "20 x 24"),
        ("flame/exp/00001.txt", lambda p: p.write_text("1 2 x"), "00001.txt"),
        ("flame/exp/00001.txt", lambda p: p.write_text("1 2"), "2 numbers"),
        ("canonical.obj", lambda p: p.unlink(), "canonical.obj"),
    ):
        path = subject / name
        data = path.read_bytes()
        spoil(path)
        refused(subject, tmp_path, reason)
        path.write_bytes(data)
    import_capture("insta", subject, tmp_path / "out")


def test_a_frame_that_trains_is_not_held_out(subject, tmp_path):
    first = json.loads((subject / "transforms_train.json").read_text())["frames"][0]
    rewrite(subject / "transforms_test.json", lambda d: d["frames"].append(first))
    notes = import_capture("insta", subject, tmp_path / "out")
    assert any("00000.png is in train and in test" in note for note in notes)
    capture = load_capture(tmp_path / "out")
    assert not set(capture.train) & set(capture.test) and capture.test.tolist() == [3]


def test_out_and_back(subject, tmp_path):
    """A capture with everything, sound and a torso too, exported and imported again."""
    import_capture("insta", subject, tmp_path / "first")
    first = load_capture(tmp_path / "first")
    soft = np.clip(900 - 2500 * np.hypot(*np.mgrid[-0.5:0.5:24j, -0.5:0.5:24j]), 0, 255)
    count = len(first)
    with CaptureWriter(tmp_path / "capture", size=(SIZE, SIZE), fps=25.0) as writer:
        for index in range(count):
            head = soft.astype(np.uint8)
            writer.add(noise((SIZE, SIZE, 3), index), np.stack([head, head, 0 * head], -1))
        writer.finish(
            tracking={
                "K": first.K, "head_to_camera": first.head_to_camera, "vertices": first.vertices,
                "expression": first.expression, "landmarks": np.ones((count, 5, 2)),
                "torso_motion": first.torso_motion, "torso_measured": np.ones(count, bool),
                "status": np.array([0, 2, 0, 0]),
            },
            head=first.head, background=noise((SIZE, SIZE, 3), 9),
            audio=np.zeros(4 * 640, np.float32),
        )  # fmt: skip
    notes = export_insta(tmp_path / "capture", tmp_path / "insta")
    assert "depth was drawn from the meshes" in notes
    import_capture("insta", tmp_path / "insta", tmp_path / "back")
    capture, back = load_capture(tmp_path / "capture"), load_capture(tmp_path / "back")
    kept = [0, 2, 3]
    for name in ("vertices", "expression"):
        np.testing.assert_array_equal(getattr(back, name), getattr(capture, name)[kept])
    np.testing.assert_allclose(back.head_to_camera, capture.head_to_camera[kept], atol=1e-7)
    np.testing.assert_array_equal(back.K, capture.K)
    np.testing.assert_array_equal(back.head.template, capture.head.template)
    np.testing.assert_array_equal(back.head.faces, capture.head.faces)
    assert [kept[i] for i in back.train] == capture.train.tolist()
    assert [kept[i] for i in back.test] == capture.test.tolist()
    for new, old in enumerate(kept):
        share = capture.masks(old)[..., 1:2] / np.float32(255)
        shown = np.round(share * capture.frame(old) + (1 - share) * 255)
        np.testing.assert_array_equal(back.frame(new), shown)
        np.testing.assert_array_equal(back.masks(new)[..., 1], capture.masks(old)[..., 1])
    # The drawn depth is the mesh's: the ellipsoid's front is nearer than its centre, 0.5 m away.
    depth = back.layer("depth", 0)
    assert depth[0, 0] == 0 and 390 <= depth[12, 12] <= 430
    # The exported subject is itself exported to the same bytes of meshes and cameras.
    export_insta(tmp_path / "back", tmp_path / "again")
    for name in ("canonical.obj", "meshes/00000.obj", "flame/exp/00000.txt", "images/00000.png"):
        assert (tmp_path / "again" / name).is_file()
    first_mesh = (tmp_path / "insta" / "meshes" / "00000.obj").read_bytes()
    assert (tmp_path / "again" / "meshes" / "00000.obj").read_bytes() == first_mesh


def test_what_cannot_be_exported(subject, tmp_path):
    folders.adnerf(tmp_path / "speaker")
    import_capture("adnerf", tmp_path / "speaker", tmp_path / "capture")
    with pytest.raises(InputError, match="no head mesh"):
        export_insta(tmp_path / "capture", tmp_path / "out")
    import_capture("insta", subject, tmp_path / "good")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    with pytest.raises(InputError, match="exists"):
        export_insta(tmp_path / "good", tmp_path / "out")


def test_other_formats_and_folders(tmp_path):
    with pytest.raises(InputError, match="'isnta', expected one of insta, "):
        import_capture("isnta", tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no such folder"):
        import_capture("insta", tmp_path / "none", tmp_path / "out")
    with pytest.raises(InputError, match="lacks transforms_train.json"):
        import_capture("insta", tmp_path, tmp_path / "out")
