"""MediaPipe reports nothing: the environment it finds, and a listener that would be told."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from jaxhead.files.offline import without_reports

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("former", [None, "http://proxy:3128"])
def test_the_environment_is_as_before_when_the_last_block_has_ended(monkeypatch, former):
    monkeypatch.delenv("https_proxy", raising=False)
    if former:
        monkeypatch.setenv("https_proxy", former)
    before = dict(os.environ)
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(without_reports())
    second.enter_context(without_reports())
    first.close()  # not the one that began last
    assert os.environ["https_proxy"] == "none://"
    second.close()
    assert dict(os.environ) == before
    with pytest.raises(KeyError), without_reports():
        raise KeyError
    assert dict(os.environ) == before


PROGRAM = """
import sys, time
import numpy as np
from jaxhead.captures.landmarks import Landmarker, PersonSegmenter
picture = np.zeros((64, 64, 3), np.uint8)
with Landmarker(sys.argv[1], video=False) as landmarker, PersonSegmenter(sys.argv[1]) as segmenter:
    landmarker.detect(picture)
    segmenter.confidence(picture)
    time.sleep(1)
time.sleep(1)
"""


def test_mediapipe_reports_nothing(assets):
    """A report would go through the proxy that the environment names: here, to a listener."""
    pytest.importorskip("mediapipe")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environment = {**os.environ, "https_proxy": proxy, "no_proxy": ""}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(assets)], cwd=ROOT, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with pytest.raises(BlockingIOError):
            listener.accept()
