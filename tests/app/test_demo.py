"""The demo's steps, its refusals and how it goes on."""

import pathlib

import pytest

from jaxhead.app import demo


@pytest.fixture
def commands(monkeypatch):
    """Records the commands; each makes its output, as the real ones do."""
    seen = []

    def main(argv):
        seen.append(list(argv))
        out = pathlib.Path(argv[argv.index("--out") + 1])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("made")
        return 0

    monkeypatch.setattr(demo, "main", main)
    return seen


def test_synthetic_demo_from_nothing_and_again(tmp_path, commands, capsys):
    out = str(tmp_path / "demo")
    assert demo.run(["--out", out, "--minutes", "0.5"]) == 0
    assert [argv[0] for argv in commands] == ["synthesize", "train", "render", "render", "evaluate"]
    assert commands[1][-2:] == ["--minutes", "0.5"]
    assert "heldout.mp4" in capsys.readouterr().out
    commands.clear()
    assert demo.run(["--out", out, "--minutes", "0.5"]) == 0
    assert [argv[0] for argv in commands] == ["train"]


def test_video_with_a_leading_dash(tmp_path, commands, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-me.mp4").write_bytes(b"")
    assert demo.run(["--video", "-me.mp4"]) == 0
    assert commands[0][0] == "capture" and commands[0][-2:] == ["--", "-me.mp4"]


def test_a_failing_step_ends_the_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "main", lambda argv: 130 if argv[0] == "train" else 0)
    assert demo.run(["--out", str(tmp_path / "demo")]) == 130


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--out", "taken"], 1),
        (["--out", "file"], 1),
        (["--video", "no.mp4"], 1),
        (["--minuets", "3"], 2),
        (["--size", "big"], 2),
        (["more"], 2),
    ],
)
def test_refusals(argv, code, tmp_path, monkeypatch, commands, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("kept")
    (tmp_path / "file").write_text("kept")
    assert demo.run(argv) == code
    assert capsys.readouterr().err.count("\n") == 1 and not commands
    assert (tmp_path / "taken" / "file").read_text() == "kept"


def test_other_settings_are_refused(tmp_path, commands, capsys):
    out = str(tmp_path / "demo")
    assert demo.run(["--out", out]) == 0
    assert demo.run(["--out", out, "--size", "256"]) == 1
    assert "other settings" in capsys.readouterr().err
