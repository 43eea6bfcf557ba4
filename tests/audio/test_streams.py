"""Features on their way to disk: bytes of a plain .npy, nothing half-written, bounded memory."""

import subprocess
import sys

import numpy as np
import pytest

from jaxhead.audio.streams import FeatureStream, gathered, write_stream
from jaxhead.files.errors import InputError


def _stream(rows, size=3):
    return FeatureStream(len(rows), (rows[i : i + size] for i in range(0, len(rows), size)))


@pytest.mark.parametrize("count", [0, 1, 10])
def test_the_file_is_numpys(tmp_path, count):
    rows = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    write_stream(tmp_path / "a.npy", _stream(rows), 4)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)
    np.testing.assert_array_equal(gathered(_stream(rows), 4), rows)


def test_an_error_leaves_the_former_file(tmp_path):
    write_stream(tmp_path / "a.npy", _stream(np.zeros((2, 4), np.float32)), 4)

    def failing():
        yield np.ones((1, 4), np.float32)
        raise InputError("the sound is damaged")

    with pytest.raises(InputError, match="damaged"):
        write_stream(tmp_path / "a.npy", FeatureStream(2, failing()), 4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.zeros((2, 4)))


_GROWTH = """
import resource, wave
import numpy as np
from jaxhead.audio.features import write_features
from jaxhead.audio.speechlike import speechlike
from jaxhead.files.sound import audio_rows
four_seconds = np.rint(30000 * speechlike(frames=100, seed=0).samples).astype("<i2").tobytes()
peaks = []
for minutes in (1, 10):
    with wave.open("a.wav", "wb") as file:
        file.setnchannels(1); file.setsampwidth(2); file.setframerate(16000)
        for _ in range(15 * minutes):
            file.writeframesraw(four_seconds)
    rows = audio_rows("a.wav", folder=".")
    assert write_features("a.npy", rows, 16000) == 3000 * minutes
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""


def test_ten_minutes_take_the_memory_of_one(tmp_path):
    code = _GROWTH
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    growth = float(done.stdout)
    print(f"{growth:.0f} MB more for ten minutes than for one")
    assert growth < 50
