import pathlib
import sys

import pytest
from captures.small_captures import small_capture

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The repository's root on the path, as `python -m` has it."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_shards_of_a_folder_of_captures(tmp_path, monkeypatch, capsys):
    pytest.importorskip("array_record", reason="needs array-record: pip install 'jaxhead[corpora]'")
    from experiments.benchmarks.flags import run_module
    from experiments.make_shards import _define, _run

    for name in ("a", "b"):
        small_capture(tmp_path / "captures" / name)
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        return run_module("m", "Shards.", _define, _run, positionals=("CAPTURE...",), argv=argv)

    assert run("captures", "captures/a", "--out", "s", "--frames", "4", "--nomasks") == 0
    assert capsys.readouterr().out == "s: 12 clips of 3 captures\n"
    assert run("captures", "--out", "s") == 1 and "exists already" in capsys.readouterr().err
    assert run("s", "--out", "t") == 1 and "neither a capture" in capsys.readouterr().err
    assert run("captures") == 2 and not (tmp_path / "t").exists()
    assert "experiments" in sys.modules
