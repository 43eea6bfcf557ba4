"""Phonemes in the mouth and in the sound: targets, co-articulation, and what features can tell."""

import numpy as np
import pytest

from jaxhead.audio.articulation import articulate, phoneme_speech, spoken
from jaxhead.audio.features import features, video_features
from jaxhead.audio.phonemes import CONSONANTS, PHONEMES, VOWELS, Segment, babble
from jaxhead.audio.speechlike import RATE


@pytest.mark.parametrize("frames,fps", [(1, 25.0), (50, 25.0), (31, 30.0)])
def test_lengths_and_ranges(frames, fps):
    speech = phoneme_speech(frames=frames, fps=fps, seed=3)
    assert abs(len(speech.samples) - frames / fps * RATE) <= 1
    assert speech.samples.dtype == np.float32 and np.abs(speech.samples).max() <= 1
    for track in speech[1:]:
        assert track.shape == (frames,) and track.min() >= 0 and track.max() <= 1
    with pytest.raises(ValueError, match="frames=0"):
        phoneme_speech(frames=0)


def test_seed_fixes_everything():
    first, again, other = (phoneme_speech(frames=40, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first.samples - other.samples).max() > 0.1


def test_babble_is_in_order_and_uses_everything():
    segments = babble(120.0, np.random.default_rng(0))
    for one, two in zip(segments, segments[1:]):
        assert one.start < one.stop <= two.start + 1e-9
    assert {segment.name for segment in segments} == set(PHONEMES)
    assert 0.5 < sum(s.name in VOWELS for s in segments) / sum(s.name in CONSONANTS for s in
                                                              segments) < 1.2  # fmt: skip


def _said(*names, start=0.2):
    """Segments of the mean length, one after the other, and the control tracks of the mouth."""
    segments, now = [], start
    for name in names:
        stop = now + PHONEMES[name].seconds
        segments.append(Segment(name, now, stop, 1.0, 1.0))
        now = stop
    tracks = articulate(segments, int(200 * (now + 0.4)))
    middle = {s.name: int(100 * (s.start + s.stop)) for s in segments}
    return tracks, middle, segments


def test_lips_meet_whatever_stands_around_them():
    for lips in "mbp":
        tracks, middle, _ = _said("a", lips, "E")
        assert tracks["closure"][middle[lips]] > 0.9
        assert tracks["closure"][middle["E"]] < 0.2 and tracks["jaw"][middle["a"]] > 0.6


def test_loud_sounds_behind_a_small_opening():
    for name in ("u", "i", "s"):
        tracks, middle, _ = _said("a", "t", name)
        assert tracks["jaw"][middle[name]] < 0.45 * tracks["jaw"][middle["a"]]
    loudness = {name: _level(name) for name in ("a", "u", "i", "m")}
    assert max(loudness.values()) < 2 * min(loudness.values())


def _level(name):
    """Root mean square of a sound beside a vowel that sets the scale."""
    _, _, segments = _said("@", "@", name, name, "@", "@")
    speech = spoken(segments, frames=40, fps=25, rng=np.random.default_rng(0))
    middle = slice(int(16000 * segments[2].start), int(16000 * segments[3].stop))
    return np.sqrt((speech.samples[middle] ** 2).mean())


def test_sounds_run_into_each_other():
    tracks, middle, segments = _said("t", "i", "t", "u", "t")
    # Lips are rounded before the rounded vowel begins, less so before a spread one.
    before_i, before_u = (int(200 * segments[k].start) - 6 for k in (1, 3))
    assert tracks["round"][before_u] > 2 * tracks["round"][before_i] + 0.2
    # The same vowel is less open between sibilants than beside an h, which has its vowel's mouth.
    tight, at_tight, _ = _said("s", "E", "z")
    wide, at_wide, _ = _said("h", "E", "h")
    assert tight["jaw"][at_tight["E"]] < wide["jaw"][at_wide["E"]] - 0.05
    assert wide["jaw"][at_wide["h"]] > 0.7 * wide["jaw"][at_wide["E"]]


@pytest.mark.parametrize("name,low,high", [("s", 4500, 7500), ("S", 2200, 4200)])
def test_noises_have_their_place(name, low, high):
    _, _, segments = _said("@", name, name, "@")
    samples = spoken(segments, frames=20, fps=25, rng=np.random.default_rng(0)).samples
    part = samples[int(16000 * segments[1].start) + 400 : int(16000 * segments[2].stop) - 400]
    power = np.abs(np.fft.rfft(part)) ** 2
    hertz = np.fft.rfftfreq(len(part), 1 / 16000)
    assert low < (hertz * power).sum() / power.sum() < high


def _held_out(inputs, wanted, strength):
    """Correlation of a ridge regression with the last fifth of the time."""
    cut = int(0.8 * len(wanted))
    mean, deviation = inputs[:cut].mean(0), inputs[:cut].std(0) + 1e-6
    x = (inputs - mean) / deviation
    known = x[:cut].T @ (wanted[:cut] - wanted[:cut].mean())
    weights = np.linalg.solve(x[:cut].T @ x[:cut] + strength * np.eye(x.shape[1]), known)
    return np.corrcoef(x[cut:] @ weights, wanted[cut:])[0, 1]


def test_features_tell_the_opening_and_loudness_does_not():
    speech = phoneme_speech(frames=2250, seed=0)
    windows = video_features(features(speech.samples, RATE), frames=2250).astype(np.float64)
    opening = speech.jaw * (1 - speech.closure)
    # Two rows at a time are one: half as many inputs say the same here.
    both = windows.reshape(2250, 8, 2, -1).mean(2).reshape(2250, -1)
    by_features = _held_out(both, opening, 300.0)
    energy = windows[:, :, 82]
    by_loudness = _held_out(np.concatenate([energy, 10**energy], 1), opening, 30.0)
    print(f"correlation {by_features:.3f}, of loudness alone {by_loudness:.3f}")
    assert by_features >= 0.8 and by_features >= by_loudness + 0.15
