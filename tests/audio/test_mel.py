"""Log-mel bands and loudness against librosa's numbers, a slow reference and their laws."""

import pathlib

import jax
import numpy as np
import pytest

from jaxhead.audio import mel
from jaxhead.audio.mel import frames_of, hertz_to_mel, mel_filters, mel_to_hertz
from tests.goldens_reader import known_goldens

log_mel = jax.jit(mel.log_mel, static_argnames=("bands", "lead", "rows"))
log_energy = jax.jit(mel.log_energy)

# Made by experiments/make_audio_goldens.py: not part of other collections of goldens.
OWN = pathlib.Path(__file__).resolve().parents[1] / "goldens"


def test_genefaces_mel_as_librosa_makes_it():
    for golden in known_goldens(OWN, system="audio", module="log-mel"):
        samples = golden.inputs["audio"] / np.float32(32768)
        rows = golden.outputs["mel"].shape[0]
        golden.compare("mel", log_mel(samples, lead=0, rows=rows), tolerance=1e-4)


def test_scale_is_slaneys():
    np.testing.assert_allclose(hertz_to_mel([0, 500, 1000, 6400]), [0, 7.5, 15, 42], atol=1e-9)
    hertz = np.linspace(0, 8000, 50)
    np.testing.assert_allclose(mel_to_hertz(hertz_to_mel(hertz)), hertz, atol=1e-9)


def test_filters_have_unit_area():
    area = mel_filters(size=8192).sum(0) * 16000 / 8192
    np.testing.assert_allclose(area, 1, rtol=2e-3)
    assert (mel_filters().sum(0) > 0).all()
    with pytest.raises(ValueError, match="9000"):
        mel_filters(high=9000)


@pytest.mark.parametrize("count,size,hop,lead,rows", [(0, 4, 2, 1, None), (1, 4, 2, 1, None),
                                                      (11, 5, 3, 1, None), (11, 5, 3, -4, 2),
                                                      (7, 3, 4, 0, 5)])  # fmt: skip
def test_frames_against_a_loop(count, size, hop, lead, rows):
    samples = np.arange(1, count + 1, dtype=np.float32)
    expected_rows = -(-count // hop) if rows is None else rows
    got = frames_of(samples, size=size, hop=hop, lead=lead, rows=rows)
    assert got.shape == (expected_rows, size)
    for k, i in np.ndindex(*got.shape):
        at = k * hop - lead + i
        assert got[k, i] == (samples[at] if 0 <= at < count else 0)


def test_level_is_a_constant_and_silence_the_floor():
    samples = 0.1 * np.random.default_rng(0).normal(size=2000).astype(np.float32)
    both = jax.vmap(lambda x: log_mel(x, bands=20))(np.stack([samples, 2 * samples]))
    np.testing.assert_allclose(both[1] - both[0], np.log10(2), atol=1e-4)
    loud = jax.jit(log_energy)(samples)
    slow = [np.log10(np.sqrt((samples[k * 320 - 96 : k * 320 + 416] ** 2).mean())) for k in (1, 4)]
    np.testing.assert_allclose(loud[np.array([1, 4])], slow, atol=1e-4)
    for silent in (np.zeros(700), np.zeros(1)):
        assert (np.asarray(log_mel(silent, bands=8)) == np.float32(-6)).all()
        assert (np.asarray(log_energy(silent)) == np.float32(-6)).all()


def test_gradient_is_finite_also_for_silence():
    for samples in (np.zeros(640, np.float32), np.ones(640, np.float32)):
        gradient = jax.jit(jax.grad(lambda x: log_mel(x, bands=8).sum()))(samples)
        assert np.isfinite(gradient).all()
