import dataclasses
import json
from typing import Literal

import pytest

from jaxhead.files.errors import ConfigurationError
from jaxhead.training import configuration as cf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    levels: int = dataclasses.field(default=8, metadata={"minimum": 1, "maximum": 16})
    rate: float = 1e-2
    widths: tuple[int, ...] = (64, 64)
    box: tuple[float, float] = (0.0, 1.0)
    kind: str = dataclasses.field(default="hash", metadata={"choices": ("hash", "dense")})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    field: Field = Field()
    batch: int = 64
    flag: bool = False
    crop: float | None = None
    mode: Literal["a", "b"] = "a"
    name: str = ""


@pytest.mark.parametrize("assignment, path, value", [
    ("field.levels=12", "field.levels", 12),
    ("field.rate=1e-3", "field.rate", 1e-3),
    ("field.widths=32,16,8", "field.widths", (32, 16, 8)),
    ("field.widths=[32]", "field.widths", (32,)),
    ("field.widths=", "field.widths", ()),
    ("field.box=(-1, 2.5)", "field.box", (-1.0, 2.5)),
    ("field.kind=dense", "field.kind", "dense"),
    ("flag=true", "flag", True),
    ("crop=0.5", "crop", 0.5),
    ("crop=none", "crop", None),
    ("mode=b", "mode", "b"),
    ("name=a=b", "name", "a=b"),
])  # fmt: skip
def test_override_parses_by_type(assignment, path, value):
    config = cf.override(Whole(), [assignment])
    for part in path.split("."):
        config = getattr(config, part)
    assert config == value and type(config) is type(value)


@pytest.mark.parametrize("assignment, words", [
    ("field.level=1", ["field.level", "field.levels"]),
    ("feild.levels=1", ["feild", "field"]),
    ("batch.x=1", ["batch"]),
    ("batch=1.5", ["batch", "1.5", "integer"]),
    ("batch=x", ["integer"]),
    ("field.levels=17", ["at most 16"]),
    ("field.levels=0", ["at least 1"]),
    ("field.kind=hahs", ["did you mean hash"]),
    ("field.box=1", ["2 values"]),
    ("field.rate=nan", ["finite"]),
    ("flag=maybe", ["true or false"]),
    ("mode=c", ["one of a, b"]),
    ("crop=wide", ["a number or none"]),
    ("field=3", ["group", "levels"]),
    ("batch", ["NAME=VALUE"]),
])  # fmt: skip
def test_override_refuses_and_says_what_was_expected(assignment, words):
    with pytest.raises(ConfigurationError) as error:
        cf.override(Whole(), [assignment])
    for word in words:
        assert word in str(error.value)


def test_documents_round_trip_through_json():
    config = cf.override(Whole(), ["field.widths=1,2", "crop=3", "flag=yes"])
    document = json.loads(json.dumps(cf.to_document(config)))
    assert cf.from_document(Whole, document) == config
    assert cf.override(Whole(), cf.describe(config)) == config


@pytest.mark.parametrize("document", [
    {"fields": {}}, {"batch": "64"}, {"batch": True}, {"field": {"levels": 99}}, {"field": 3},
    {"crop": "x"}, {"field": {"box": [1]}}, {"flag": 1},
])  # fmt: skip
def test_bad_documents_are_refused(document):
    with pytest.raises(ConfigurationError):
        cf.from_document(Whole, document)


def test_integers_are_numbers_and_absent_fields_keep_defaults():
    config = cf.from_document(Whole, {"field": {"rate": 1}})
    assert config.field.rate == 1.0 and type(config.field.rate) is float and config.batch == 64
