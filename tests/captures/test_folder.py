import json
import pathlib

import pytest
from app.capture_stand_ins import write_capture

from jaxhead.captures.fitting.request import FitRequest
from jaxhead.captures.folder import Job, capture_names, find_videos, finished, plan
from jaxhead.files.errors import InputError


def job(folder, **other):
    given = {"name": "a", "video": str(folder / "a.mp4"), "out": str(folder / "out"),
             "size": 64, "fps": 25.0, "assets": None} | other  # fmt: skip
    return Job(**given)


@pytest.fixture
def made(tmp_path):
    """A video and its capture."""
    (tmp_path / "a.mp4").write_text("a")
    (tmp_path / "out").mkdir()
    write_capture(tmp_path / "out", tmp_path / "a.mp4", size=64, fps=25.0)
    return tmp_path


def test_videos_are_found_by_suffix_in_order(tmp_path):
    for name in ("b.MOV", "a.mp4", ".hidden.mp4", "notes.txt", "c.webm"):
        (tmp_path / name).write_text("")
    (tmp_path / "sub.mp4").mkdir()
    assert [video.name for video in find_videos(tmp_path)] == ["a.mp4", "b.MOV", "c.webm"]
    with pytest.raises(InputError, match="holds no video"):
        find_videos(tmp_path / "sub.mp4")
    with pytest.raises(InputError, match="cannot be read"):
        find_videos(tmp_path / "none")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.mp4", "b.mov"], ["a", "b"]),
        (["a.mov", "a.mp4", "b.mp4"], ["a.mov", "a.mp4", "b"]),
        (["a.mov", "a.mp4", "a.mp4.avi"], ["a.mov", "a.mp4-94ad5eca", "a.mp4.avi"]),
        (["A.mp4", "a.mp4"], ["A.mp4-4dcbc5d4", "a.mp4-94ad5eca"]),
    ],
)
def test_names_are_the_shortest_that_are_unique_on_any_file_system(files, names, tmp_path):
    found = capture_names(files, tmp_path)
    assert [name[:-8] if "-" in name else name for name in found] == [
        name[:-8] if "-" in name else name for name in names
    ]
    assert len({name.casefold() for name in found}) == len(files)


def test_a_name_stays_when_another_video_comes_or_goes(made):
    made.joinpath("out").rename(made / "a")
    assert capture_names(["a.mov", "a.mp4"], made) == ["a.mov", "a"]
    (made / "a").rename(made / "a.mp4.d")
    (made / "a.mp4").unlink()
    (made / "a.mp4.d").rename(made / "a.mp4")
    assert capture_names(["a.mp4"], made) == ["a.mp4"]


def test_a_capture_is_done_when_bytes_and_settings_are_the_same(made):
    assert finished(job(made))
    assert not finished(job(made, out=str(made / "none")))
    (made / "empty").mkdir()
    assert not finished(job(made, out=str(made / "empty")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "a.mp4").write_text("b"), "another video"),
        (lambda f: (f / "out/head.npz").unlink(), r"head\.npz: missing"),
        (lambda f: (f / "out/capture.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "out/capture.json").unlink(), "not a capture folder"),
        (lambda f: _without_source(f / "out/capture.json"), "another video"),
    ],
)
def test_what_is_something_else_is_named_and_kept(made, change, words):
    change(made)
    before = sorted(made.rglob("*"))
    with pytest.raises(InputError, match=words):
        finished(job(made))
    assert sorted(made.rglob("*")) == before


def _without_source(path: pathlib.Path):
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"source": None}))


@pytest.mark.parametrize("other", [{"size": 128}, {"fps": 30.0}])
def test_other_settings_are_not_taken_for_done(made, other):
    with pytest.raises(InputError, match="exists already, of size 64 and 25 frames/s"):
        finished(job(made, **other))


def test_another_head_is_not_taken_for_done(made):
    (made / "head.npz").write_bytes(b"a head")
    asked = {"head": f"npz:{made}/head.npz", "photometric": True}
    with pytest.raises(InputError, match="fitted with no head model, expected npz of SHA-256 .*to"):
        finished(job(made, **asked))
    fitting = job(made, **asked).request.described()
    write_capture(made / "out", made / "a.mp4", size=64, fps=25.0, fitting=fitting)
    assert finished(job(made, **asked))
    (made / "moved.npz").write_bytes(b"a head")
    assert finished(job(made, **asked | {"head": f"npz:{made}/moved.npz"}))
    for change in ({"photometric": False}, {"start": "deca"}, {"head": f"npz:{made}/a.mp4"},
                   {"head": f"flame:{made}/head.npz"}):  # fmt: skip
        with pytest.raises(InputError, match="exists already, fitted with npz of SHA-256 .* expec"):
            finished(job(made, **asked | change))
    with pytest.raises(InputError, match="to the pixels from landmarks, expected no head model"):
        finished(job(made))
    with pytest.raises(InputError, match=r"none\.npz: cannot be read"):
        finished(job(made, head=f"npz:{made}/none.npz"))


def test_a_capture_that_says_no_more_than_its_heads_name_is_another(made):
    path = made / "out/capture.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tracking": {"head": "flame"}}))
    with pytest.raises(InputError, match="fitted with flame, expected no head model"):
        finished(job(made))


def test_a_plan_begins_with_what_seems_to_be_there(made):
    (made / "0.mp4").write_text("0")
    captures = made / "captures"
    captures.mkdir()
    (made / "out").rename(captures / "a")
    request = FitRequest(head="flame:f.pkl", start="deca")
    jobs = plan(made, captures, size=64, fps=25.0, request=request)
    assert [one.name for one in jobs] == ["a", "0"] and jobs[0].request == request
    assert plan(made, captures, size=64, fps=25.0)[0].request is None
    assert jobs[1].out == str(captures / "0") and jobs[1].video == str(made / "0.mp4")


def test_places_that_hold_something_else_are_refused(made):
    for out, words in (("", "folder of the videos"), ("out", "is a capture"), ("a.mp4", "not a")):
        with pytest.raises(InputError, match=words):
            plan(made, made / out, size=64, fps=25.0)
