"""AD-NeRF's and RAD-NeRF's folders: colours of the parser, rows of sound, frames without a face."""

import numpy as np
import pytest
from captures.importers.folders import (
    FOCAL,
    SIZE,
    adnerf,
    noise,
    parsed,
    picture,
    poses,
    rewrite,
    torch_archive,
)

from jaxhead.captures.format import load_capture
from jaxhead.captures.importers.importing import import_capture
from jaxhead.captures.importers.speech import face_rects
from jaxhead.captures.validate import DROPPED
from jaxhead.files.errors import InputError
from jaxhead.files.sound import write_wav


@pytest.fixture
def speaker(tmp_path):
    return adnerf(tmp_path / "speaker")


@pytest.mark.parametrize("form, shift", [("adnerf", 0.5), ("radnerf", 0.0)])
def test_everything_is_kept(speaker, tmp_path, form, shift):
    notes = import_capture(form, speaker, tmp_path / "out")
    capture = load_capture(tmp_path / "out")
    assert capture.info["notes"] == notes and not capture.has_mesh
    assert capture.train.tolist() == [0, 1, 3] and capture.test.tolist() == [4, 5]
    assert capture.status.tolist() == [0, 0, DROPPED, 0, 0, 0]
    listed = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(capture.head_to_camera[listed], poses(6)[listed], atol=1e-6)
    centre = SIZE / 2 + shift
    np.testing.assert_array_equal(capture.K, [[FOCAL, 0, centre], [0, FOCAL, centre], [0, 0, 1]])
    for index in range(6):
        # Pictures are lossless here; the one without a face keeps its moment in the sound.
        np.testing.assert_array_equal(capture.frame(index), noise((SIZE, SIZE, 3), index))
    np.testing.assert_allclose(capture.background, 90, atol=1)
    features = capture.audio_features()["deepspeech"]
    np.testing.assert_array_equal(features[:, 3, 7], [0, 1, 2, 3, 4, 4])
    assert any("stands for 1 frames more" in note for note in notes)
    np.testing.assert_array_equal(capture.face_rect[[0, 5]], [[3, 4, 10, 11], [3, 4, 10, 16]])
    convention = capture.info["convention"]
    assert convention["pixel_centre"] == 0.5 - shift
    assert abs(convention["near"] - 0.3) < 1e-6 and abs(convention["far"] - 0.9) < 1e-6


def test_the_parser_s_blue_is_the_head(speaker, tmp_path):
    import_capture("adnerf", speaker, tmp_path / "out")
    capture = load_capture(tmp_path / "out")
    colours = parsed()
    head = (colours == (0, 0, 255)).all(-1)
    neck, cloth = ((colours == c).all(-1) for c in ((0, 255, 0), (255, 0, 0)))
    person, found, torso = np.moveaxis(capture.masks(3), -1, 0)
    np.testing.assert_array_equal(found, 255 * head)
    np.testing.assert_array_equal(torso, 255 * (neck | cloth))
    np.testing.assert_array_equal(person, 255 * (head | neck | cloth))
    classes = capture.layer("parsing", 3)
    names = capture.info["parsing_classes"]
    for mask, name in ((head, "head"), (neck, "neck"), (cloth, "cloth")):
        assert {names[str(c)] for c in classes[mask]} == {name}
    assert not capture.masks(2).any()


def test_what_radnerf_and_ernerf_add(speaker, tmp_path):
    rows = 2
    np.save(speaker / "aud_hu.npy", np.ones((6, 2, 1024), np.float32))
    np.save(speaker / "aud_eo.npy", np.ones((6, 16, 44), np.float32))
    np.save(speaker / "aud_ds.npy", np.full((6, 16, 29), 5.0))
    text = "frame, AU45_r, AU45_c\n" + "".join(f"{k}, {k}.5, 1\n" for k in range(rows))
    (speaker / "au.csv").write_text(text)
    torch_archive(speaker / "track_params.pt", {
        "exp": np.arange(5 * 79, dtype=np.float32).reshape(5, 79), "focal": np.array([FOCAL]),
    })  # fmt: skip
    write_wav(speaker / "aud.wav", np.linspace(-0.5, 0.5, 6 * 640, dtype=np.float32), 16000)
    for index in range(6):
        picture(speaker / f"torso_imgs/{index}.png", noise((SIZE, SIZE, 4), 50 + index))
    for split in ("train", "val"):
        rewrite(speaker / f"transforms_{split}.json", lambda d: [f.pop("face_rect")
                                                                 for f in d["frames"]])  # fmt: skip
    import_capture("radnerf", speaker, tmp_path / "out")
    capture = load_capture(tmp_path / "out")
    features = capture.audio_features()
    assert {name: value.shape[1:] for name, value in features.items()} == {
        "aud": (16, 29), "deepspeech": (16, 29), "esperanto": (16, 44), "hubert": (2, 1024)
    }  # fmt: skip
    assert np.all(features["deepspeech"] == 5)
    np.testing.assert_allclose(capture.eye_openness, [0.75, 0.25, 0.25, 0.25, 0.25, 0.25])
    # Frame 2 was not tracked: the rows of the others follow each other.
    np.testing.assert_array_equal(capture.expression[[0, 1, 3, 4, 5], 0], 79 * np.arange(5))
    assert len(capture.audio()) == 6 * 640
    np.testing.assert_array_equal(capture.layer("torso", 4), noise((SIZE, SIZE, 4), 54))
    assert capture.landmarks.shape == (6, 68, 2)
    np.testing.assert_allclose(
        capture.face_rect, face_rects(capture.landmarks.astype(float), (SIZE, SIZE)), atol=1.01
    )


