"""Which configuration and seed a training gets, and how its end is told."""

import contextlib
import dataclasses
import json
import sys
import types

import pytest

from jaxhead.app import train
from jaxhead.app.main import main
from jaxhead.training import runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    levels: int = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    field: Field = Field()
    rate: float = dataclasses.field(default=0.5, metadata={"minimum": 0.0, "maximum": 1.0})


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A system that records how it is called."""
    calls = []

    def toy_train(captures, out, **options):
        calls.append((captures, out, options))
        plain = types.SimpleNamespace(interrupted=toy_train.signal, step=3, steps=9)
        return toy_train.result or plain

    toy_train.signal = toy_train.result = None
    system = types.SimpleNamespace(
        presets={"default": Config, "small": lambda: Config(field=Field(levels=2))},
        train=toy_train,
        calls=calls,
    )

    def many_train(captures, out, **options):
        calls.append((captures, out, options))
        names = [capture.name for capture in captures] or sorted(p.name for p in out.iterdir())
        return [
            types.SimpleNamespace(
                interrupted=toy_train.signal, step=3, steps=9,
                run=types.SimpleNamespace(path=(out / name).absolute()),
            )
            for name in names
        ]  # fmt: skip

    registry = types.SimpleNamespace(
        SYSTEMS=("toy",), load=lambda name: system,
        load_many=lambda name: types.SimpleNamespace(train=many_train),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "jaxhead.systems.registry", registry)
    monkeypatch.setattr("jaxhead.systems.registry", registry, raising=False)
    monkeypatch.setattr(train, "joined", lambda cluster, devices: contextlib.nullcontext())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "d").mkdir()
    return system


def _run_of(path, system="toy", levels=7):
    runs.create_run(path, system=system, config={"field": {"levels": levels}, "rate": 0.5}, seed=4)


def test_presets_and_overrides(toy):
    argv = ["train", "toy", "c", "--out", "r", "--preset", "small", "--set", "rate=0.25"]
    assert main([*argv, "--steps", "5", "--seed", "3"]) == 0
    ((captures, out, options),) = toy.calls
    assert [str(c) for c in captures] == ["c"] and str(out) == "r"
    assert options["config"] == Config(field=Field(levels=2), rate=0.25)
    assert (options["steps"], options["minutes"], options["seed"]) == (5, None, 3)


def test_a_run_goes_on_with_its_own_configuration_and_seed(toy, tmp_path):
    _run_of(tmp_path / "r")
    assert main(["train", "toy", "c", "--out", "r"]) == 0
    options = toy.calls[0][2]
    assert options["config"].field.levels == 7 and options["seed"] == 4


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["toy", "c", "--set", "field.level=3"], 2, ["field.level", "field.levels"]),
        (["toy", "c", "--set", "rate=2"], 2, ["rate", "1.0"]),
        (["toy", "c", "--set", "rate=fast"], 2, ["rate", "fast"]),
        (["toy", "c", "--preset", "smal"], 2, ["small"]),
        (["tyo", "c"], 2, ["tyo", "toy"]),
        (["toy", "nothing"], 1, ["nothing"]),
    ],
)
def test_what_is_wrong_writes_nothing(toy, argv, code, words, capsys, tmp_path):
    assert main(["train", *argv, "--out", "r"]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert not (tmp_path / "r").exists() and not toy.calls


def test_a_run_of_another_system_or_version_is_refused(toy, tmp_path, capsys):
    _run_of(tmp_path / "r", system="other")
    assert main(["train", "toy", "c", "--out", "r"]) == 1
    assert "other" in capsys.readouterr().err
    document = json.loads((tmp_path / "r" / "run.json").read_text())
    (tmp_path / "r" / "run.json").write_text(json.dumps({**document, "version": 99}))
    assert main(["train", "toy", "c", "--out", "r"]) == 1
    assert "99" in capsys.readouterr().err
    for argv in (["render", "r", "--out", "o.mp4"], ["evaluate", "r"]):
        assert main(argv) == 1


def test_a_run_of_an_unknown_system_cannot_be_rendered(toy, tmp_path, capsys):
    _run_of(tmp_path / "r", system="other")
    assert main(["render", "r", "--out", "o.mp4"]) == 1
    assert "other" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_training_says_how_to_go_on(toy, capsys, name, code):
    toy.train.signal = name
    assert main(["train", "toy", "c", "--out", "r"]) == code
    error = capsys.readouterr().err
    assert "step 3 of 9" in error and error.count("\n") == 1


def test_a_replay_tells_what_it_found(toy, tmp_path, capsys):
    assert main(["train", "toy", "c", "--out", "r", "--replay"]) == 2
    _run_of(tmp_path / "r")
    toy.train.result = types.SimpleNamespace(text=lambda: "first not finite: color")
    assert main(["train", "toy", "--out", "r", "--replay"]) == 0
    assert "first not finite: color" in capsys.readouterr().out
    assert toy.calls[0][2]["replay"] is True
    assert main(["train", "toy", "--out", "r", "--replay", "--steps", "3"]) == 2


def test_several_captures_become_a_run_each(toy, capsys, tmp_path):
    assert main(["train", "toy", "c", "d", "--out", "r", "--steps", "9"]) == 0
    captures, out, options = toy.calls[-1]
    assert [str(c) for c in captures] == ["c", "d"] and str(out) == "r"
    assert (options["steps"], options["seed"]) == (9, None)
    assert capsys.readouterr().out == "r/c: trained 9 steps\nr/d: trained 9 steps\n"
    assert main(["train", "toy", "c", "gone", "--out", "r"]) == 1
    assert "gone" in capsys.readouterr().err


def test_the_runs_of_a_folder_go_on_with_their_configuration(toy, capsys, tmp_path):
    for name in "cd":
        _run_of(tmp_path / "r" / name)
    toy.train.signal = "SIGTERM"
    assert main(["train", "toy", "--out", "r"]) == 143
    captures, _, options = toy.calls[-1]
    assert captures == [] and options["config"].field.levels == 7
    error = capsys.readouterr().err
    assert "saved r/c at step 3 of 9" in error and "saved r/d at step 3 of 9" in error
    # A capture that comes later joins them.
    (tmp_path / "e").mkdir()
    assert main(["train", "toy", "e", "--out", "r"]) == 143
    assert [str(c) for c in toy.calls[-1][0]] == ["e"]


def test_several_captures_do_not_fit_into_a_run_or_a_replay(toy, tmp_path, capsys):
    _run_of(tmp_path / "r")
    assert main(["train", "toy", "c", "d", "--out", "r"]) == 1
    assert "expected a folder for the runs" in capsys.readouterr().err
    assert main(["train", "toy", "c", "d", "--out", "s", "--replay"]) == 2
    assert "--out FOLDER/NAME" in capsys.readouterr().err
    _run_of(tmp_path / "s" / "c", system="other")
    assert main(["train", "toy", "c", "d", "--out", "s"]) == 1
    assert "other" in capsys.readouterr().err and not toy.calls
