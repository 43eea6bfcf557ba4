"""Several processes are one training: two of them with two host devices each, on this machine.

Collectives run through gloo. Every job goes through the same recipe that has every kind of state.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxhead.training import checkpoints as ckpt
from jaxhead.training.loop import checkpoint_folder

SCRIPT = pathlib.Path(__file__).parent / "toy_recipes.py"
STEPS = 30


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(run, cache, *flags, processes=2, devices=2):
    """The processes of a job."""
    address, made = f"127.0.0.1:{free_port()}", []
    for process in range(processes):
        command = [sys.executable, str(SCRIPT), str(run), "--cache", str(cache),
                   "--recipe", "everything", "--devices", str(devices)]  # fmt: skip
        if processes > 1:
            command += ["--coordinator", address, "--processes", str(processes),
                        "--process", str(process)]  # fmt: skip
        made.append(subprocess.Popen(
            [*command, *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ))  # fmt: skip
    return made


def finish(job, timeout=300):
    """[(code, (stdout, stderr))] of all processes; none outlives the test."""
    try:
        texts = [p.communicate(timeout=timeout) for p in job]
        return [(p.returncode, text) for p, text in zip(job, texts)]
    finally:
        for process in job:
            process.kill()


def done(job):
    """The job ended well."""
    ended = finish(job)
    assert [code for code, _ in ended] == [0] * len(job), [text[1][-2000:] for _, text in ended]


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of 2 processes with 2 devices each, and the folder of programs."""
    folder = tmp_path_factory.mktemp("whole")
    done(start(folder / "run", folder / "cache", "--steps", STEPS))
    return folder


def test_two_processes_learn_what_one_learns(whole, tmp_path):
    one = start(tmp_path / "one", whole / "cache", "--steps", STEPS, processes=1, devices=4)
    again = start(tmp_path / "again", whole / "cache", "--steps", STEPS)
    done(one)
    done(again)
    assert len(losses(whole / "run")) == STEPS
    one, two = losses(tmp_path / "one"), losses(whole / "run")
    np.testing.assert_allclose(one[:10], two[:10], rtol=1e-6)
    name = "metrics.jsonl"
    assert (tmp_path / "again" / name).read_bytes() == (whole / "run" / name).read_bytes()
    a, b = (ckpt.read_checkpoint(checkpoint_folder(run, "all"), STEPS).state
            for run in (whole / "run", tmp_path / "again"))  # fmt: skip
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)
    meta = ckpt.read_checkpoint(checkpoint_folder(whole / "run", "all"), STEPS).meta
    assert meta["layout"] == {"devices": 2, "processes": 2}


@pytest.mark.long
def test_other_layouts_go_on_with_the_same_run(whole, tmp_path):
    """2 x 2, then 1 x 1, then 2 x 2, then 1 x 4: each goes on where the one before stopped."""
    layouts = [(2, 2, 1), (1, 1, 11), (2, 2, 13), (1, 4, 0)]
    seen = [0]
    for processes, devices, stop in layouts:
        done(start(tmp_path, whole / "cache", "--steps", STEPS, "--stop", stop,
                   processes=processes, devices=devices))  # fmt: skip
        seen += ckpt.steps_in(checkpoint_folder(tmp_path, "all"))[-1:]
    assert seen == sorted(set(seen)) and seen[-1] == len(losses(tmp_path)) == STEPS
    np.testing.assert_allclose(losses(tmp_path), losses(whole / "run"), rtol=2e-6)


def _wait_for_steps(run, job, count, seconds=240):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (run / "metrics.jsonl").exists() and len(losses_so_far(run)) >= count:
            return
        assert all(p.poll() is None for p in job), [p.communicate() for p in job]
        time.sleep(0.02)
    raise AssertionError("the job does not move")


def losses_so_far(run):
    return (run / "metrics.jsonl").read_text().splitlines()


@pytest.mark.long
@pytest.mark.parametrize("victim", [1, 0])
def test_a_process_that_dies_ends_the_job_in_time_and_it_goes_on(whole, tmp_path, victim):
    job = start(tmp_path, whole / "cache", "--steps", STEPS, "--slow", 0.2, "--save", 4)
    _wait_for_steps(tmp_path, job, 8)
    job[victim].kill()
    begin = time.monotonic()
    job[victim].communicate()
    survivor = job[1 - victim]
    _, error = survivor.communicate(timeout=40)
    assert time.monotonic() - begin < 30
    assert survivor.returncode == 1
    said = "process 1 of 2 has died" if victim else "the coordinator, process 0, has ended"
    assert any(line.startswith(f"jaxhead: {said}") for line in error.splitlines()), error
    kept = ckpt.newest_good(checkpoint_folder(tmp_path, "all"), None, print)[0]
    assert kept.step >= 4
    done(start(tmp_path, whole / "cache", "--steps", STEPS))
    name = "metrics.jsonl"
    assert (tmp_path / name).read_bytes() == (whole / "run" / name).read_bytes()


def test_a_signal_to_one_process_saves_and_ends_all_at_one_step(whole, tmp_path):
    job = start(tmp_path, whole / "cache", "--steps", 3000, "--slow", 0.05)
    _wait_for_steps(tmp_path, job, 5)
    job[1].send_signal(signal.SIGTERM)
    ended = finish(job)
    assert [code for code, _ in ended] == [0, 0], [text[1] for _, text in ended]
    results = [json.loads(out.strip().splitlines()[-1]) for _, (out, _) in ended]
    assert results[0] == results[1] and results[0]["interrupted"] == "SIGTERM"
    assert ckpt.steps_in(checkpoint_folder(tmp_path, "all")) == [results[0]["step"]]


@pytest.mark.long
def test_a_signal_to_who_measures_anew_ends_all_and_the_next_start_does_it(whole, tmp_path):
    flags, reached = ("--steps", STEPS), round(0.4 * STEPS)
    ended = finish(start(tmp_path, whole / "cache", *flags, "--cut"))
    assert [code for code, _ in ended] == [0, 0], [text[1] for _, text in ended]
    results = [json.loads(out.strip().splitlines()[-1]) for _, (out, _) in ended]
    assert results[0] == results[1] and results[0]["interrupted"] == "SIGTERM"
    assert results[0]["step"] == reached and not list((tmp_path / "revised").iterdir())
    done(start(tmp_path, whole / "cache", *flags))
    names = sorted(path.name for path in (tmp_path / "revised").iterdir())
    assert names == [f"all_{step:08d}.npz" for step in (reached, STEPS)]


def test_an_error_of_one_process_is_said_by_all(whole, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    job = start(tmp_path, whole / "cache", "--steps", STEPS)
    for code, (_, error) in finish(job):
        assert code == 1 and "thesis.tex" in error.strip().splitlines()[-1], error


def test_processes_that_differ_are_found_before_the_save(whole, tmp_path):
    ended = finish(start(tmp_path, whole / "cache", "--steps", STEPS, "--apart"))
    for code, (_, error) in ended:
        assert code == 1 and "process 1 has" in error.strip().splitlines()[-1], error
    assert not ckpt.steps_in(checkpoint_folder(tmp_path, "all"))


@pytest.mark.long
def test_minutes_and_saves_by_time_are_the_same_for_all(whole, tmp_path):
    done(start(tmp_path, whole / "cache", "--minutes", 0.005, "--save-seconds", 0.1))
    document = json.loads((tmp_path / "run.json").read_text())
    assert len(losses(tmp_path)) == document["steps"]["all"]
    assert not os.path.exists(tmp_path / ".lock")
