"""Speech-like sound: length, determinism, and a mouth that moves with the sound."""

import numpy as np
import pytest

from jaxhead.audio.speechlike import RATE, speechlike


@pytest.mark.parametrize("frames,fps", [(1, 25.0), (50, 25.0), (31, 30.0)])
def test_lengths_and_ranges(frames, fps):
    speech = speechlike(frames=frames, fps=fps, seed=3)
    assert abs(len(speech.samples) - frames / fps * RATE) <= 1
    assert speech.samples.dtype == np.float32 and np.abs(speech.samples).max() <= 1
    for track in speech[1:]:
        assert track.shape == (frames,) and track.min() >= 0 and track.max() <= 1


def test_seed_fixes_everything():
    first, again, other = (speechlike(frames=40, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first.samples - other.samples).max() > 0.1


def test_mouth_moves_with_the_sound():
    speech = speechlike(frames=200, seed=0)
    loud = np.sqrt((speech.samples[: 200 * 640].reshape(200, 640) ** 2).mean(1))
    # A frame shows the start of its 40 ms of sound: compare with the sound around it.
    around = 0.5 * (loud[1:] + loud[:-1])
    correlation = [np.corrcoef(np.roll(speech.jaw[1:], lag), around)[0, 1] for lag in range(-6, 7)]
    assert correlation[6] > 0.4 and abs(int(np.argmax(correlation)) - 6) <= 1
    assert speech.jaw.max() > 0.8 and speech.jaw.min() < 0.1


def test_voice_is_harmonic_and_hiss_is_high():
    speech = speechlike(frames=200, seed=0)
    spectrum = np.abs(np.fft.rfft(speech.samples[: 8 * RATE])) ** 2
    frequency = np.fft.rfftfreq(8 * RATE, 1 / RATE)
    low = spectrum[(frequency > 80) & (frequency < 1200)].sum()
    high = spectrum[frequency > 4000].sum()
    assert low > 10 * high > 0


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="frames=0"):
        speechlike(frames=0)
