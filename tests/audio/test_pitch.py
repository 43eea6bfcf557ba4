"""Pitch against Praat's numbers, known tones, laws and extremes."""

import pathlib

import jax
import numpy as np
import pytest

from jaxhead.audio import pitch as module
from jaxhead.audio.pitch import Candidates, PitchSettings, coarse_pitch, praat_layout
from tests.goldens_reader import known_goldens

OWN = pathlib.Path(__file__).resolve().parents[1] / "goldens"
pitch = jax.jit(module.pitch, static_argnames=("rate", "hop", "first", "rows", "settings"))
best_path = jax.jit(module.best_path, static_argnames="step")


def test_praats_pitch():
    for golden in known_goldens(OWN, system="audio", module="pitch"):
        samples = golden.inputs["audio"] / np.float32(32768)
        expected = golden.outputs["hertz"]
        first, rows = praat_layout(len(samples))
        assert (first, rows) == (golden.inputs["first"], len(expected))
        found = pitch(samples, first=first, rows=rows)
        hertz = np.asarray(found.hertz)
        np.testing.assert_array_equal(hertz > 0, expected > 0)
        voiced = expected > 0
        assert 20 < voiced.sum() < len(expected)
        # Praat interpolates by a windowed sine, here a parabola through four times as many lags.
        np.testing.assert_allclose(hertz[voiced], expected[voiced], rtol=1e-3)
        golden.compare("strength", np.where(voiced, found.strength, golden.outputs["strength"]),
                       tolerance=5e-3)  # fmt: skip


def test_genefaces_classes_of_pitch(goldens):
    found = known_goldens(goldens, system="geneface", module="PitchContourVAEModel")
    # GeneFace++ averages pairs before it makes classes: its goldens do not show them.
    found = [golden for golden in found if "f0_coarse" in golden.outputs]
    assert found
    for golden in found:
        got = jax.jit(coarse_pitch)(golden.inputs["f0"])
        np.testing.assert_array_equal(got, golden.outputs["f0_coarse"])
        assert got.dtype == np.int32
    ends = coarse_pitch(np.array([0, 1, 50, 1100, 5000], np.float32))
    np.testing.assert_array_equal(ends, [1, 1, 1, 255, 255])


@pytest.mark.parametrize("count", [0, 599, 600, 919, 920, 16001, 80000])
def test_praats_rows_fit_and_lie_in_the_middle(count):
    first, rows = praat_layout(count)
    assert rows == max(0, (count - 600) // 320 + 1 if count >= 600 else 0)
    if rows:
        last = first + 320 * (rows - 1)
        assert first - 300 >= 0 and abs((first + last) / 2 - count / 2) <= 0.5


@pytest.fixture(scope="module")
def found():
    """Of 1 s of tones that glide from 100 to 200 Hz and 0.4 s of noise, at three levels."""
    time = np.arange(16000) / 16000
    phase = 2 * np.pi * np.cumsum(100 * 2**time) / 16000
    voice = sum(np.sin(k * phase) / k for k in range(1, 8))
    sound = np.concatenate([voice, np.random.default_rng(0).normal(size=6400)]).astype(np.float32)
    return jax.jit(jax.vmap(module.pitch))(np.stack([sound, 1e-4 * sound, 2e3 * sound]))


def test_a_glide_is_followed_and_noise_is_not_voice(found):
    hertz, strength = (x[0] for x in found)
    middle = (np.arange(50) + 0.5) / 50
    np.testing.assert_allclose(hertz[2:48], 100 * 2 ** middle[2:48], rtol=4e-3)
    assert (np.asarray(strength[2:48]) > 0.95).all()
    assert (np.asarray(hertz[53:68]) == 0).mean() > 0.8


def test_level_changes_nothing(found):
    for other in (1, 2):
        np.testing.assert_allclose(found.hertz[other], found.hertz[0], rtol=1e-4)


@pytest.mark.parametrize("count", [0, 400])
def test_silence_is_unvoiced(count):
    for value in (0.0, 0.5):
        found = pitch(np.full(count, value, np.float32))
        assert found.hertz.shape == (-(-count // 320),)
        assert (np.asarray(found.hertz) == 0).all() and np.isfinite(found.strength).all()


def _cost(octaves, strengths, unvoiced, choice, settings, step):
    total, scale = 0.0, 0.01 / step
    for row, place in enumerate(choice):
        voiced = place > 0
        total += (
            strengths[row, place - 1]
            - settings.octave_cost * (np.log2(settings.high) - octaves[row, place - 1])
            if voiced
            else unvoiced[row]
        )
        if row:
            former = choice[row - 1]
            if (former > 0) != voiced:
                total -= settings.change_cost * scale
            elif voiced:
                jump = abs(octaves[row, place - 1] - octaves[row - 1, former - 1])
                total -= settings.jump_cost * scale * jump
    return total


def test_path_is_the_best_of_all():
    rng = np.random.default_rng(3)
    settings, rows = PitchSettings(), 5
    hertz = rng.uniform(90, 700, (rows, 2)).astype(np.float32)
    strength = rng.uniform(0.3, 1, (rows, 2)).astype(np.float32)
    level = np.float32([1, 0.02, 1, 0.3, 1])
    silent = 2 - level * (1 + settings.voicing) / settings.silence
    unvoiced = settings.voicing + np.maximum(0, silent)
    choices = list(np.ndindex(*(3,) * rows))
    worth = [_cost(np.log2(hertz), strength, unvoiced, c, settings, 0.02) for c in choices]
    best = choices[int(np.argmax(worth))]
    expected = [hertz[row, place - 1] if place else 0 for row, place in enumerate(best)]
    got = best_path(Candidates(hertz, strength, level), peak=1.0, step=0.02)
    np.testing.assert_allclose(got.hertz, expected, rtol=1e-6)
    # Rows behind the last change nothing, whatever is in them.
    pad = lambda x: np.concatenate([x, x[::-1]])  # noqa: E731
    more = Candidates(*(pad(x) for x in (hertz, strength, level)))
    again = best_path(more, peak=1.0, step=0.02, valid=np.arange(2 * rows) < rows)
    np.testing.assert_allclose(again.hertz[:rows], expected, rtol=1e-6)
    assert (np.asarray(again.hertz[rows:]) == 0).all()


def test_wrong_range_is_named():
    with pytest.raises(ValueError, match="80.0 to 9000"):
        module.pitch(np.zeros(100), settings=PitchSettings(high=9000))
