"""Backgrounds as words of the command line."""

import numpy as np
import pytest

from jaxhead.app.backgrounds import parse_background
from jaxhead.files.errors import InputError
from jaxhead.files.images import write_image


def test_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_background(None).kind == "plate"
    assert parse_background("transparent").kind == "transparent"
    assert parse_background("white").colour == (1.0, 1.0, 1.0)
    assert parse_background("#3366ff").colour == pytest.approx((0.2, 0.4, 1.0))
    write_image("white.png", np.zeros((4, 4, 3), np.uint8))
    background = parse_background("white.png")
    assert (background.kind, background.path) == ("image", "white.png")


@pytest.mark.parametrize("word", ["", "wihte", "no.png", "#12", "#zzzzzz"])
def test_nonsense_is_refused(word):
    with pytest.raises(InputError, match="background"):
        parse_background(word)


def test_a_file_that_is_no_picture(tmp_path):
    path = tmp_path / "b.png"
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="b.png"):
        parse_background(str(path))
