import dataclasses
import json

import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.training import runs


def made(path, **options):
    options = {"system": "toy", "config": {"a": {"b": (1, 2)}}, "seed": 3} | options
    return runs.create_run(path, **options)


def test_a_run_comes_back_as_it_was_written(tmp_path):
    source = {"path": "/c", "digest": "ab"}
    inputs = {"plate": np.arange(6, dtype=np.uint8).reshape(2, 3)}
    made(tmp_path / "r", sources=(source,), inputs=inputs, spec={"frames": 5})
    run = runs.load_run(tmp_path / "r")
    assert (run.system, run.seed, run.steps, run.minutes) == ("toy", 3, {}, None)
    assert run.config == {"a": {"b": [1, 2]}} and run.spec == {"frames": 5}
    assert run.sources == (source,)
    np.testing.assert_array_equal(run.inputs()["plate"], inputs["plate"])
    document = json.loads((tmp_path / "r" / "run.json").read_text())
    assert document["format"] == "jaxhead-run" and document["version"] == 7


def test_what_is_in_the_way_is_refused(tmp_path):
    made(tmp_path / "r")
    with pytest.raises(InputError, match="run already"):
        made(tmp_path / "r")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="thesis.tex"):
        made(tmp_path / "other")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        made(tmp_path / "file")


def test_a_creation_that_was_killed_can_be_repeated(tmp_path):
    made(tmp_path / "r")
    (tmp_path / "r" / "run.json").unlink()
    assert not runs.is_run(tmp_path / "r")
    made(tmp_path / "r", seed=4)
    assert runs.load_run(tmp_path / "r").seed == 4


@pytest.mark.parametrize("change, words", [
    ({"version": 1}, "version 1.*version 7"),
    ({"format": "jaxhead-capture"}, "jaxhead-capture"),
    ({"seed": "x"}, "seed"),
    ({"steps": {"a": 0}}, "steps of a"),
    ({"config": None}, "config"),
    ({"extra": 1}, "extra"),
    ({"sources": ["/c"]}, "source '/c'"),
    ({"sources": [{"path": 3, "digest": "ab"}]}, "path and digest"),
])  # fmt: skip
def test_documents_of_another_kind_are_refused(tmp_path, change, words):
    made(tmp_path / "r")
    file = tmp_path / "r" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=words):
        runs.load_run(tmp_path / "r")


@pytest.mark.parametrize("text", [
    "", "{", "[]", "3", "null", '{"format": "jaxhead-run"}', "[" * 100_000,
])  # fmt: skip
def test_damaged_documents_are_one_line(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="run.json") as error:
        runs.load_run(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run"):
        runs.load_run(tmp_path)


@dataclasses.dataclass(frozen=True)
class Spec:
    frames: int = dataclasses.field(metadata={"minimum": 1})
    box: tuple[tuple[float, float], ...] = ()


@pytest.mark.parametrize("spec, words", [
    ({"frames": "many"}, "spec: frames: 'many', expected an integer"),
    ({"frames": 0}, "at least 1"),
    ({"frames": 2, "box": [3]}, r"box\[0\]"),
    ({}, "frames"),
    ({"frames": 2, "colour": 1}, "colour"),
])  # fmt: skip
def test_a_spec_of_another_shape_is_one_line_that_names_the_file(tmp_path, spec, words):
    run = made(tmp_path / "r", spec=spec)
    with pytest.raises(InputError, match=f"run.json: spec: .*{words}|run.json: .*{words}") as error:
        run.spec_as(Spec)
    assert "\n" not in str(error.value)


def test_a_spec_comes_back_as_tuples(tmp_path):
    made(tmp_path / "r", spec={"frames": 5, "box": ((0, 1), (2, 3))})
    assert runs.load_run(tmp_path / "r").spec_as(Spec) == Spec(5, ((0.0, 1.0), (2.0, 3.0)))
