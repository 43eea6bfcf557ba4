"""DECA's regressor against its goldens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens
from quick_compile import compiled

from jaxhead.files.errors import InputError
from jaxhead.networks import deca, resnet


def crops_of(golden):
    coarse = np.transpose(golden.inputs["coarse"], (0, 2, 3, 1))
    return np.float32(np.kron(coarse, np.ones((1, 8, 8, 1), np.uint8))) / 255


def test_goldens(goldens):
    for golden in known_goldens(goldens, system="DECA", module="regressor"):
        config, variables = deca.from_state_dict(golden.weights)
        assert list(config.blocks) == golden.config["blocks"]
        network = deca.DecaRegressor(config, precision="highest")

        def run(variables, crops, network=network):
            code, inside = network.apply(variables, crops, capture_intermediates=True)
            (last,) = inside["intermediates"]["encoder"]["__call__"]
            return code, resnet.pooled(last)

        crops = crops_of(golden)
        code, features = compiled(run, variables, crops)(variables, crops)
        golden.compare("features", features)
        golden.compare("code", code)
        parts = deca.split_code(code, config)
        counts = golden.config["split"]
        assert [int(np.prod(part.shape[1:])) for part in parts] == counts
        assert parts.light.shape == (len(code), 9, 3)
        rebuilt = np.concatenate([part.reshape(len(code), -1) for part in parts], -1)
        np.testing.assert_array_equal(rebuilt, code)


def nested(golden):
    prefix = "E_flame."
    return {"E_flame": {k.removeprefix(prefix): v for k, v in golden.weights.items()},
            "E_detail": {"layers.0.bias": np.zeros(3)}}


def test_the_published_file_is_read_nested_or_flat(goldens):
    golden = known_goldens(goldens, system="DECA", module="regressor", blocks=[1, 2, 1, 1])[0]
    config, variables = deca.from_state_dict(golden.weights)
    again, same = deca.from_state_dict(nested(golden))
    assert again == config
    jax.tree.map(np.testing.assert_array_equal, variables, same)


def test_names_are_refused_one_by_one(goldens):
    golden = known_goldens(goldens, system="DECA", module="regressor", blocks=[1, 2, 1, 1])[0]
    state = nested(golden)
    del state["E_flame"]["encoder.layer2.1.bn2.running_var"]
    with pytest.raises(InputError, match="f: E_flame: lacks encoder.layer2.1.bn2.running_var"):
        deca.from_state_dict(state, source="f")
    state = nested(golden)
    state["E_flame"]["encoder.fc.weight"] = np.zeros((2, 2))
    with pytest.raises(InputError, match="f: E_flame: encoder.fc.weight is not a name"):
        deca.from_state_dict(state, source="f")
    with pytest.raises(InputError, match="f: lacks E_flame"):
        deca.from_state_dict({"E_other": {}}, source="f")
    state = nested(golden)
    state["E_flame"]["layers.2.weight"] = np.zeros((235, 1024), np.float32)
    with pytest.raises(InputError, match="gives 235 numbers, expected 236"):
        deca.from_state_dict(state, source="f")
    with pytest.raises(ValueError, match="7 numbers, expected 236"):
        deca.split_code(jnp.zeros((1, 7)))


def test_the_published_size_constructs():
    crops = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    network = deca.DecaRegressor()
    variables = jax.eval_shape(network.init, jax.random.key(0), crops)
    # torchvision's ResNet-50 without its classifier has 23,508,032 parameters.
    linear = 2048 * 1024 + 1024 + 1024 * 236 + 236
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found == 23_508_032 + linear
    assert jax.eval_shape(network.apply, variables, crops).shape == (2, 236)


def test_training_normalises_by_the_batch_and_moves_the_statistics():
    block = resnet.Bottleneck(width=2, stride=2, project=True)
    x = jnp.asarray(np.random.RandomState(0).standard_normal((3, 8, 8, 3)), jnp.float32)
    shapes = jax.eval_shape(lambda key: block.init(key, x, False), jax.random.key(0))
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), shapes)

    def loss(params, stats):
        out, new = block.apply(
            {"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"]
        )
        return jnp.mean(out**2), new["batch_stats"]

    arguments = variables["params"], variables["batch_stats"]
    gradient, stats = compiled(jax.grad(loss, has_aux=True), *arguments)(*arguments)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    first = 0.5 * x.sum(-1)
    np.testing.assert_allclose(stats["norm_1"]["mean"], 0.45 + 0.1 * first.mean(), rtol=1e-4)
    np.testing.assert_allclose(stats["norm_1"]["var"], 0.45 + 0.1 * first.var(), rtol=1e-4)
