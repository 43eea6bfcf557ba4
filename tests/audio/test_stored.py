"""Stored features: shapes of the published programs, turned axes, other rates, damage."""

import numpy as np
import pytest

from jaxhead.audio.features import features, video_features, write_features
from jaxhead.audio.stored import load_features, load_rows
from jaxhead.files.errors import InputError


def _saved(path, shape, kind=np.float64):
    values = np.random.default_rng(0).normal(size=shape).astype(kind)
    np.save(path, values)
    return values


@pytest.mark.parametrize(
    "shape,kind,turned",
    [
        ((30, 16, 29), "deepspeech", False),
        ((30, 29, 16), "deepspeech", True),
        ((30, 16, 44), "esperanto", False),
        ((30, 2, 1024), "hubert", False),
        ((30, 1024, 2), "hubert", True),
        ((30, 7, 5), "", False),
    ],
)
def test_published_shapes(tmp_path, shape, kind, turned):
    values = _saved(tmp_path / "aud.npy", shape)
    found = load_features(tmp_path / "aud.npy", frames=30)
    assert found.kind == kind and found.windows.dtype == np.float32
    expected = values.swapaxes(1, 2) if turned else values
    np.testing.assert_array_equal(found.windows, expected.astype(np.float32))


def test_size_tells_how_unknown_windows_lie(tmp_path):
    values = _saved(tmp_path / "aud.npy", (10, 80, 12))
    found = load_features(tmp_path / "aud.npy", size=12)
    np.testing.assert_array_equal(found.windows, values.swapaxes(1, 2).astype(np.float32))
    with pytest.raises(InputError, match="expected windows of 11 rows"):
        load_features(tmp_path / "aud.npy", size=11)
    _saved(tmp_path / "ds.npy", (10, 16, 29))
    with pytest.raises(InputError, match="windows of 16 rows of deepspeech, expected 8"):
        load_features(tmp_path / "ds.npy", size=8)


@pytest.mark.parametrize("frames,warned", [(50, False), (49, False), (51, False), (60, True),
                                           (30, True)])  # fmt: skip
def test_length_follows_the_pictures(tmp_path, caplog, frames, warned):
    values = _saved(tmp_path / "aud.npy", (50, 16, 29), np.float32)
    found = load_features(tmp_path / "aud.npy", frames=frames).windows
    assert len(found) == frames and bool(caplog.records) == warned
    np.testing.assert_array_equal(found[-1], values[min(frames, 50) - 1])


def test_features_of_another_rate_are_refused(tmp_path):
    _saved(tmp_path / "aud.npy", (500, 16, 29), np.float32)
    with pytest.raises(
        InputError, match="500 rows for 10.00 s are 50 per second, expected 25: fea"
    ):
        load_features(tmp_path / "aud.npy", frames=250)
    with pytest.raises(InputError, match="the video has 30: features of another rate"):
        load_features(tmp_path / "aud.npy", frames=500, fps=30.0)
    _saved(tmp_path / "rows.npy", (1000, 29), np.float32)
    with pytest.raises(InputError, match="100 per second, expected 50"):
        load_rows(tmp_path / "rows.npy", rate=50, frames=250)
    assert load_rows(tmp_path / "rows.npy", rate=100, frames=250).rows.shape == (1000, 29)


def test_written_rows_come_back(tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    assert write_features(tmp_path / "mel.npy", sound, 16000) == 50
    found, expected = load_rows(tmp_path / "mel.npy", rate=50, frames=25), features(sound, 16000)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)
    assert video_features(found, frames=25).shape == (25, 16, 83)


@pytest.mark.parametrize(
    "values,message",
    [
        (np.zeros((4, 29)), "rows are read by load_rows"),
        (np.zeros(7), r"shape \(7,\)"),
        (np.zeros((0, 16, 29)), r"shape \(0, 16, 29\)"),
        (np.full((3, 16, 29), np.nan), "not finite"),
        (np.full((3, 16, 29), "a"), "dtype"),
        (np.array([[[{"hubert": 1}]]], dtype=object), "aud.npy"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, values, message):
    np.save(tmp_path / "aud.npy", values)
    with pytest.raises(InputError, match=message) as caught:
        load_features(tmp_path / "aud.npy")
    assert "aud.npy" in str(caught.value) and "\n" not in str(caught.value)
    if values.ndim != 2 and values.dtype != object:
        with pytest.raises(InputError, match="aud.npy: shape .* expected .rows, width."):
            load_rows(tmp_path / "aud.npy", rate=50)
