"""The command line as a user meets it: exit codes, one-line reasons, nothing half-written."""

import os
import pathlib
import resource
import signal
import subprocess
import sys

import pytest

from jaxhead.app import main as main_module
from jaxhead.app.main import main
from jaxhead.app.outputs import refuse_existing
from jaxhead.files.errors import ConfigurationError, InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _jaxhead(*argv, cwd, timeout=60):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAXHEAD_CACHE": str(cwd / ".cache")}
    return subprocess.run(
        [sys.executable, "-m", "jaxhead.app.main", *argv],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _one_line(result, code):
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("jaxhead: "), result.stderr
    return lines[0]


def test_help_is_quick_and_loads_nothing_heavy(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = _jaxhead("--help", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, which other work on the machine hardly changes: alone it takes 0.1 s.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0
    assert result.returncode == 0 and "jaxhead train avatar" in result.stdout
    code = (
        "import sys; from jaxhead.app.main import main; main(['--help']); main(['render', '-h']);"
        "heavy = {'jax', 'numpy', 'flax', 'mediapipe', 'av'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], ["trian", "did you mean train"]),
        (["train", "avatar", "c", "--stesp", "1"], ["did you mean --steps"]),
        (["train", "avatar", "c"], ["--out is missing"]),
        (["train", "avatar", "--out", "new"], ["CAPTURE is missing"]),
        (["train", "avatar", "c", "--out", "r", "--steps", "1", "--minutes", "1"], ["contradict"]),
        (["render", "r", "--out", "o.avi"], ["o.avi", "OUT.mp4"]),
        (["render", "r", "--out", "o.mp4", "--background", "transparent"], ["alpha"]),
        (["render", "r", "--out", "o/", "--audio", "a.wav"], ["--audio"]),
        (["render", "r", "--out", "o.mp4", "--view", "1,2", "--orbit", "3"], ["contradict"]),
        (["capture", "v.mp4"], ["--out"]),
        (["capture", "v.mp4", "--out", "c", "--photometric"], ["--photometric", "--head"]),
        (["capture", "v.mp4", "--out", "c", "--start", "deca"], ["--start", "--head"]),
        (["capture", "s", "--from", "insta", "--out", "c", "--start", "deca"], ["--start"]),
        (["synthesize", "--out", "c", "--frames", "-3"], ["--frames", "-3"]),
    ],
)
def test_usage_errors_exit_with_2(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["capture", "no.mp4", "--out", "c"], ["no.mp4"]),
        (["capture", "v.mp4", "--out", "taken"], ["taken", "exists"]),
        (["synthesize", "--out", "taken"], ["taken", "exists"]),
        (["synthesize", "--out", "taken/file"], ["taken/file", "exists"]),
        (["render", "no_run", "--out", "o.mp4"], ["no_run", "run.json"]),
        (["render", "taken", "--out", "o.mp4"], ["taken", "run.json"]),
        (["render", "r", "--out", "taken"], ["taken", "exists"]),
        (["render", "r", "--out", "o.mp4", "--background", "no.png"], ["no.png", "colour"]),
        (["render", "r", "--out", "o.mp4", "--background", "wihte"], ["did you mean white"]),
        (["render", "r", "--out", "o.mp4", "--meshes", "taken"], ["taken", "exists"]),
        (["render", "r", "--out", "o.mp4", "--audio", "no.wav"], ["no.wav"]),
        (["evaluate", "no_run"], ["no_run", "run.json"]),
        (["evaluate", "no_run", "--json", "taken/file"], ["taken/file", "exists"]),
    ],
)
def test_bad_input_exits_with_1(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("kept")
    (tmp_path / "v.mp4").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken" / "file").read_text() == "kept"


def test_a_run_of_another_version_is_refused(capsys, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"format": "jaxhead-run", "version": 99}')
    for argv in (["render", str(run), "--out", str(tmp_path / "o.mp4")], ["evaluate", str(run)]):
        assert main(argv) == 1
        error = capsys.readouterr().err
        assert "99" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("clip.mp4: cut off"), 1),
        (ConfigurationError("field.level: no such setting; did you mean field.levels?"), 2),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "run/x"), 1),
        (PermissionError(13, "Permission denied", "run/x"), 1),
    ],
)
def test_exit_codes_of_errors(error, code, monkeypatch, capsys):
    def fail(argv):
        raise error

    monkeypatch.setattr(main_module, "_dispatch", fail)
    assert main(["render"]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(argv):
        raise ZeroDivisionError

    monkeypatch.setattr(main_module, "_dispatch", fail)
    with pytest.raises(ZeroDivisionError):
        main(["render"])


def test_control_characters_and_bytes_in_names_stay_on_one_line(tmp_path):
    line = _one_line(_jaxhead("capture", "\x1b[31mred\n.mp4", "--out", "c", cwd=tmp_path), 1)
    assert "\x1b" not in line
    _one_line(_jaxhead("capture", os.fsdecode(b"\xff\xfe.mp4"), "--out", "c", cwd=tmp_path), 1)


MEDIA = {
    "empty.mp4": b"",
    "text.mp4": b"this is no video" * 50,
    "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
    "head_only.mp4": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + b"\0" * 64,
    "-dash.mp4": b"no",
}


@pytest.mark.parametrize("name", MEDIA)
def test_files_that_are_no_video(name, tmp_path):
    pytest.importorskip("jaxhead.captures.record")
    (tmp_path / name).write_bytes(MEDIA[name])
    for argv in (["capture", name, "--out", "c"], ["capture", name, "--check"]):
        assert name in _one_line(_jaxhead(*argv, cwd=tmp_path), 1)
        assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, b"interrupted"), (signal.SIGTERM, 143, b"terminated")],
)
def test_signals_say_one_line_and_clean_up(number, code, word, tmp_path):
    program = (
        # A test run in the background inherits an ignored SIGINT; a user's terminal does not.
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from jaxhead.app import main\n"
        "from jaxhead.files.atomic import new_folder\n"
        "def work(argv):\n"
        " with new_folder(argv[0]): print('go', flush=True); time.sleep(60)\n"
        "main._dispatch = work; main.console()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"go\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == code and error == b"jaxhead: " + word + b"\n"
    assert not list(tmp_path.iterdir())


def test_a_killed_verb_leaves_nothing_that_stands_in_the_way(tmp_path):
    program = (
        "import sys, time\n"
        "from jaxhead.files.atomic import new_file, new_folder\n"
        "with new_folder(sys.argv[1]) as made, new_file(sys.argv[2]) as file:\n"
        " (made / 'a').write_text('half'); file.write_text('half')\n"
        " print('go', flush=True); time.sleep(60)\n"
    )
    outputs = [tmp_path / "out", tmp_path / "out.mp4"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, outputs)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"go\n"
    process.kill()
    process.communicate(timeout=20)
    assert len(list(tmp_path.iterdir())) == 2 and not any(path.exists() for path in outputs)
    refuse_existing(outputs[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "work",
    [
        # Python prints and forgets what a finaliser raises, as jax's own callback of the collector.
        " class Dying:\n"
        "  def __del__(self): os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2)\n"
        " Dying(); time.sleep(60)\n",
        # As a library written in C++ does that calls back into Python.
        " try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        " except KeyboardInterrupt: raise RuntimeError('error in a callback') from None\n",
    ],
    ids=["finaliser", "native"],
)
def test_an_interrupt_that_others_swallow_ends_the_work(work):
    program = (
        "import os, signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from jaxhead.app import main\ndef work(argv):\n{work}"
        "main._dispatch = work; main.console()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert (result.returncode, result.stderr) == (130, "jaxhead: interrupted\n")


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m jaxhead.app.main --help | true"
    result = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
