"""What goes wrong with MediaPipe is one line that says what to do."""

import pathlib

import pytest

from jaxhead.captures.landmarks import native_call, native_error
from jaxhead.files.errors import InputError

MODEL = pathlib.Path("face_landmarker.task")


@pytest.mark.parametrize("library", ["libEGL.so.1", "libGLESv2.so.2"])
def test_a_missing_system_library_names_the_packages(library):
    error = OSError(f"{library}: cannot open shared object file: No such file or directory")
    with pytest.raises(InputError) as caught:
        with native_call(MODEL):
            raise error
    text = str(caught.value)
    assert library in text and "libegl1" in text and "libgles2" in text and "\n" not in text


def test_a_model_that_does_not_load_is_named():
    result = native_error(RuntimeError("Unable to open zip archive\nmore"), MODEL)
    assert isinstance(result, InputError)
    assert "face_landmarker.task" in str(result) and "more" not in str(result)


def test_other_errors_pass():
    error = KeyError("x")
    assert native_error(error, MODEL) is error
    assert isinstance(native_error(RuntimeError(), MODEL), InputError)
