"""A folder of videos, with a stand-in for the recorder: who is done, who failed, who dies."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from app import capture_stand_ins as stand_ins

from jaxhead.app import folder as verb
from jaxhead.app import ray_workers
from jaxhead.app.main import main
from jaxhead.app.progress import Videos
from jaxhead.captures.fitting.request import FitRequest
from jaxhead.captures.folder import Outcome
from jaxhead.files.atomic import process_exists
from jaxhead.files.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """Five "videos", two of which differ in the suffix only."""
    monkeypatch.setattr(verb, "WORK", stand_ins.WORK)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    for name, does in (("a.mp4", "x"), ("a.mov", "y"), ("b.mp4", "bad"), ("c.mp4", "bug"),
                       ("d.mp4", "die"), ("e.mp4", "z")):  # fmt: skip
        (tmp_path / "v" / name).write_text(does)
    return tmp_path / "v"


def test_each_video_ends_by_itself_and_again_does_what_is_left(videos, capfd):
    assert main(["capture", "v", "--out", "c", "--jobs", "2", "--size", "64"]) == 1
    out, error = capfd.readouterr()
    assert [line.split()[:2] for line in out.splitlines()[:-1]] == [
        ["done", "a.mov"], ["done", "a.mp4"], ["done", "e"],
        ["failed", "b"], ["failed", "c"], ["failed", "d"],
    ]  # fmt: skip
    assert out.endswith("3 done, 0 skipped, 3 failed\n") and "2 frames, 1 dropped" in out
    assert "v/b.mp4: no face" in out and "KeyError: 'surprise' (a bug)" in out
    assert "v/d.mp4: the process that captured it died (killed by signal 9" in out
    assert "Traceback" in error and "(6/6)" in error
    made = ["a.mov", "a.mp4", "e"]
    assert sorted(path.name for path in pathlib.Path("c").iterdir()) == made

    for name in "bcd":
        (videos / f"{name}.mp4").write_text("fine now")
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path("c").rglob("*")}
    assert main(["capture", "v", "--out", "c", "--jobs", "1", "--size", "64"]) == 0
    out = capfd.readouterr().out
    assert out.endswith("3 done, 3 skipped, 0 failed\n")
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before


def _start(videos, tmp_path):
    code = (
        "import sys; from jaxhead.app import folder, main; from app import capture_stand_ins;"
        "folder.WORK = capture_stand_ins.WORK; sys.argv[1:] = "
        "['capture', 'v', '--out', 'c', '--jobs', '1']; main.console()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    started = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("c/.b*.partial")):
        assert started.poll() is None and time.monotonic() < deadline, started.communicate()
        time.sleep(0.05)
    return started


def _gone(pid, seconds=60):
    deadline = time.monotonic() + seconds
    while process_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not process_exists(pid)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_killed_run_ends_its_processes_and_goes_on(videos, tmp_path, number, code, capfd):
    for name in ("a.mov", "c.mp4", "d.mp4", "e.mp4"):
        (videos / name).unlink()
    (videos / "b.mp4").write_text("wait")
    started = _start(videos, tmp_path)
    (partial,) = tmp_path.glob("c/.b*.partial")
    worker = int(partial.name.split("-")[-2])
    started.send_signal(number)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == code and "Traceback" not in said
    assert _gone(worker)
    (videos / "b.mp4").write_text("fine now")
    assert main(["capture", "v", "--out", "c", "--jobs", "1"]) == 0
    assert capfd.readouterr().out.endswith("1 done, 1 skipped, 0 failed\n")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["a", "b"]


def test_a_folder_in_use_is_refused(videos, capsys):
    from jaxhead.files.locks import RunLock

    with RunLock("c"):
        assert main(["capture", "v", "--out", "c"]) == 1
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err


def test_head_of_a_folder_is_fitted_to_each_video(videos, monkeypatch, capfd):
    for name in ("b.mp4", "c.mp4", "d.mp4"):
        (videos / name).unlink()
    pathlib.Path("head.npz").write_bytes(b"a head")
    checked = []
    monkeypatch.setattr(verb, "check_request", lambda *asked: checked.append(asked))
    argv = ["capture", "v", "--out", "c", "--jobs", "1", "--head", "npz:head.npz", "--photometric"]
    assert main(argv) == 0
    assert capfd.readouterr().out.endswith("3 done, 0 skipped, 0 failed\n")
    asked = FitRequest(head="npz:head.npz", photometric=True)
    assert checked == [(asked, None)]
    for name in ("a.mov", "a.mp4", "e"):
        info = json.loads((pathlib.Path("c") / name / "capture.json").read_text())
        assert info["fitting"] == asked.described()
    assert main(argv) == 0
    assert capfd.readouterr().out.endswith("0 done, 3 skipped, 0 failed\n")
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path("c").rglob("*")}
    pathlib.Path("head.npz").write_bytes(b"another head")
    assert main(argv) == 1
    out = capfd.readouterr().out
    assert out.endswith("0 done, 0 skipped, 3 failed\n")
    assert "c/e: exists already, fitted with npz of SHA-256" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_head_that_cannot_be_fitted_is_said_once(videos, capsys):
    for words, argv in (
        ("no.pkl", ["--head", "flame:no.pkl"]),
        ("nothing to fit", ["--head", "mediapipe:face.task"]),
        ("no.npz", ["--head", "npz:no.npz", "--start", "deca"]),
    ):
        assert main(["capture", "v", "--out", "c", *argv]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1 and not pathlib.Path("c").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["capture", "v"], "--out"),
        (["capture", "v", "--check"], "one video"),
        (["capture", "v/a.mp4", "--out", "c", "--jobs", "2"], "--jobs is for a folder"),
        (["capture", "v/a.mp4", "--out", "c", "--ray"], "--ray is for a folder"),
        (["capture", "v", "--out", "c", "--ray=a b"], "--ray"),
    ],
)
def test_usage(videos, argv, words, capsys):
    assert main(argv) == 2
    assert words in capsys.readouterr().err and not pathlib.Path("c").exists()


def test_without_ray_one_line_says_what_to_install(videos, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["capture", "v", "--out", "c", "--ray"]) == 1
    assert capsys.readouterr().err.strip().endswith("pip install 'jaxhead[cluster]'")


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch):
    def init(**_):
        raise ConnectionError("nobody\nanswers")

    ray = type("ray", (), {"init": staticmethod(init)})
    with pytest.raises(InputError, match="--ray auto: cannot be reached .nobody answers"):
        with ray_workers._connected(ray, None, "auto"):
            pass
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
        with pytest.raises(InputError, match=f"--ray {address}: does not answer"):
            with ray_workers._connected(ray, None, address):
                pass


def test_the_same_through_ray(videos, monkeypatch, capfd):
    pytest.importorskip("ray", reason="needs ray: pip install 'jaxhead[cluster]'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["capture", "v", "--out", "c", "--jobs", "1", "--ray"]) == 1
    out = capfd.readouterr().out
    assert "3 done, 0 skipped, 3 failed" in out and "WorkerCrashedError" in out
    assert sorted(path.name for path in pathlib.Path("c").iterdir()) == ["a.mov", "a.mp4", "e"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_time_left_counts_what_took_time(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("jaxhead.app.progress.time.monotonic", lambda: clock[0])
    with Videos(5) as videos:
        clock[0] = 50.0
        videos.ended(0, "a: skipped", free=True)
        clock[0] = 60.0
        videos.ended(1, "b: done", free=False)
        clock[0] = 130.0
        videos.share(2, 0.5)
    said = capsys.readouterr().err.splitlines()
    assert said == ["a: skipped (1/5)", "b: done (2/5, 30 s left)", "2/5, 2:13 left"]


def test_the_table_shows_hostile_names_and_is_in_order():
    jobs = [type("J", (), {"name": name}) for name in ("b\n", "a", "c")]
    outcomes = [Outcome("done", "1 frames"), Outcome("done", "2 frames"), Outcome("skipped", "s")]
    assert verb.table(jobs, outcomes).splitlines() == [
        "done     a   2 frames", "done     b\\n  1 frames", "skipped  c   s",
        "2 done, 1 skipped, 0 failed",
    ]  # fmt: skip
