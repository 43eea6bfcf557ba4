"""Smoothing: no lag, a strength that follows the noise, gaps."""

import numpy as np
import pytest

from jaxhead.captures.smoothing import choose_strength, fill_gaps, frame_status, smooth


def test_smoothing_has_no_lag():
    pulse = np.zeros(41)
    pulse[20] = 1.0
    response = smooth(pulse, 5.0)
    np.testing.assert_allclose(response, response[::-1], atol=1e-12)
    assert response.argmax() == 20 and np.isclose(response.sum(), 1.0)


def test_lines_of_constant_value_stay():
    np.testing.assert_allclose(smooth(np.full((10, 3), 2.5), 100.0), 2.5)


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_the_chosen_strength_removes_noise(noise):
    rng = np.random.default_rng(0)
    truth = np.sin(np.arange(200) / 12.0)[:, None] * [1.0, 0.5]
    noisy = truth + noise * rng.normal(size=truth.shape)
    result = smooth(noisy, choose_strength(noisy))
    assert np.abs(result - truth).mean() < 0.45 * np.abs(noisy - truth).mean()


def test_clean_motion_is_left_alone():
    clean = np.sin(np.arange(100) / 3.0)
    assert np.abs(smooth(clean, choose_strength(clean)) - clean).max() < 0.01


def test_short_or_constant_series_are_not_smoothed():
    assert choose_strength(np.arange(4.0)) == 0.0
    assert choose_strength(np.ones(50)) == 0.0


def test_status_of_gaps():
    found = np.ones(40, bool)
    found[:2] = False  # nothing before them
    found[10:15] = False  # five frames
    found[20:26] = False  # six frames
    found[39] = False
    status = frame_status(found)
    assert (status[:2] == 2).all() and status[39] == 2
    assert (status[10:15] == 1).all() and (status[20:26] == 2).all()
    assert ((status == 0) == found).all()


def test_gaps_are_filled_linearly_and_held_at_the_ends():
    series = np.array([[np.nan], [1.0], [np.nan], [np.nan], [4.0], [np.nan]])
    filled = fill_gaps(series, np.isfinite(series[:, 0]))
    np.testing.assert_allclose(filled[:, 0], [1, 1, 2, 3, 4, 4])
