"""Runs in processes of their own: killed, terminated, out of disk. The reference run also shows
that two processes with one seed write the same log.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxhead.training import checkpoints as ckpt
from jaxhead.training.loop import checkpoint_folder

KILLS = int(os.environ.get("JAXHEAD_KILLS", "5"))
"""How often a training is killed; `make soak` says 50."""
STEPS = 6 * KILLS
SCRIPT = pathlib.Path(__file__).parent / "toy_recipes.py"


def start(run, *flags, cache):
    command = [sys.executable, str(SCRIPT), str(run), "--cache", str(cache), *map(str, flags)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, timeout=600):
    """Exit code and output; the time is for a hang, a busy machine takes minutes over seconds."""
    try:
        out, error = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, error


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An uninterrupted run, and a folder of compiled programs that the others use."""
    folder = tmp_path_factory.mktemp("reference")
    flags = ("--steps", STEPS, "--recipe", "everything", "--save", 2)
    code, out, error = finish(start(folder / "run", *flags, cache=folder / "cache"))
    assert code == 0, error
    return folder


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if condition():
            return
        time.sleep(0.005)


def _killed(run, flags, cache, random, latest):
    """Start a training and kill it: at any time, or, twice in three, soon after a save began; but
    before it has logged `latest` steps, so that there is something left to kill.
    """
    folder, log = checkpoint_folder(run, "all"), run / "metrics.jsonl"
    process = start(run, *flags, cache=cache)
    before = set(folder.iterdir()) if folder.is_dir() else set()
    # A new entry is a checkpoint that is being written: the most delicate moment.
    saving = bool(random.integers(3))
    end = time.monotonic() + random.uniform(0, 4)

    def due():
        if log.exists() and log.read_bytes().count(b"\n") >= latest:
            return True
        if saving:
            return folder.is_dir() and set(folder.iterdir()) - before
        return time.monotonic() > end

    wait_for(due, process)
    if saving:
        time.sleep(random.uniform(0, 0.1))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_kill_at_any_time_costs_no_more_than_a_save_interval(reference, tmp_path):
    random = np.random.default_rng(3)
    flags = ("--steps", STEPS, "--recipe", "everything", "--save", 2, "--slow", 0.1)
    folder, log = checkpoint_folder(tmp_path, "all"), tmp_path / "metrics.jsonl"
    reached = 0
    for number in range(KILLS):
        _killed(tmp_path, flags, reference / "cache", random, STEPS * (number + 1) // KILLS - 4)
        logged = log.read_text().splitlines() if log.exists() else []
        found, damaged = ckpt.newest_good(folder, None, print)
        step = found.step if found else 0
        assert not damaged and step >= reached
        assert len(logged) <= step + 2 + 3 * 2  # an interval, and what was under way
        reached = step
    code, out, error = finish(start(tmp_path, *flags, cache=reference / "cache"), timeout=600)
    assert code == 0, error
    assert json.loads(out)["step"] == STEPS
    name = "metrics.jsonl"
    assert (tmp_path / name).read_bytes() == (reference / "run" / name).read_bytes()
    whole = ckpt.read_checkpoint(checkpoint_folder(reference / "run", "all"), STEPS).state
    final = ckpt.read_checkpoint(folder, STEPS).state
    assert whole.keys() == final.keys()
    assert all(whole[leaf].tobytes() == final[leaf].tobytes() for leaf in whole)
    revised = {p.name: p.read_bytes() for p in (tmp_path / "revised").iterdir()}
    assert len(revised) == 2
    assert revised == {p.name: p.read_bytes() for p in (reference / "run/revised").iterdir()}
    leftovers = [p for p in folder.iterdir() if not p.name.isdigit()]
    assert not leftovers and len(ckpt.steps_in(folder)) == 2


def test_sigterm_saves_and_exits_soon(reference, tmp_path):
    flags = ("--steps", 3000, "--recipe", "everything", "--slow", 0.05)
    process = start(tmp_path, *flags, cache=reference / "cache")
    log = tmp_path / "metrics.jsonl"
    wait_for(lambda: log.exists(), process)
    time.sleep(0.3)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, out, error = finish(process, timeout=30)
    assert time.monotonic() - begin < 10
    assert code == 0, error
    result = json.loads(out)
    assert result["interrupted"] == "SIGTERM"
    assert ckpt.steps_in(checkpoint_folder(tmp_path, "all")) == [result["step"]]
    assert len(log.read_text().splitlines()) == result["step"]


def test_a_full_disk_names_path_and_bytes_keeps_the_old_and_resumes(reference, tmp_path):
    cache = reference / "cache"
    flags = ("--recipe", "large", "--save", 4)
    assert finish(start(tmp_path, "--steps", 8, *flags, cache=cache))[0] == 0
    limited = start(tmp_path, "--steps", 16, *flags, "--limit", 100_000, cache=cache)
    code, out, error = finish(limited)
    line = error.strip().splitlines()[-1]
    folder = checkpoint_folder(tmp_path, "fit")
    assert code == 1 and line.startswith("error: ") and str(folder) in line, error
    needed = sum(4 * (1 << 16) for _ in range(4))  # params, two moments, the average
    assert any(word.isdigit() and int(word) >= needed for word in line.split()), line
    assert "Traceback" not in error
    assert 8 in ckpt.steps_in(folder)
    code, out, error = finish(start(tmp_path, "--steps", 16, *flags, cache=cache))
    assert code == 0 and json.loads(out)["step"] == 16, error
