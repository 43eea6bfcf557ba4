"""Plain lines of progress, as a log gets them."""

import types

import pytest

from jaxhead.app import progress
from jaxhead.app.progress import Counter


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def test_the_first_frame_does_not_slow_the_estimate(clock, capsys):
    with Counter("render", 21) as counter:
        clock.now += 40.0  # compilation
        counter.advance()
        for _ in range(10):
            clock.now += 2.0
            counter.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "render 1/21 frames after 40 s"
    assert lines[1] == "render 6/21 frames (0.5 frames/s, 30 s left)"
    assert lines[-1] == "render 11/21 frames in 1:00"


def test_a_total_that_is_short_grows(clock, capsys):
    with Counter("landmarks", 4) as counter:
        counter.reach(5, 4)
    assert capsys.readouterr().err == "landmarks 5/5 frames in 0 s\n"


def test_nothing_is_said_after_an_error(clock, capsys):
    with pytest.raises(KeyboardInterrupt), Counter("render", 2) as counter:
        counter.advance()
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
