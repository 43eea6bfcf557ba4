"""One entry to all features: shapes, blocks against the whole, sounds of any kind, videos."""

import jax
import numpy as np
import pytest

from jaxhead.audio.features import extractor, features, video_features
from jaxhead.audio.mel import log_mel
from jaxhead.audio.pitch import pitch
from jaxhead.audio.speechlike import speechlike
from jaxhead.files.errors import InputError


@pytest.fixture(scope="module")
def sound():
    return speechlike(frames=300, seed=2).samples


def test_blocks_are_the_whole(sound):
    # 12 s are more than one block.
    mel = extractor()
    stream = mel.stream(sound)
    blocks = list(stream.blocks)
    assert len(blocks) > 1 and sum(map(len, blocks)) == stream.count == 600
    rows = np.concatenate(blocks)
    assert rows.shape == (600, 83) and rows.dtype == np.float32 and mel.rate == 50
    np.testing.assert_allclose(rows[:, :80], jax.jit(log_mel)(sound), atol=1e-4)
    whole = jax.jit(pitch)(sound)
    hertz = np.asarray(whole.hertz)
    np.testing.assert_allclose(rows[:, 81], whole.strength, atol=1e-3)
    octaves = np.log2(np.where(hertz > 0, hertz, 100) / 100)
    np.testing.assert_allclose(rows[:, 80], octaves, atol=1e-3)
    np.testing.assert_array_equal(features(sound, 16000).rows, rows)


def test_silence_is_what_stands_beyond():
    found = features(np.zeros(4000, np.float32), 16000)
    np.testing.assert_array_equal(found.rows, np.broadcast_to(found.beyond, (13, 83)))


@pytest.mark.parametrize("count", [0, 1, 319, 321])
def test_shortest_sounds(count):
    found = features(np.ones(count, np.float32), 16000)
    assert found.rows.shape == (-(-count // 320), 83) and np.isfinite(found.rows).all()
    assert video_features(found, frames=1).shape == (1, 16, 83)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_rate_stereo_and_integers(sound, rate):
    from scipy import signal

    want = features(sound[:32000], 16000).rows
    other = signal.resample_poly(sound[:32000], rate // 50, 320).astype(np.float32)
    stereo = np.rint(np.stack([other, other], 1) * 32767).clip(-32767, 32767).astype(np.int16)
    got = features(stereo, rate).rows
    assert abs(len(got) - len(want)) <= 1
    # Up to 3 kHz, which 8 kHz still holds; edges and what is near the floor differ.
    loud = want[3:97, :50] > -2.5
    assert np.abs(got[3:97, :50] - want[3:97, :50])[loud].mean() < 0.03


def test_clipped_sound_has_defined_features(sound):
    rows = features(np.clip(20 * sound[:16000], -1, 1), 16000).rows
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(
    "samples,rate,message",
    [
        (np.zeros(9), 0, "0 samples per second"),
        (np.zeros(9), 16000.5, "whole number"),
        (np.zeros((2, 3, 4)), 16000, r"\(2, 3, 4\)"),
        (np.zeros(9, np.int64), 16000, "int64"),
        (np.array([0, np.nan]), 16000, "not finite"),
    ],
)
def test_what_cannot_be_used_is_one_line(samples, rate, message):
    with pytest.raises(InputError, match=message) as caught:
        features(samples, rate, what="voice.wav")
    assert "voice.wav" in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_kind_is_named():
    with pytest.raises(InputError, match="'mell' is unknown, expected one of mel"):
        features(np.zeros(9), 16000, kind="mell")


def test_a_videos_windows(sound, caplog):
    found = features(sound, 16000)
    windows = video_features(found, frames=300)
    assert windows.shape == (300, 16, 83) and not caplog.records
    np.testing.assert_array_equal(windows[100], found.rows[192:208])
    np.testing.assert_array_equal(windows[0, :8], np.broadcast_to(found.beyond, (8, 83)))
    longer = video_features(found, frames=310, what="voice.wav")
    assert "voice.wav lasts 12.00 s, the 310 pictures 12.40 s" in caplog.text
    np.testing.assert_array_equal(longer[309], np.broadcast_to(found.beyond, (16, 83)))
