import os
import subprocess
import sys

import pytest

from jaxhead.files.native import capture_native_output


def native(descriptor, text):
    os.write(descriptor, text.encode())


def test_native_output_is_caught_and_the_descriptor_restored(capfd):
    with capture_native_output() as output:
        native(2, "W0000 a native log\n")
        native(1, "out\n")
        print("python too", file=sys.__stderr__)
    assert output.text == "W0000 a native log\npython too\n"
    native(2, "after\n")
    assert capfd.readouterr() == ("out\n", "after\n")


def test_standard_output_is_caught_when_told(capfd):
    with capture_native_output(stdout=True) as output:
        native(1, "out\n")
        native(2, "err\n")
    assert output.text == "out\nerr\n"
    assert capfd.readouterr() == ("", "")


def test_an_exception_restores_and_keeps_the_text(capfd):
    with pytest.raises(ZeroDivisionError), capture_native_output(stdout=True) as output:
        native(2, "why\n")
        raise ZeroDivisionError
    assert output.text == "why\n"
    native(2, "seen\n")
    assert capfd.readouterr().err == "seen\n"


def test_captures_nest_and_leak_no_descriptor(capfd):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(20):
        with capture_native_output() as outer:
            native(2, "a")
            with capture_native_output() as inner:
                native(2, "b")
            native(2, "c")
        assert (outer.text, inner.text) == ("ac", "b")
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def test_only_the_end_of_much_text_is_kept():
    with capture_native_output() as output:
        for _ in range(40):
            native(2, "x" * 65536)
        native(2, "end \xff")
    assert len(output.text) <= 1 << 20
    assert output.text.endswith("end \xff")


CLOSED = """
import os, sys
os.close(2)
from jaxhead.files.native import capture_native_output
with capture_native_output(stdout=True) as output:
    os.write(1, b"caught")
try:
    os.fstat(2)
    print("open")
except OSError:
    print("closed", output.text)
"""


def test_a_closed_standard_error_is_left_closed():
    done = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, text=True)
    assert done.stdout == "closed caught\n", done
