"""HuBERT against transformers in its variants, padding, names, the published size."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.networks.hubert import BASE, LARGE, Hubert, HubertConfig, row_count
from jaxhead.networks.hubert_names import hubert_from, hubert_names
from tests.goldens_reader import known_goldens

OWN = pathlib.Path(__file__).resolve().parents[1] / "goldens"


def _loaded(golden):
    heads, stable = (golden.config[n] for n in ("num_attention_heads", "do_stable_layer_norm"))
    return hubert_from(golden.weights, heads=heads, pre_norm=stable)


@pytest.mark.parametrize("kind", ["large", "base", "bare"])
def test_transformers_hidden_states(kind):
    for golden in known_goldens(OWN, system="audio", module=f"HubertModel ({kind})"):
        config, variables = _loaded(golden)
        module = Hubert(config, precision="highest")
        sounds = golden.inputs["x"].astype(np.float32)
        count = np.int32(sounds.shape[1])

        @jax.jit
        def run(variables, sounds, count, module=module):
            def one(sound):
                return module.apply(variables, sound, count, capture_intermediates=True)

            hidden, inner = jax.vmap(one)(sounds)
            return hidden, inner["intermediates"]["convolutions"]["__call__"][0]

        # What follows the samples that are there changes nothing, and its rows are zero.
        longer = np.concatenate([sounds, np.full((2, 700), 3, np.float32)], 1)
        rows = golden.outputs["hidden"].shape[1]
        hidden, convolved = run(variables, longer, count)
        golden.compare("hidden", hidden[:, :rows])
        golden.compare("convolved", convolved[:, :rows])
        assert hidden.shape[1] > rows and not np.any(hidden[:, rows:])
        assert row_count(sounds.shape[1], config) == rows


def test_published_sizes_construct():
    samples = jax.ShapeDtypeStruct((16000,), jnp.float32)
    for config, parameters in ((LARGE, 315_437_568), (BASE, 94_370_816)):
        hidden, variables = jax.eval_shape(
            Hubert(config).init_with_output, jax.random.key(0), samples
        )
        assert hidden.shape == (49, config.width)
        assert sum(x.size for x in jax.tree.leaves(variables)) == parameters
        paths = jax.tree_util.tree_leaves_with_path(variables)
        ours = {"/".join(key.key for key in path) for path, _ in paths}
        assert ours == set(hubert_names(config).values())


@pytest.fixture(scope="module")
def golden():
    (found,) = known_goldens(OWN, system="audio", module="HubertModel (large)")
    return found


def test_names_of_old_and_of_the_recogniser(golden):
    new = "parametrizations.weight.original"
    old = {name.replace(f"{new}0", "weight_g").replace(f"{new}1", "weight_v"): value
           for name, value in golden.weights.items()}  # fmt: skip
    assert old.keys() != golden.weights.keys()
    whole = {f"hubert.{name}": value for name, value in old.items()}
    whole |= {"lm_head.weight": np.zeros((32, 24)), "lm_head.bias": np.zeros(32)}
    config, variables = hubert_from(whole, heads=3)
    expected = _loaded(golden)
    assert config == expected[0]
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, expected[1]))


def test_other_state_dicts_are_refused(golden):
    weights = golden.weights
    with pytest.raises(InputError, match="w.bin: lacks encoder.pos_conv_embed.conv.weight_g"):
        hubert_from({}, source="w.bin")
    with pytest.raises(InputError, match="width 24, expected one of"):
        hubert_from(weights)
    for name, message in (
        ("encoder.layers.1.attention.k_proj.bias", "lacks encoder.layers.1"),
        ("feature_extractor.conv_layers.6.conv.weight", "6 convolutions"),
    ):
        with pytest.raises(InputError, match=message):
            hubert_from({k: v for k, v in weights.items() if k != name}, heads=3)
    with pytest.raises(InputError, match="adapter_layer.norm.weight is not a name"):
        hubert_from(weights | {"encoder.layers.0.adapter_layer.norm.weight": np.ones(3)}, heads=3)


def test_gradient_is_finite_and_ends_with_the_sound():
    config = HubertConfig(
        channels=(3,) * 7, width=4, layers=1, heads=2, hidden=4, neighbours=4, groups=2
    )
    module = Hubert(config)
    samples = np.random.default_rng(0).normal(size=1200).astype(np.float32)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), samples, np.int32(900))
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    run = jax.jit(jax.grad(lambda x, n: jnp.square(module.apply(variables, x, n)[0]).sum()))
    gradient = run(samples, np.int32(900))
    assert np.isfinite(gradient).all() and np.any(gradient[:720]) and not np.any(gradient[900:])
