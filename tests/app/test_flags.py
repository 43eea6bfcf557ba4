"""Flags and positional arguments in any order, with values and names that look like flags."""

import pytest

from jaxhead.app import verbs
from jaxhead.app.flags import HelpRequest, UsageError, help_text, parse

RENDER, TRAIN = verbs.VERBS["render"], verbs.VERBS["train"]


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "--out", "o.mp4", "--view", "-20,5"],
        ["--view", "-20,5", "run", "--out=o.mp4"],
        ["--view=-20,5", "--out", "o.mp4", "--", "run"],
        ["-view", "-20,5", "-out", "o.mp4", "run"],
    ],
)
def test_order_is_free_and_values_may_be_negative(argv):
    arguments = parse(RENDER, argv)
    assert arguments.positionals == ("run",)
    assert arguments.flags.view == (-20.0, 5.0) and arguments.flags.out == "o.mp4"


@pytest.mark.parametrize(
    "name", ["-clip.mp4", "--out", "a b.mp4", 'it\'s "it".mp4', "ü\n.mp4", "%s$(x);&.mp4", "-"]
)
def test_hostile_names_are_names(name):
    arguments = parse(TRAIN, ["--out", name, "avatar", "--", name])
    assert arguments.flags.out == name
    assert arguments.positionals == ("avatar", name)


def test_a_file_with_a_leading_dash_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-talk").mkdir()
    assert parse(TRAIN, ["avatar", "-talk"]).positionals == ("avatar", "-talk")


def test_repeated_overrides_keep_their_order_and_commas():
    flags = parse(TRAIN, ["--set", "a=1,2", "avatar", "c", "--set", "b=x=y"]).flags
    assert flags.set == ["a=1,2", "b=x=y"]


def test_booleans():
    assert parse(RENDER, ["--side-by-side", "run"]).flags.side_by_side
    assert parse(RENDER, ["--side_by_side", "run"]).flags.side_by_side
    assert not parse(RENDER, ["--neutral", "--noneutral", "run"]).flags.neutral
    assert not parse(RENDER, ["--neutral=false", "run"]).flags.neutral


@pytest.mark.parametrize(
    ("verb", "argv", "words"),
    [
        ("train", ["avatar", "c", "--stpes", "3"], ["--stpes", "--steps"]),
        ("train", ["avatar", "c", "--minutes"], ["--minutes", "value"]),
        ("train", ["avatar", "c", "--steps", "many"], ["--steps", "many"]),
        ("train", ["avatar", "c", "--steps", "0"], ["--steps", "0"]),
        ("train", ["avatar", "c", "--minutes", "nan"], ["--minutes", "nan"]),
        ("train", ["avatar", "c", "--flagfile=x"], ["--flagfile"]),
        ("train", ["avatar", "c", ""], ["CAPTURE", "empty"]),
        ("train", [], ["SYSTEM"]),
        ("render", ["run", "more"], ["more"]),
        ("render", [""], ["RUN"]),
        ("render", ["run", "--view", "20"], ["YAW,PITCH"]),
        ("render", ["run", "--view", "nan,0"], ["±180"]),
        ("render", ["run", "--split", "tset"], ["--split", "tset", "test"]),
        ("render", ["run", "--orbit", "1e9"], ["--orbit"]),
        ("render", ["run", "--neutral=perhaps"], ["--neutral", "perhaps"]),
        ("capture", ["v.mp4", "--size", "8"], ["--size", "8"]),
        ("evaluate", [], ["RUN"]),
    ],
)
def test_usage_errors_name_the_flag_and_the_value(verb, argv, words):
    with pytest.raises(UsageError) as caught:
        parse(verbs.VERBS[verb], argv)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_help_is_asked_for_anywhere_but_as_a_value():
    with pytest.raises(HelpRequest):
        parse(RENDER, ["run", "-h"])
    assert parse(RENDER, ["run", "--out", "-h"]).flags.out == "-h"


@pytest.mark.parametrize("verb", verbs.VERBS.values(), ids=list(verbs.VERBS))
def test_help_shows_every_flag_and_an_example_that_parses(verb):
    text = help_text(verb)
    assert f"usage: jaxhead {verb.name}" in text and "--out" in text
    assert "flagfile" not in text
    for example in verb.examples:
        assert example in text
        words = example.partition(" # ")[0].split()
        words = words[words.index("jaxhead") :]  # after a launcher of several processes
        assert words[:2] == ["jaxhead", verb.name]
        parse(verb, words[2:])
