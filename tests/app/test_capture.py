"""The capture verb around what does the work."""

import json
import pathlib
import sys
import types

import numpy as np
import pytest

from jaxhead.app import capture as verb
from jaxhead.app.main import main
from jaxhead.files.errors import InputError

_INFO = {
    "format": "jaxhead-capture",
    "version": 1,
    "fps": 25.0,
    "size": [64, 64],
    "frames": 30,
    "audio_rate": 16000,
    "split": {"train": list(range(20)), "test": list(range(20, 30))},
    "notes": ["20 of 30 frames show several faces: one of them was followed"],
    "interpolated": [{"first": 3, "last": 3, "reason": "no face in a short gap"}],
    "dropped": [{"first": 8, "last": 14, "reason": "no face in a gap longer than 5 frames"}],
    "files": {},
}


@pytest.fixture
def workers(monkeypatch, tmp_path):
    """Stand-ins for the prober, the checker and the recorder that note their arguments."""
    calls = []

    def record(video, out, *, size, fps, assets, progress):
        for stage in ("landmarks", "frames"):
            for done in range(4):
                progress(stage, done + 1, 4)
        calls.append(("record", video, out, size, fps, assets))
        (tmp_path / out).mkdir()
        (tmp_path / out / "capture.json").write_text(json.dumps(_INFO))

    def check(video, assets, *, fps, progress):
        progress("check", 4, 4)
        calls.append(("check", video, assets, fps))
        return types.SimpleNamespace(text=lambda: f"{video}: good")

    for name, function in (("check", check), ("record", record)):
        module = types.SimpleNamespace(**{name: function})
        monkeypatch.setitem(sys.modules, f"jaxhead.captures.{name}", module)
    monkeypatch.setattr("jaxhead.files.video.probe", lambda path: None)
    monkeypatch.setattr(verb, "prepare_jax", lambda: None)
    monkeypatch.chdir(tmp_path)
    return calls


def test_a_head_is_read_before_the_video(workers, monkeypatch, capsys):
    asked = []

    def record(video, out, *, fittable, photometric, fitting, **options):
        asked.append((fittable, photometric, fitting["start"], "regressor" in options))
        raise InputError("stopped here")

    monkeypatch.setattr(sys.modules["jaxhead.captures.record"], "record", record)
    monkeypatch.setattr("jaxhead.captures.fitting.sources.read_head", lambda spec: spec)
    monkeypatch.setattr("jaxhead.captures.fitting.sources.fittable_of", lambda head: ("fit", head))
    pathlib.Path("head.npz").write_bytes(b"a head")
    argv = ["capture", "v.mp4", "--out", "c", "--head", "npz:head.npz", "--photometric"]
    assert main(argv) == 1
    assert asked == [(("fit", "npz:head.npz"), True, "landmarks", False)]


def test_deca_starts_flame_alone_and_only_with_its_checkpoint(
    workers, monkeypatch, tmp_path, capsys
):
    (tmp_path / "f.pkl").write_bytes(b"a head")
    monkeypatch.setattr("jaxhead.captures.fitting.sources.read_head", lambda spec: spec)
    for name, words in (("small", "f.pkl: head 'small': DECA's"), ("flame", "deca_model.tar in")):
        head = types.SimpleNamespace(name=name)
        body = types.SimpleNamespace(parents=(-1, 0, 1, 1, 1))
        fittable = types.SimpleNamespace(head=head, body=body)
        monkeypatch.setattr(
            "jaxhead.captures.fitting.sources.fittable_of", lambda _, found=fittable: found
        )
        argv = ["capture", "v.mp4", "--out", "c", "--head", "flame:f.pkl", "--start", "deca"]
        assert main([*argv, "--assets", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not workers and not (tmp_path / "c").exists()


def test_capture_passes_its_flags_and_counts_each_stage(workers, capsys):
    argv = ["capture", "--size", "128", "v.mp4", "--fps", "30", "--out", "c", "--assets", "a"]
    assert main(argv) == 0
    assert workers == [("record", "v.mp4", "c", 128, 30.0, "a")]
    out, error = capsys.readouterr()
    assert "overlay.mp4" in out
    assert error.index("landmarks 4/4") < error.index("frames 4/4")


def test_check_alone_captures_nothing_and_with_out_comes_first(workers, capsys):
    assert main(["capture", "v.mp4", "--check"]) == 0
    assert workers == [("check", "v.mp4", None, 25.0)]
    assert "v.mp4: good" in capsys.readouterr().out
    workers.clear()
    assert main(["capture", "v.mp4", "--check", "--out", "c"]) == 0
    assert [call[0] for call in workers] == ["check", "record"]


def test_what_was_not_measured_is_told(workers, capsys):
    assert main(["capture", "v.mp4", "--out", "c"]) == 0
    said = capsys.readouterr().err
    assert "note: 20 of 30 frames show several faces" in said
    assert "note: frame 3 is interpolated: no face in a short gap" in said
    assert "note: frames 8 to 14 are in neither split: no face in a gap longer" in said


def test_many_notes_are_cut_short(workers, monkeypatch, capsys):
    gaps = [{"first": i, "last": i, "reason": "no face"} for i in range(0, 30, 2)]
    monkeypatch.setitem(_INFO, "interpolated", gaps)
    assert main(["capture", "v.mp4", "--out", "c"]) == 0
    said = capsys.readouterr().err
    assert said.count("note: ") == 11 and "and 7 more, see" in said


def test_a_video_without_a_face_is_one_line(workers, monkeypatch, capsys):
    def record(*_, **__):
        raise InputError("v.mp4: no face was found in any of the 10 frames")

    monkeypatch.setattr(sys.modules["jaxhead.captures.record"], "record", record)
    assert main(["capture", "v.mp4", "--out", "c"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_real_clip_without_a_face(assets, tmp_path, capfd):
    pytest.importorskip("mediapipe")
    from jaxhead.files.video_writer import VideoWriter

    clip = tmp_path / "wall.mp4"
    with VideoWriter(clip, 25) as writer:
        for shade in range(6):
            writer.write(np.full((96, 128, 3), 40 * shade, np.uint8))
    argv = ["capture", str(clip), "--assets", str(assets)]
    for more in (["--out", str(tmp_path / "c")], ["--check"]):
        assert main([*argv, *more]) == 1
        lines = capfd.readouterr().err.strip().splitlines()
        assert "no face" in lines[-1] and lines[-1].startswith(f"jaxhead: {clip}: ")
        assert [path.name for path in tmp_path.iterdir()] == ["wall.mp4"]
