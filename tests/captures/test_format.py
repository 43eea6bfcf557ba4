"""The capture folder: round trip, validation, split."""

import json

import numpy as np
import pytest
from captures.nonsense import with_nonsense
from captures.small_captures import small_head
from files.making import mutated

from jaxhead.captures.format import CaptureWriter, load_capture, split_frames
from jaxhead.captures.validate import file_digest
from jaxhead.files.arrays import read_npz, write_npz
from jaxhead.files.errors import InputError

SIZE, FRAMES = 16, 5


def small_tracking(**changes):
    rng = np.random.default_rng(1)
    arrays = {
        "K": np.eye(3),
        "head_to_camera": np.tile(np.eye(4), (FRAMES, 1, 1)),
        "expression": rng.uniform(size=(FRAMES, 2)),
        "vertices": rng.normal(size=(FRAMES, 4, 3)),
        "landmarks": rng.normal(size=(FRAMES, 6, 2)),
        "torso_motion": np.tile(np.eye(2, 3), (FRAMES, 1, 1)),
        "torso_measured": np.ones(FRAMES, bool),
        "status": np.array([0, 1, 0, 2, 0]),
    }
    return {**arrays, **changes}


def pictures():
    return np.random.default_rng(2).integers(0, 256, (2, FRAMES, SIZE, SIZE, 3)).astype(np.uint8)


def write(path, *, audio=None, **changes):
    frames, masks = pictures()
    with CaptureWriter(path, size=(SIZE, SIZE), fps=25.0) as writer:
        for frame, mask in zip(frames, masks):
            writer.add(frame, mask)
        writer.finish(
            tracking=small_tracking(**changes),
            head=small_head(),
            background=frames[0],
            audio=audio,
            reasons={3: "hidden"},
        )
    return path


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "capture", audio=np.linspace(-0.5, 0.5, 3200, dtype=np.float32))


def test_round_trip(folder):
    capture = load_capture(folder)
    frames, masks = pictures()
    assert len(capture) == FRAMES and capture.size == (SIZE, SIZE) and capture.fps == 25.0
    np.testing.assert_array_equal(capture.frame(3), frames[3])
    np.testing.assert_array_equal(capture.masks(4), masks[4])
    np.testing.assert_array_equal(capture.background, frames[0])
    for name, value in small_tracking().items():
        np.testing.assert_allclose(getattr(capture, name), value, atol=1e-6, err_msg=name)
    assert capture.head.expression_names == ("a", "b")
    np.testing.assert_allclose(capture.audio(), np.linspace(-0.5, 0.5, 3200), atol=1e-4)
    assert capture.train.tolist() == [0, 1, 2] and capture.test.tolist() == [4]
    assert capture.info["dropped"] == [{"first": 3, "last": 3, "reason": "hidden"}]
    assert capture.info["interpolated"][0]["first"] == 1


def test_digest_names_the_content(folder, tmp_path):
    again = write(tmp_path / "again", audio=np.linspace(-0.5, 0.5, 3200, dtype=np.float32))
    other = write(tmp_path / "other")
    assert load_capture(folder).digest == load_capture(again).digest
    assert load_capture(folder).digest != load_capture(other).digest
    assert load_capture(other).audio() is None


@pytest.mark.parametrize("name", ["tracking.npz", "head.npz", "background.png", "audio.wav"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_damage_is_one_line(folder, name, damage):
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(InputError, match=name):
        load_capture(folder)


def test_a_damaged_frame_is_found_when_it_is_read(folder):
    path = folder / "frames" / "000002.png"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    capture = load_capture(folder)
    with pytest.raises(InputError, match="000002"):
        capture.frame(2)
    path.unlink()
    with pytest.raises(InputError, match="000002"):
        load_capture(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"format": "other"},
        {"frames": 10**9},
        {"frames": -1},
        {"fps": "fast"},
        {"size": [16]},
        {"split": {"train": [0, 99], "test": []}},
        {"split": {}},
        {"files": []},
    ],
)
def test_other_versions_and_nonsense_are_refused(folder, change):
    path = folder / "capture.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="capture"):
        load_capture(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100000])
def test_broken_json_is_refused(folder, text):
    (folder / "capture.json").write_text(text)
    with pytest.raises(InputError):
        load_capture(folder)


def read_all(folder):
    """Everything that training takes out of a capture."""
    capture = load_capture(folder)
    capture.audio()
    for index in range(len(capture)):
        capture.frame(index)
        capture.masks(index)


def refused(folder):
    """Whether the capture was refused, in one line that names it; nothing else may be raised."""
    try:
        read_all(folder)
    except InputError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
        return True
    return False


def test_mutations_of_the_document_never_raise_anything_else(folder):
    path = folder / "capture.json"
    data = path.read_bytes()
    seen = set()
    for seed in range(150):
        random = np.random.default_rng(seed)
        if seed % 3:
            text = json.dumps(with_nonsense(json.loads(data), random), indent=1)
            path.write_text(text, encoding="utf-8")
        else:
            path.write_bytes(mutated(data, seed))
        seen.add(refused(folder))
    assert seen == {True, False}


ARRAYS = [
    np.float32(1), np.zeros(0), np.zeros((5, 0)), np.zeros((2, 2), complex), np.full((5,), np.nan),
    np.array(["a", "b"]), np.array([b"\xff"]), np.full((5, 2), np.inf), np.full(5, 2**40),
    np.full(5, -1), np.zeros((5, 4, 3), "M8[s]"), np.zeros(5, [("a", "f4")]), np.zeros((1,) * 32),
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["tracking.npz", "head.npz"])
def test_arrays_of_other_kinds_never_raise_anything_else(folder, name):
    """As a capture made by hand holds them: the digest is right."""
    arrays = read_npz(folder / name)
    document = json.loads((folder / "capture.json").read_text())
    free = {"name", "expression_names", "region_names", "torso_measured"}
    for key in [*arrays, *(["skeleton_parents"] if name == "head.npz" else [])]:
        for number, value in enumerate(ARRAYS):
            write_npz(folder / name, {**arrays, key: value})
            document["files"][name] = file_digest(folder / name)
            (folder / "capture.json").write_text(json.dumps(document))
            assert refused(folder) or key in free, (key, number)


