"""What docs/reliability.md and the README say about tests: the files and names are there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = ("docs/reliability.md", "README.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_tests_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    files = set(re.findall(r"\btests/[\w/]+\.py", text))
    assert files and not [file for file in files if not (ROOT / file).is_file()]
    defined = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert not named - defined


def test_every_promise_has_a_row():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (R\d+) \|(.*)\|(.*)\|(.*)\|$", text, re.M)
    assert [row[0] for row in rows] == [f"R{number}" for number in range(1, 25)]
    assert all("tests/" in row[2] and row[3].strip() for row in rows)
