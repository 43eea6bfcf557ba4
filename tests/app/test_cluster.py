"""Which flags make a job of several processes, and one real one through the command line."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from jaxhead.app import verbs
from jaxhead.app.cluster import cluster_of
from jaxhead.app.flags import UsageError, parse
from jaxhead.training.cluster import Cluster

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = (
    "field.levels=1", "field.log2_size=8", "field.hidden=8", "field.finest_resolution=32",
    "surface.resolution=10", "sampling.frames=4", "sampling.head_rays=16", "sampling.torso_rays=4",
    "sampling.samples=4", "sampling.segments=8", "sampling.occupancy_resolution=8",
    "torso.levels=1", "torso.log2_size=6", "torso.hidden=8", "field.density_layers=1",
    "field.color_layers=1", "torso.layers=1", "loop.log_every=1", "loop.sample_every=0",
)  # fmt: skip


def _cluster(*flags):
    return cluster_of(parse(verbs.VERBS["train"], ["avatar", "c", "--out", "r", *flags]).flags)


def test_flags_of_a_job():
    assert _cluster() is None
    assert _cluster("--distributed") == Cluster()
    given = _cluster("--coordinator", "node0:1234", "--processes", "2", "--process", "1")
    assert given == Cluster("node0:1234", 2, 1)


@pytest.mark.parametrize("flags, words", [
    (["--process", "1"], "--process needs --coordinator"),
    (["--coordinator", "a:1", "--processes", "2"], "needs --process"),
    (["--coordinator", "a", "--processes", "2", "--process", "0"], "HOST:PORT"),
    (["--coordinator", "a:1", "--processes", "2", "--process", "2"], "less than --processes 2"),
    (["--distributed", "--processes", "2"], "contradict"),
])  # fmt: skip
def test_half_a_job_is_refused(flags, words):
    with pytest.raises(UsageError, match=words):
        _cluster(*flags)


def _jaxhead(*argv, **environment):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "jaxhead.app.main", *map(str, argv)], cwd=ROOT, text=True,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_distributed_outside_a_job_is_one_line(tmp_path):
    (tmp_path / "c").mkdir()
    process = _jaxhead("train", "avatar", tmp_path / "c", "--out", tmp_path / "r", "--distributed")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2 and "--coordinator" in error.splitlines()[-1], error
    assert "Traceback" not in error and not (tmp_path / "r").exists()


@pytest.mark.long
def test_an_avatar_by_two_processes_is_that_of_one(tmp_path):
    from jaxhead.captures.synthetic import synthesize

    capture = synthesize(tmp_path / "head", frames=10, size=32)
    tiny = [word for setting in TINY for word in ("--set", setting)]

    def job(out, processes, devices):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{one.getsockname()[1]}"
        made = []
        for process in range(processes):
            several = ["--coordinator", address, "--processes", processes, "--process", process]
            made.append(_jaxhead(
                "train", "avatar", capture, "--out", out, "--steps", 10, "--devices", devices,
                *tiny, *(several if processes > 1 else ()),
            ))  # fmt: skip
        for process in made:
            _, error = process.communicate(timeout=500)
            assert process.returncode == 0, error[-3000:]
        return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").open()]

    one, two = job(tmp_path / "one", 1, 4), job(tmp_path / "two", 2, 2)
    assert len(one) == len(two) == 10
    np.testing.assert_allclose(one, two, rtol=1e-6)
    assert sorted(p.name for p in (tmp_path / "two" / "samples").iterdir()) == ["step_000010.png"]