def test_a_folder_that_is_no_capture(tmp_path):
    with pytest.raises(InputError, match="not a capture"):
        load_capture(tmp_path)


def test_a_capture_without_sway_stands_still(folder):
    capture = load_capture(folder)
    assert capture.sway.shape == (FRAMES, 2, 2, 2) and not capture.sway.any()
    assert np.all(capture.sway_box[1] > capture.sway_box[0])


def test_sway_is_kept_and_checked(tmp_path):
    sway = np.random.default_rng(0).normal(size=(FRAMES, 3, 3, 2)).astype(np.float32)
    box = np.array([[-0.2, -0.1], [0.2, 0.3]], np.float32)
    write(tmp_path / "good", sway=sway, sway_box=box)
    capture = load_capture(tmp_path / "good")
    np.testing.assert_array_equal(capture.sway, sway)
    np.testing.assert_array_equal(capture.sway_box, box)
    for changes in (
        {"sway": sway[:, :2]}, {"sway": sway[1:]}, {"sway": sway[:, :1, :1]},
        {"sway_box": box[::-1]}, {"sway": np.full_like(sway, np.nan)},
    ):  # fmt: skip
        with pytest.raises(InputError, match="sway"):
            write(tmp_path / "bad", **{"sway": sway, "sway_box": box} | changes)


def write_extended(path, *, features=None, **changes):
    """A capture without a mesh, with everything that is optional."""
    frames, masks = pictures()
    rng = np.random.default_rng(3)
    arrays = small_tracking(
        face_rect=rng.uniform(0, 8, (FRAMES, 4)), eye_openness=rng.uniform(size=FRAMES),
        landmarks=np.zeros((FRAMES, 0, 2)), expression=np.zeros((FRAMES, 0)),
    )  # fmt: skip
    del arrays["vertices"]
    layers = {
        "depth": np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 100,
        "parsing": frames[0, ..., 0],
        "torso": np.concatenate([frames[1], masks[1, ..., :1]], -1),
    }
    with CaptureWriter(path, size=(SIZE, SIZE), fps=25.0) as writer:
        for frame, mask in zip(frames, masks):
            writer.add(frame, mask, layers)
        writer.finish(
            tracking={**arrays, **changes}, head=None, background=frames[0],
            audio_features=features or {"deepspeech": rng.normal(size=(FRAMES, 16, 29))},
        )  # fmt: skip
    return layers, arrays


def test_what_is_optional_is_kept_and_a_mesh_may_be_absent(tmp_path):
    layers, arrays = write_extended(tmp_path / "capture")
    capture = load_capture(tmp_path / "capture")
    assert not capture.has_mesh and capture.vertices.shape == (FRAMES, 0, 3)
    assert not (tmp_path / "capture" / "head.npz").exists()
    assert capture.layers() == ("depth", "parsing", "torso")
    for name, picture in layers.items():
        np.testing.assert_array_equal(capture.layer(name, 3), picture)
    for name in ("face_rect", "eye_openness"):
        np.testing.assert_allclose(getattr(capture, name), arrays[name], rtol=1e-6)
    assert capture.audio_features()["deepspeech"].shape == (FRAMES, 16, 29)
    plain = load_capture(write(tmp_path / "plain"))
    assert plain.has_mesh and plain.face_rect is None and plain.eye_openness is None
    assert plain.layers() == () and plain.audio_features() == {}
    (tmp_path / "capture" / "depth" / "000002.png").unlink()
    with pytest.raises(InputError, match="depth/000002.png"):
        load_capture(tmp_path / "capture")


@pytest.mark.parametrize(
    "change",
    [
        {"vertices": np.zeros((FRAMES, 4, 3))},
        {"face_rect": np.zeros((FRAMES, 3))},
        {"eye_openness": np.full(FRAMES, np.nan)},
        {"features": {"hubert": np.zeros((FRAMES - 1, 2, 8))}},
        {"features": {"hubert": np.full((FRAMES, 2), np.inf)}},
    ],
)
def test_what_is_optional_is_checked(tmp_path, change):
    with pytest.raises(InputError, match=next(iter(change.get("features", change)))):
        write_extended(tmp_path / "capture", **change)
    assert not list(tmp_path.iterdir())


def test_nan_never_gets_in(tmp_path):
    vertices = small_tracking()["vertices"]
    vertices[2, 1, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        write(tmp_path / "capture", vertices=vertices)
    assert not (tmp_path / "capture").exists() and not list(tmp_path.iterdir())


def test_an_existing_folder_stays(folder):
    with pytest.raises(InputError, match="exists"):
        write(folder)
    load_capture(folder)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 100])
def test_split_is_the_first_share(count):
    train, test = split_frames(np.zeros(count))
    assert len(train) == max(1, int(0.8 * count)) and len(train) + len(test) == count
    assert not len(test) or train.max() < test.min()


def test_dropping_a_frame_does_not_move_the_boundary():
    status = np.zeros(10)
    status[2] = 2
    train, test = split_frames(status)
    assert train.tolist() == [0, 1, 3, 4, 5, 6, 7] and test.tolist() == [8, 9]


def test_a_capture_without_a_training_frame_is_refused(tmp_path):
    with pytest.raises(InputError, match="training"):
        write(tmp_path / "capture", status=np.array([2, 2, 2, 2, 0]))
