import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from files.making import number_of, picture

from jaxhead.files.atomic import clean_leftovers
from jaxhead.files.errors import InputError
from jaxhead.files.sound import read_audio
from jaxhead.files.video import VideoWriter, decode, probe

pytest.importorskip("av")


def smooth(height, width, seed=0):
    y, x = np.mgrid[:height, :width] / max(height, width)
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    return np.stack([127 + 100 * np.sin(5 * x + 4 * y + p) for p in phases], -1).astype(np.uint8)


def write(path, frames=10, **options):
    with VideoWriter(path, 25, **options) as writer:
        for i in range(frames):
            writer.write(picture(i))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_come_back_in_order_and_close(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    frame = smooth(64, 96)
    with VideoWriter(path, 25, (64, 96), crf=10) as writer:
        for _ in range(3):
            writer.write(frame)
    back = list(decode(path))
    assert len(back) == 3
    assert np.abs(back[1].astype(float) - frame).mean() < 2.0
    assert abs((back[1].astype(float) - frame).mean()) < 0.5
    write(tmp_path / f"b{suffix}", 30)
    assert [number_of(f) for f in decode(tmp_path / f"b{suffix}")] == list(range(30))


def test_odd_sides_are_padded_to_even_ones(tmp_path):
    frame = smooth(63, 61)
    with VideoWriter(tmp_path / "a.mp4", 30000 / 1001) as writer:
        for _ in range(5):
            writer.write(frame)
    info = probe(tmp_path / "a.mp4")
    assert (info.height, info.width, info.frames) == (64, 62, 5)
    assert info.fps == pytest.approx(29.97, abs=0.001)
    back = next(decode(tmp_path / "a.mp4", fps=30))
    assert np.abs(back[:63, :61].astype(float) - frame).mean() < 3
    assert np.abs(back[63, :61].astype(float) - frame[62]).mean() < 6


@pytest.mark.parametrize("rate", [16000, 48000])
def test_sound_is_in_sync_and_ends_with_the_picture(tmp_path, rate, caplog):
    samples = np.zeros(3 * rate, np.float32)
    samples[rate : rate + rate // 50] = 0.9
    with VideoWriter(tmp_path / "a.mp4", 25, audio=samples, audio_rate=rate) as writer:
        for i in range(50):
            writer.write(np.full((32, 32, 3), 255 if i == 25 else 0, np.uint8))
    assert "left out" in caplog.text
    back = read_audio(tmp_path / "a.mp4")
    assert abs(len(back) - 32000) <= 640
    flash = int(np.argmax([frame.mean() for frame in decode(tmp_path / "a.mp4")])) / 25
    click = np.flatnonzero(np.abs(back) > 0.4)[0] / 16000
    assert flash == 1.0
    assert abs(click - flash) < 0.005


@pytest.mark.parametrize("count", [0, 1, 624, 31999, 32000, 32640])
def test_sound_of_any_length_is_silent_about_a_frame(tmp_path, count, caplog):
    write(tmp_path / "a.mp4", 50, audio=np.zeros(count, np.float32))
    assert "left out" not in caplog.text
    assert probe(tmp_path / "a.mp4").frames == 50
    assert probe(tmp_path / "a.mp4").duration == pytest.approx(2.0)


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(picture(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_misuse_is_named(tmp_path):
    with pytest.raises(InputError, match="suffix"):
        VideoWriter(tmp_path / "a.gif", 25)
    with pytest.raises(InputError, match="fps"):
        VideoWriter(tmp_path / "a.mp4", 0)
    with pytest.raises(InputError, match="audio rate 1234"):
        VideoWriter(tmp_path / "a.mp4", 25, audio=np.zeros(3), audio_rate=1234)
    with pytest.raises(InputError, match="no frame"), VideoWriter(tmp_path / "a.mp4", 25):
        pass
    with pytest.raises(ValueError, match="uint8"), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="expected"), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(picture(0))
        writer.write(picture(0)[:20])
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="exists"):
        write(tmp_path / "a.mp4")
    write(tmp_path / "a.mp4", 3, overwrite=True)
    assert probe(tmp_path / "a.mp4").frames == 3


@pytest.mark.parametrize("name", ["b c.mp4", "-d.mp4", "e'f\".mp4", "ü.mp4", "g:h.mp4", "%03d.mp4"])
def test_odd_names_work(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(name, 3)
    assert os.listdir() == [name]
    assert probe(name).frames == 3


KILLED = """
import sys, numpy as np
from jaxhead.files.video import VideoWriter
with VideoWriter(sys.argv[1], 25) as writer:
    while True:
        writer.write(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
"""


def test_a_killed_writer_leaves_no_final_name(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "a.mp4")])
    try:
        for _ in range(200):
            if any(tmp_path.iterdir()):
                break
            time.sleep(0.05)
        assert clean_leftovers(tmp_path) == []  # its writer lives
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "a.mp4").exists()
    assert len(clean_leftovers(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, signal, sys, numpy as np
from jaxhead.files.errors import InputError
from jaxhead.files.video import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
rng = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], 25) as writer:
        for _ in range(60):
            writer.write(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8))
except InputError as error:
    print(error)
"""


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "a.mp4"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True)
    assert done.stdout.startswith(f"{path}: no space left"), done
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
