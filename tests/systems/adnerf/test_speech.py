"""What a frame hears: windows, on the device and from a file, scales, features that came along."""

import jax
import numpy as np
import pytest

from jaxhead.audio.windows import adnerf_windows
from jaxhead.files.errors import InputError
from jaxhead.systems.adnerf.config import AudioConfig
from jaxhead.systems.adnerf.speech import (
    Scale,
    Speech,
    device_windows,
    fit_scale,
    heard_by,
    neighbours_of,
    rows_of_windows,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("rate, fps", [(50.0, 25.0), (25.0, 25.0), (50.0, 30.0), (62.5, 24.0)])
@pytest.mark.parametrize("rows", [0, 1, 90])
def test_windows_from_a_file_are_those_of_the_device(rate, fps, rows):
    data, beyond = RNG.standard_normal((rows, 3), np.float32), np.full(3, 7, np.float32)
    speech = Speech.of_rows(data, rate, beyond)
    frames = np.array([0, 1, 5, 20, 38, 60], np.int32)
    found = jax.jit(
        lambda r, f: device_windows(r, beyond, f, rate=rate, fps=fps, size=16, count=8)
    )(data, frames)
    for frame, expected in zip(frames, np.asarray(found)):
        windows = speech.windows(int(frame), fps=fps, size=16, count=8)
        np.testing.assert_array_equal(windows, expected)
    if rows == 0:
        assert np.all(found == 7)


def test_the_middle_neighbour_hears_what_adnerf_lets_it_hear():
    rows = RNG.standard_normal((60, 4), np.float32)
    speech = Speech.of_rows(rows, 50.0, np.zeros(4, np.float32))
    assert neighbours_of(np.int32(10), 8).tolist() == [6, 7, 8, 9, 10, 11, 12, 13]
    published = adnerf_windows(rows)
    for frame in (0, 11, 29):
        windows = speech.windows(frame, fps=25.0, size=16, count=8)
        np.testing.assert_array_equal(windows[4], published[frame])


def test_rows_come_back_from_published_windows():
    rows = RNG.standard_normal((80, 29), np.float32)
    heard = rows_of_windows(np.asarray(adnerf_windows(rows)), 25.0)
    assert heard.rate == 50.0 and not heard.beyond.any()
    np.testing.assert_array_equal(heard.rows, rows)
    pairs = rows.reshape(40, 2, 29)
    np.testing.assert_array_equal(rows_of_windows(pairs, 25.0).rows, rows)
    single = rows_of_windows(rows, 25.0)
    assert single.rate == 25.0 and single.rows.shape == (80, 29)


def test_the_scale_is_that_of_the_training_frames_and_bounds_what_it_never_saw():
    rows = RNG.standard_normal((100, 3)) * [1, 5, 0] + [0, 2, 3]
    rows[60:] += 50
    scale = fit_scale(rows.astype(np.float32), 50.0, 25.0, np.arange(30))
    scaled = scale(rows)
    np.testing.assert_allclose(scaled[:60].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[:60, :2].std(0), 1, atol=1e-5)
    assert np.all(scaled[60:, 0] == 4) and not scaled[:, 2].any() and scaled.dtype == np.float32
    # Held-out frames change nothing.
    other = rows.copy()
    other[60:] *= 3
    again = fit_scale(other.astype(np.float32), 50.0, 25.0, np.arange(30))
    for a, b in zip(scale, again):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(Scale.identity(3)(rows), rows.astype(np.float32))


class Recorded:
    """A capture that came with features."""

    path, fps, audio_rate = "recorded", 25.0, 16000

    def __init__(self, features, samples=None):
        self.features, self.samples = features, samples

    def __len__(self):
        return 10

    def audio(self):
        return self.samples

    def audio_features(self):
        return self.features


def test_features_that_came_with_a_capture_stand_for_its_sound():
    windows = RNG.standard_normal((10, 16, 29)).astype(np.float32)
    config = AudioConfig(features="deepspeech")
    heard = heard_by(Recorded({"deepspeech": windows}), config)
    assert heard.rows.shape == (20, 29)
    with pytest.raises(InputError, match="no features 'deepspeech'"):
        heard_by(Recorded({"esperanto": windows}), config)
    with pytest.raises(InputError, match="has no sound, expected"):
        heard_by(Recorded({}), config)


def test_features_of_another_width_than_the_runs_are_refused():
    samples = np.zeros(1600, np.float32)
    with pytest.raises(InputError, match="83 numbers per row, the run was trained on 29"):
        Speech(samples, AudioConfig(), Scale.identity(29))
