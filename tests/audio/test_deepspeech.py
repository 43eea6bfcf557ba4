"""Logits in blocks against the whole, rows as AD-NeRF and DINet count them, any length."""

import pathlib

import jax
import numpy as np
import pytest

from jaxhead.audio.deepspeech import adnerf_rows, dinet_rows, logit_blocks
from jaxhead.audio.features import extractor, features, video_features
from jaxhead.audio.mfcc import deepspeech_inputs
from jaxhead.audio.speechlike import speechlike
from jaxhead.audio.streams import gathered
from jaxhead.files.errors import InputError
from jaxhead.files.frozen_graph import read_frozen_graph
from jaxhead.networks.deepspeech import DeepSpeech, deepspeech_from
from tests.goldens_reader import known_goldens

OWN = pathlib.Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """A folder with a small network's graph under the published name."""
    (golden,) = known_goldens(OWN, system="audio", module="DeepSpeech 0.1.0")
    folder = tmp_path_factory.mktemp("assets")
    (folder / "output_graph.pb").write_bytes(golden.inputs["graph"].tobytes())
    return folder


@pytest.fixture(scope="module")
def sound():
    return speechlike(frames=270, seed=4).samples


def test_blocks_are_the_whole(assets, sound):
    config, variables = deepspeech_from(read_frozen_graph(assets / "output_graph.pb"))
    inputs = jax.jit(deepspeech_inputs)(np.trunc(sound * 32768.0))
    whole = jax.jit(DeepSpeech(config).apply)(variables, inputs)
    blocks = list(logit_blocks(sound, config, variables))
    got = np.concatenate(blocks)
    assert len(blocks) == 2 and got.shape == whole.shape == (540, 29)
    # The state is handed on: what differs is rounding.
    assert np.abs(got - whole).max() < 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("seconds,rows", [(1.0, 49), (0.32, 15), (0.029, 0), (2.005, 99), (0, 0)])
def test_adnerfs_count(seconds, rows):
    blocks = [np.full((7, 1), k, np.float32) for k in range(99)]
    assert gathered(adnerf_rows(round(seconds * 16000), iter(blocks)), 1).shape == (rows, 1)


def test_last_logits_stand_for_rows_that_are_missing():
    # 16240 samples: 50 rows of logits, round(50.75) - 1 = 50 rows wanted; one more is repeated.
    values = np.arange(49, dtype=np.float32)[:, None]
    rows = gathered(adnerf_rows(16240, iter([values[:30], values[30:]])), 1)
    np.testing.assert_array_equal(rows[:, 0], [*range(49), 48])


@pytest.mark.parametrize("samples,rows", [(16000, 25), (23457, 37), (1, 1), (0, 0)])
def test_dinets_count(samples, rows):
    logits = -(-(1 + max(0, -(-(samples - 400) // 160))) // 2) if samples else 0
    values = np.arange(logits, dtype=np.float32)[:, None]
    parts = np.split(values, [3, 6]) if logits > 6 else [values]
    got = gathered(dinet_rows(samples, iter(parts)), 1)
    np.testing.assert_array_equal(got[:, 0], np.arange(rows) * 2)


def test_by_name_with_windows(assets, sound):
    found = features(sound, 16000, kind="deepspeech", assets=assets)
    assert found.rows.shape == (539, 29) and found.rate == 50 and not found.beyond.any()
    assert video_features(found, frames=270).shape == (270, 16, 29)
    halved = features(sound, 16000, kind="deepspeech-25", assets=assets / "output_graph.pb")
    assert halved.rate == 25
    np.testing.assert_allclose(halved.rows, found.rows[::2], atol=1e-6)
    model = extractor("deepspeech", assets=assets)
    for count in (0, 1, 400):
        short = features(np.ones(count, np.float32), 16000, kind=model).rows
        assert short.shape[1] == 29 and np.isfinite(short).all()


def test_missing_weights_say_where_they_belong(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXHEAD_ASSETS", raising=False)
    with pytest.raises(InputError, match="DeepSpeech 0.1.0.*put it at .*deepspeech-0_1_0"):
        extractor("deepspeech", assets=tmp_path)
    with pytest.raises(InputError, match="none: no such folder"):
        extractor("deepspeech", assets=tmp_path / "none")
    (tmp_path / "output_graph.pb").write_bytes(b"not a graph at all")
    with pytest.raises(InputError, match="output_graph.pb: damaged or not"):
        extractor("deepspeech", assets=tmp_path)
