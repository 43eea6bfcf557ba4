"""Cepstral coefficients and DeepSpeech's input against goldens, a slow reference and extremes."""

import jax
import numpy as np
import pytest
import scipy.fft

from jaxhead.audio import mfcc as module
from jaxhead.audio.mfcc import row_count
from tests.goldens_reader import known_goldens

# Compiled: a hundred small operations.
mfcc = jax.jit(module.mfcc)
deepspeech_inputs = jax.jit(module.deepspeech_inputs)
context_scale = jax.jit(module.context_scale)
with_context = jax.jit(module.with_context, static_argnames=("start", "rows"))


def test_goldens_of_the_front_end(goldens):
    for golden in known_goldens(goldens, system="dinet", module="deepspeech_input_vector"):
        audio = golden.inputs["audio"]
        golden.compare("mfcc", mfcc(audio))
        golden.compare("input_vector", deepspeech_inputs(audio))
        rows = row_count(len(audio))
        assert list(golden.outputs["count"]) == [rows, (rows + 1) // 2, (rows + 3) // 4]


def _slow_mfcc(samples):
    """The description row by row in double precision."""
    samples = np.asarray(samples, np.float64)
    changed = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    rows = 1 if len(samples) <= 400 else 1 + int(np.ceil((len(samples) - 400) / 160))
    changed = np.append(changed, np.zeros(rows * 160 + 400))
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    corner = np.floor(513 * 700 * (10 ** (mel / 2595) - 1) / 16000)
    result = []
    for row in range(rows):
        power = np.abs(np.fft.rfft(changed[row * 160 : row * 160 + 400], 512)) ** 2 / 512
        bands = []
        for left, peak, right in zip(corner, corner[1:], corner[2:]):
            weight = np.zeros(257)
            for i in range(int(left), int(peak)):
                weight[i] = (i - left) / (peak - left)
            for i in range(int(peak), int(right)):
                weight[i] = (right - i) / (right - peak)
            bands.append(weight @ power)
        energy = power.sum()
        tiny = np.finfo(float).eps
        values = scipy.fft.dct(np.log(np.where(np.equal(bands, 0), tiny, bands)), norm="ortho")
        values *= 1 + 11 * np.sin(np.pi * np.arange(26) / 22)
        values[0] = np.log(energy if energy else tiny)
        result.append(values)
    return np.stack(result)


@pytest.mark.parametrize("kind", ["noise", "quiet", "square", "silence"])
def test_against_the_slow_reference(kind):
    rng = np.random.default_rng(0)
    samples = {
        "noise": rng.normal(0, 9000, 1500),
        "quiet": rng.integers(-1, 2, 1500),
        "square": 32767 * np.sign(np.sin(np.arange(1500) / 9)),
        "silence": np.zeros(1500),
    }[kind]
    samples = samples.clip(-32768, 32767).astype(np.int16)
    expected = _slow_mfcc(samples)
    got = mfcc(samples)
    assert got.shape == expected.shape == (row_count(1500), 26)
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_scale_is_that_of_the_windows():
    rng = np.random.default_rng(1)
    for rows in (1, 40):
        values = rng.normal(3, 2, (rows, 26)).astype(np.float32)
        scale = context_scale(values)
        windows = np.stack([np.pad(values, ((9, 9), (0, 0)))[i : i + 19].ravel() for i in
                            range(rows)])  # fmt: skip
        np.testing.assert_allclose(scale.mean, windows.mean(), rtol=1e-5)
        np.testing.assert_allclose(scale.deviation, windows.std(), rtol=1e-5)
        expected = (windows - windows.mean()) / windows.std()
        np.testing.assert_allclose(with_context(values, scale), expected, atol=1e-5)
        part = with_context(values, scale, start=rows // 2, rows=3)
        np.testing.assert_allclose(part[: rows - rows // 2], expected[rows // 2 :][:3], atol=1e-5)


def test_shortest_sounds_are_finite():
    for count in (0, 1, 400):
        got = deepspeech_inputs(np.ones(count, np.int16))
        assert got.shape == (1, 494) and np.isfinite(got).all()


def test_under_jit_vmap_and_grad():
    rng = np.random.default_rng(2)
    sounds = rng.normal(0, 3000, (2, 900)).astype(np.float32)
    both = jax.jit(jax.vmap(module.deepspeech_inputs))(sounds)
    np.testing.assert_allclose(both[1], deepspeech_inputs(sounds[1]), atol=1e-4)
    assert both.shape == (2, 3, 494)
    gradient = jax.jit(jax.grad(lambda x: module.mfcc(x).sum()))(sounds[0])
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
