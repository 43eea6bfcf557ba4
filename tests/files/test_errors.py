"""The error for bad input."""

import pytest

from jaxhead.files.errors import InputError, about


def test_the_message_is_one_line():
    assert str(InputError("a\n  b\tc")) == "a b c"


def test_a_file_is_named_once():
    with pytest.raises(InputError, match=r"^clip\.mp4: no face$"), about("clip.mp4"):
        raise InputError("no face")
    with pytest.raises(InputError, match=r"^a/clip\.mp4: cut off$"), about("clip.mp4"):
        raise InputError("a/clip.mp4: cut off")
    with pytest.raises(ValueError, match=r"^bug$"), about("clip.mp4"):
        raise ValueError("bug")
