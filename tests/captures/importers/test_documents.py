"""Fields of other programs' documents."""

import json

import numpy as np
import pytest

from jaxhead.captures.importers.documents import Fields, natural, read_json, read_numbers
from jaxhead.files.errors import InputError

FIELDS = Fields(
    {"a": 3, "b": 2.5, "huge": 10**400, "flag": True, "none": None, "rows": [[1, 2], [3, 4.5]],
     "ragged": [[1], [2, 3]], "words": ["a"], "name": "x", "list": [{"a": 1}, None, {"a": 2}]},
    "a.json",
)  # fmt: skip


def test_what_is_right_is_given_back(tmp_path):
    assert FIELDS.number("a") == 3 and FIELDS.integer("a") == 3 and FIELDS.text("name") == "x"
    assert FIELDS.number("none", default=None) is None and "none" not in FIELDS
    np.testing.assert_array_equal(FIELDS.numbers("rows", (2, -1)), [[1, 2], [3, 4.5]])
    assert [entry.integer("a") for entry in FIELDS.entries("list")] == [1, 2]
    (tmp_path / "x.png").touch()
    assert FIELDS.file("name", tmp_path, ("", ".png")).name == "x.png"


@pytest.mark.parametrize(
    "call",
    [
        lambda: FIELDS.number("c"), lambda: FIELDS.number("huge"), lambda: FIELDS.number("flag"),
        lambda: FIELDS.number("a", 4, 5), lambda: FIELDS.integer("b"), lambda: FIELDS.text("a"),
        lambda: FIELDS.numbers("rows", (2, 3)), lambda: FIELDS.numbers("ragged", (2, -1)),
        lambda: FIELDS.numbers("words", (-1,)), lambda: FIELDS.numbers("huge", ()),
        lambda: FIELDS.entries("a"), lambda: Fields([], "a.json"),
        lambda: Fields({"list": [3]}, "a.json").entries("list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(call):
    with pytest.raises(InputError, match="^a.json"):
        call()


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "\\x", "a\\..\\x", "c:/x", "c:\\x", "x\0", ".", "./"]
)
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "x").touch()
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="leads out|missing"):
        Fields({"file": name}, "a.json").file("file", tmp_path / "in")


def test_documents_and_numbers(tmp_path):
    path = tmp_path / "a.json"
    for text in ("", "[]", "{", "[" * 100_000, "\xff"):
        path.write_text(text, "latin-1")
        with pytest.raises(InputError, match="a.json"):
            read_json(path)
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path).integer("a") == 1
    path.write_text("1, 2\n3 4.5")
    np.testing.assert_array_equal(read_numbers(path, 2), [[1, 2], [3, 4.5]])
    for text in ("1 2 3", "1 x", "nan 1", "inf 0"):
        path.write_text(text)
        with pytest.raises(InputError, match="a.json"):
            read_numbers(path, 2)


def test_names_are_sorted_by_their_numbers():
    names = ["f_10", "f_9", "f_010b", "g", "f_9b", "f_²", "9" * 5000, "", "a1b2", "a1b10"]
    order = sorted(names, key=natural)
    assert order.index("f_9") < order.index("f_10") and order.index("a1b2") < order.index("a1b10")
