"""Calls run in order, behind their caller; errors and their end are the caller's."""

import threading
import time

import pytest

from jaxhead.files.behind import Behind


def test_calls_run_in_order_on_another_thread():
    found = []
    with Behind() as behind:
        for number in range(20):
            behind.do(lambda n: found.append((n, threading.get_ident())), number)
    assert [n for n, _ in found] == list(range(20))
    assert {thread for _, thread in found} != {threading.get_ident()}


def test_no_more_than_some_wait():
    begun, held = [], threading.Event()

    def call(number):
        begun.append(number)
        held.wait(5)

    with Behind(most=2) as behind:
        behind.do(call, 0)
        behind.do(call, 1)
        late = threading.Timer(0.2, held.set)
        late.start()
        start = time.monotonic()
        behind.do(call, 2)
        assert time.monotonic() - start > 0.1
    assert begun == [0, 1, 2]


def test_an_error_reaches_the_caller_and_drops_what_waits():
    done = []

    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Behind() as behind:
        behind.do(fail)
        for _ in range(50):
            behind.do(time.sleep, 0.01)
        done.append(True)
    assert not done
    with pytest.raises(OSError, match="disk full"), Behind() as behind:
        behind.do(fail)


def test_an_error_of_the_caller_drops_what_waits():
    found, held = [], threading.Event()
    with pytest.raises(KeyboardInterrupt), Behind() as behind:
        behind.do(held.wait, 5)
        behind.do(found.append, 1)
        threading.Timer(0.1, held.set).start()
        raise KeyboardInterrupt
    assert not found