def test_frames_that_lost_their_landmarks_are_told_of(speaker, tmp_path):
    (speaker / "ori_imgs/3.lms").unlink()
    notes = import_capture("radnerf", speaker, tmp_path / "out")
    assert any("1 listed frames have none, 3 is the first" in note for note in notes)
    assert load_capture(tmp_path / "out").landmarks.shape == (6, 0, 2)


def test_a_subject_without_a_training_frame_is_refused(speaker, tmp_path):
    """Only the last of ten frames is listed, and no split says that it trains."""
    (speaker / "transforms_val.json").unlink()
    (speaker / "bc.jpg").unlink()
    for kind in ("ori_imgs", "parsing"):
        (speaker / kind / "1.png").rename(speaker / kind / "9.png")
    rewrite(speaker / "transforms_train.json",
            lambda d: d.update(frames=[{**d["frames"][1], "img_id": 9}]))  # fmt: skip
    with pytest.raises(InputError, match="speaker: no usable frame in the training part"):
        import_capture("adnerf", speaker, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_face_rectangles_by_hand():
    marks = np.full((1, 68, 2), 10.0)
    marks[0, 0], marks[0, 16], marks[0, 27], marks[0, 8] = (4, 12), (20, 12), (12, 10), (12, 18)
    # centre x 12, half width (20 - 12) 1.5 = 12, half height (18 - 10) 1.15 = 9.2
    np.testing.assert_array_equal(face_rects(marks, (24, 24)), [[0, 1, 23, 18]])
    np.testing.assert_array_equal(face_rects(marks, (100, 100)), [[0, 1, 24, 18]])


def test_without_what_may_lack(speaker, tmp_path):
    for name in ("bc.jpg", "aud.npy", "transforms_val.json"):
        (speaker / name).unlink()
    for path in (speaker / "ori_imgs").glob("*.lms"):
        path.unlink()
    (speaker / "ori_imgs").rename(speaker / "gt_imgs")
    notes = "\n".join(import_capture("radnerf", speaker, tmp_path / "out", size=12))
    capture = load_capture(tmp_path / "out")
    for what in ("pictures: gt_imgs", "audio features: missing", "sound: missing",
                 "background: median", "landmarks: missing"):  # fmt: skip
        assert what in notes
    assert len(capture) == 4 and capture.train.tolist() == [0, 1] and capture.test.tolist() == [3]
    np.testing.assert_array_equal(capture.face_rect[0], [1.5, 2, 5, 5.5])
    assert np.unique(capture.layer("parsing", 0)).tolist() == [0, 1, 2, 3]


def train(change):
    return lambda path: rewrite(path / "transforms_train.json", change)


MISTAKES = {
    "listed but absent": (lambda p: (p / "ori_imgs/1.png").unlink(), "ori_imgs: lacks picture 1"),
    "no parsing": (lambda p: (p / "parsing/3.png").unlink(), "parsing: lacks picture 3"),
    "no train": (lambda p: (p / "transforms_train.json").unlink(), "transforms_train.json"),
    "no camera": (train(lambda d: d.pop("focal_len")), "focal_len is missing"),
    "other camera": (train(lambda d: d.update(focal_len=61)), "another camera"),
    "twice": (train(lambda d: d["frames"].append(d["frames"][0])), "img_id 0 is listed twice"),
    "huge number": (train(lambda d: d["frames"][0].update(img_id=9_000_000)), "img_id 9000000"),
    "fraction": (train(lambda d: d["frames"][0].update(img_id=1.5)), "whole number"),
    "one rect less": (train(lambda d: d["frames"][0].pop("face_rect")), "face_rect is missing"),
    "mirrored": (
        train(lambda d: [r.__setitem__(1, -r[1]) for r in d["frames"][0]["transform_matrix"]]),
        "mirrors",
    ),
    "other colour": (
        lambda p: picture(p / "parsing/1.png", np.full((SIZE, SIZE, 3), 120, np.uint8)),
        r"colour \(120, 120, 120\) at row 0",
    ),
    "other size": (lambda p: picture(p / "ori_imgs/1.png", noise((8, SIZE, 3))), "24 x 8"),
    "plate of another size": (lambda p: picture(p / "bc.jpg", noise((8, 8, 3))), "8 x 8"),
    "features": (lambda p: np.save(p / "aud.npy", np.full((5, 16, 29), np.nan)), "not finite"),
    "no features": (lambda p: np.save(p / "aud.npy", np.zeros((0, 16, 29))), "one row per frame"),
    "text": (lambda p: np.save(p / "aud.npy", np.array([["a"]])), "aud.npy"),
    "au": (lambda p: (p / "au.csv").write_text("AU45_r\nx\n"), "AU45_r"),
    "no au": (lambda p: (p / "au.csv").write_text("a,b\n1,2\n"), "AU45_r is missing"),
    "marks": (lambda p: (p / "ori_imgs/1.lms").write_text("1 2"), "1 landmarks, expected 68"),
    "track": (lambda p: torch_archive(p / "track_params.pt", {"euler": 1}), "exp is missing"),
    "one torso": (lambda p: picture(p / "torso_imgs/1.png", noise((SIZE, SIZE, 4))), "picture 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(speaker, tmp_path, mistake):
    spoil, reason = MISTAKES[mistake]
    spoil(speaker)
    with pytest.raises(InputError, match=reason) as caught:
        import_capture("adnerf", speaker, tmp_path / "out")
    assert str(speaker) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["speaker"]
