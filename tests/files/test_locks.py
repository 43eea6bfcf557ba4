import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from jaxhead.files.errors import InputError
from jaxhead.files.locks import RunLock, process_start

HOLDER = """
import sys, time
from jaxhead.files.locks import RunLock
with RunLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def stored(folder):
    return json.loads((folder / ".lock").read_text())


def test_the_lock_names_its_holder_and_goes_away(tmp_path):
    with RunLock(tmp_path / "run"):
        holder = stored(tmp_path / "run")
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(InputError, match=f"in use by process {os.getpid()};"):
            RunLock(tmp_path / "run").acquire()
    assert list((tmp_path / "run").iterdir()) == []
    with pytest.raises(KeyError), RunLock(tmp_path / "run"):
        raise KeyError
    with RunLock(tmp_path / "run"):
        pass


def test_another_process_is_refused_until_it_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {process.pid};"):
            RunLock(tmp_path).acquire()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert stored(tmp_path)["pid"] == process.pid
        with RunLock(tmp_path):
            assert stored(tmp_path)["pid"] == os.getpid()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    "damage", ["", "{", "[1]", '{"pid": "x"}', '{"pid": -1, "host": "a"}', "\0" * 9]
)
def test_a_damaged_lock_is_taken_over(tmp_path, damage):
    (tmp_path / ".lock").write_text(damage)
    with RunLock(tmp_path):
        assert stored(tmp_path)["pid"] == os.getpid()


def test_a_number_given_to_another_process_is_stale(tmp_path):
    if process_start(os.getpid()) is None:
        pytest.skip("this system does not say when a process started")
    lock = {"pid": os.getpid(), "host": socket.gethostname(), "start": "another boot:12"}
    (tmp_path / ".lock").write_text(json.dumps(lock))
    with RunLock(tmp_path):
        assert stored(tmp_path)["start"] == process_start(os.getpid())


def test_another_host_is_believed(tmp_path):
    (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "start": None}))
    with pytest.raises(InputError, match="process 1 on elsewhere.*delete"):
        RunLock(tmp_path).acquire()


def test_a_lock_deleted_by_hand_is_not_anothers_to_delete(tmp_path):
    first, second = RunLock(tmp_path).acquire(), RunLock(tmp_path)
    (tmp_path / ".lock").unlink()
    lock = {"pid": 1, "host": "elsewhere", "start": None}
    (tmp_path / ".lock").write_text(json.dumps(lock))
    first.release()
    assert stored(tmp_path) == lock
    second.release()


RACE = """
import sys, time
from jaxhead.files.errors import InputError
from jaxhead.files.locks import RunLock
while time.time() < float(sys.argv[2]):
    pass
try:
    with RunLock(sys.argv[1]):
        print("won", flush=True)
        time.sleep(1.0)
except InputError:
    print("lost")
"""


def test_of_many_that_find_a_stale_lock_one_wins(tmp_path):
    import time

    (tmp_path / ".lock").write_text(
        json.dumps({"pid": 999_999_999, "host": socket.gethostname(), "start": None})
    )
    start = str(time.time() + 0.7)
    command = [sys.executable, "-c", RACE, str(tmp_path), start]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    results = [racer.communicate(timeout=30)[0].strip() for racer in racers]
    assert sorted(results) == ["lost", "lost", "lost", "won"]
