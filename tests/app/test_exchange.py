"""The capture verb with --from and --export."""

import pytest
from captures.importers.folders import adnerf, insta, rewrite

from jaxhead.app.main import main
from jaxhead.app.verbs import VERBS
from jaxhead.captures.format import load_capture
from jaxhead.captures.importers.importing import FORMATS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxhead.app.exchange.prepare_jax", lambda: None)
    insta(tmp_path / "subject")
    return tmp_path


def test_a_subject_becomes_a_capture_and_is_summed_up(folder, capsys):
    assert main(["capture", "subject", "--from", "insta", "--out", "c", "--fps", "30"]) == 0
    capture = load_capture(folder / "c")
    assert capture.fps == 30 and capture.size == (24, 24)
    out, error = capsys.readouterr()
    assert out.splitlines()[:-1] == capture.info["notes"] and out.endswith("c: a capture\n")
    assert "frames 4/4" in error


def test_size_is_that_of_the_pictures_unless_it_is_asked_for(folder):
    assert main(["capture", "subject", "--from", "insta", "--out", "c", "--size", "64"]) == 0
    assert load_capture(folder / "c").size == (64, 64)


def test_what_is_missing_is_one_line_and_leaves_nothing(folder, capsys):
    rewrite(folder / "subject/transforms_train.json", lambda d: d["frames"][1].pop("mesh_path"))
    assert main(["capture", "subject", "--from", "insta", "--out", "c"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "frames[1]: mesh_path is missing" in lines[0]
    assert [path.name for path in folder.iterdir()] == ["subject"]


def test_outputs_are_never_replaced(folder, capsys):
    assert main(["capture", "subject", "--from", "insta", "--out", "subject"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_export_of_a_capture_without_a_mesh(folder, capsys):
    adnerf(folder / "speaker")
    assert main(["capture", "speaker", "--from", "adnerf", "--out", "c"]) == 0
    assert main(["capture", "c", "--export", "insta", "--out", "e"]) == 1
    assert "no head mesh" in capsys.readouterr().err
    assert not (folder / "e").exists()


@pytest.mark.parametrize(
    "flags, reason",
    [
        (["--from", "insta", "--export", "insta", "--out", "c"], "one of them"),
        (["--from", "insta"], "--out is missing"),
        (["--from", "insta", "--out", "c", "--check"], "--check has nothing to do with --from"),
        (["--export", "insta", "--out", "c", "--size", "64"], "--size has nothing to do"),
        (["--from", "nerface", "--out", "c", "--head", "flame:a"], "--head has nothing to do"),
        (["--from", "isnta", "--out", "c"], "insta"),
    ],
)
def test_flags_that_do_not_fit(folder, capsys, flags, reason):
    assert main(["capture", "subject", *flags]) == 2
    assert reason in capsys.readouterr().err


def test_help_names_every_format(capsys):
    assert main(["capture", "--help"]) == 0
    assert f"--from {'|'.join(FORMATS)}" in capsys.readouterr().out
    assert any("--from insta" in example for example in VERBS["capture"].examples)
