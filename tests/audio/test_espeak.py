"""English by eSpeak NG: its phonemes become ours; the library itself where it is installed."""

import numpy as np
import pytest

from jaxhead.audio import espeak
from jaxhead.audio.espeak import espeak_speech, segments_of, text_for
from jaxhead.audio.espeak_process import load_library
from jaxhead.audio.phonemes import PHONEMES
from jaxhead.files.errors import InputError


def test_mnemonics_become_segments_in_time():
    named = [[0, "h"], [50, "@"], [100, "l"], [180, "oU"], [300, "_:"], [450, "aI@"], [600, "tS"],
             [700, "m"], [700, "A:"], [800, "%%"], [900, "_"]]  # fmt: skip
    segments = segments_of(named)
    assert [s.name for s in segments] == [*"h@lou", "a", "I", "@", "t", "S", "a"]
    diphthong = segments[3:5]
    assert [(s.start, s.stop) for s in diphthong] == [(0.18, 0.24), (0.24, 0.3)]
    # The pause is a gap, what takes no time is left out.
    assert segments[5].start == pytest.approx(0.45) and segments[-1].stop == pytest.approx(0.8)
    assert segments_of([]) == [] and segments_of([[0, "a"]]) == []


def test_every_mnemonic_means_phonemes_that_are_known():
    for ours in espeak._NAMES.values():
        assert ours and all(part in PHONEMES for part in ours.split())


def test_words_follow_from_the_seed():
    one, again, other = (text_for(10, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one == again != other and len(one.split()) >= 35


def test_a_failure_is_one_line(monkeypatch):
    """Whether it is not installed or has no such voice."""
    monkeypatch.setattr(espeak, "VOICE", "no-such-voice")
    with pytest.raises(InputError, match="^speech by eSpeak NG: eSpeak NG .*built-in phonemes"):
        espeak_speech(frames=10)
    with pytest.raises(ValueError, match="frames=0"):
        espeak_speech(frames=0)


def test_sound_and_mouth_of_words():
    if load_library() is None:
        pytest.skip("needs eSpeak NG")
    speech, again = (espeak_speech(frames=100, seed=1) for _ in range(2))
    assert speech.samples.shape == (64000,) and 0.1 < np.abs(speech.samples).max() <= 1
    for one, other in zip(speech, again):
        np.testing.assert_array_equal(one, other)
    assert speech.jaw.max() > 0.6 and speech.closure.max() > 0.9
    # Each frame with the sound around it: they belong together without a shift.
    around = np.pad(speech.samples, 320)[:64000].reshape(100, 640)
    level = np.sqrt((around**2).mean(1))[8:-8]
    lags = range(-5, 6)
    match = [np.corrcoef(level, np.roll(speech.voiced, lag)[8:-8])[0, 1] for lag in lags]
    assert max(match) > 0.4 and lags[int(np.argmax(match))] == 0
