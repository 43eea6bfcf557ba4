"""Hidden units in blocks: rows, normalisation, what context is for, files of weights."""

import json
import pathlib

import jax
import numpy as np
import pytest

from jaxhead.audio.features import extractor, features, video_features
from jaxhead.audio.hubert import hidden_blocks, level, row_count
from jaxhead.audio.speechlike import speechlike
from jaxhead.files.errors import InputError
from jaxhead.networks.hubert import Hubert
from jaxhead.networks.hubert_names import hubert_from
from tests.goldens_reader import known_goldens

OWN = pathlib.Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture(scope="module")
def weights():
    (golden,) = known_goldens(OWN, system="audio", module="HubertModel (large)")
    return golden.weights


@pytest.fixture(scope="module")
def sound():
    return speechlike(frames=45, seed=4).samples


@pytest.fixture(scope="module")
def network(weights):
    return hubert_from(weights, heads=3)


@pytest.fixture(scope="module")
def direct(network, sound):
    """The network on a part of the normalised sound, with nothing but it."""
    config, variables = network
    found, size = level(sound), len(sound)
    values = ((sound - found.mean) / found.deviation).astype(np.float32)
    run = jax.jit(Hubert(config).apply)

    def rows(start=0, stop=size):
        part = np.zeros(size, np.float32)
        part[: stop - start] = values[start:stop]
        hidden = run(variables, part, np.int32(stop - start))
        return np.asarray(hidden)[: row_count(stop - start)]

    return rows


def test_one_block_is_the_whole(network, sound, direct):
    whole = direct()
    (block,) = hidden_blocks(sound, *network)
    assert block.shape == whole.shape == (row_count(len(sound)), 24)
    assert np.abs(block - whole).max() < 1e-5 * np.abs(whole).max()


def test_blocks_are_those_of_the_published_systems(network, sound, direct):
    """Each block for itself, the normalisation of the whole."""
    blocks = list(hidden_blocks(sound, *network, block=30))
    assert [len(b) for b in blocks] == [30, 30, 29] and row_count(len(sound)) == 89
    expected = direct(30 * 320, 60 * 320 + 80)
    np.testing.assert_allclose(blocks[1], expected, atol=1e-5 * np.abs(expected).max())


def test_context_brings_blocks_nearer_to_the_whole(network, sound, direct):
    whole = direct()
    errors = []
    for context in (0, 15, 60):
        blocks = hidden_blocks(sound, *network, block=30, context=context)
        errors.append(np.sqrt(np.mean((np.concatenate(list(blocks)) - whole) ** 2)))
    # 60 rows on both sides of each of three blocks are all there is.
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("count,rows", [(0, 0), (1, 0), (399, 0), (400, 1), (16000, 49),
                                        (320000, 999), (320080, 1000), (320399, 1000)])  # fmt: skip
def test_rows_as_the_originals_count_them(count, rows):
    assert row_count(count) == rows == max(0, (count - 80) // 320)


def test_level_is_that_of_the_whole():
    samples = np.random.default_rng(0).normal(0.3, 2, 5000).astype(np.float32)
    found = level(samples)
    assert found.mean == pytest.approx(samples.astype(float).mean())
    assert found.deviation == pytest.approx(np.sqrt(samples.astype(float).var() + 1e-7))
    assert level(np.zeros(0, np.float32)) == (0.0, np.sqrt(1e-7))


def _files(folder, weights, **options):
    torch = "hubert-large-ls960-ft"
    place = folder / torch
    place.mkdir()
    header, parts, at = {}, [], 0
    for name, value in weights.items():
        data = np.ascontiguousarray(value, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape),
                        "data_offsets": [at, at + len(data)]}  # fmt: skip
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + b"".join(parts)
    (place / "model.safetensors").write_bytes(data)
    stored = {"model_type": "hubert", "num_attention_heads": 3, "do_stable_layer_norm": True,
              "conv_stride": [5, 2, 2, 2, 2, 2, 2], "layer_norm_eps": 1e-5}  # fmt: skip
    (place / "config.json").write_text(json.dumps(stored | options))


def test_by_name_with_windows(tmp_path, weights, network, sound):
    _files(tmp_path, weights)
    model = extractor("hubert", assets=tmp_path)
    found = features(sound, 16000, kind=model)
    assert found.rows.shape == (89, 24) and found.rate == 50 and not found.beyond.any()
    assert video_features(found, frames=45, size=2).shape == (45, 2, 24)
    # The level does not matter: the sound is normalised.
    louder = features(3 * sound, 16000, kind=model).rows
    np.testing.assert_allclose(louder, found.rows, atol=1e-3 * np.abs(found.rows).max())
    for count in (0, 1, 399):
        assert features(np.ones(count, np.float32), 16000, kind=model).rows.shape == (0, 24)
    assert np.isfinite(features(np.zeros(900, np.float32), 16000, kind=model).rows).all()


def test_a_wrong_configuration_is_named(tmp_path, weights):
    _files(tmp_path, weights, num_attention_heads="many")
    with pytest.raises(InputError, match="config.json: not HuBERT's configuration"):
        extractor("hubert", assets=tmp_path)
