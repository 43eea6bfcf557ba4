"""DeepSpeech against what TensorFlow computes from the same frozen graph, and its name map."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.files.frozen_graph import read_frozen_graph
from jaxhead.networks.deepspeech import (
    DeepSpeech,
    DeepSpeechConfig,
    deepspeech_from,
    deepspeech_names,
)
from tests.goldens_reader import known_goldens

OWN = pathlib.Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture(scope="module")
def golden():
    (found,) = known_goldens(OWN, system="audio", module="DeepSpeech 0.1.0")
    return found


@pytest.fixture(scope="module")
def weights(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "output_graph.pb"
    path.write_bytes(golden.inputs["graph"].tobytes())
    return read_frozen_graph(path)


def test_tensorflows_logits(golden, weights):
    config, variables = deepspeech_from(weights)
    for name in ("inputs", "cell", "outputs", "clip"):
        assert getattr(config, name) == golden.config[name]
    assert list(config.hidden) == golden.config["hidden"]
    module = DeepSpeech(config, "highest")
    golden.compare("logits", jax.jit(module.apply)(variables, golden.inputs["x"][0])[:, None])
    # The clipping at 20 takes part.
    first = golden.inputs["x"][0] @ weights["h1"] + weights["b1"]
    assert (first > 20).any()


def test_published_size_constructs():
    inputs = jax.ShapeDtypeStruct((7, 494), jnp.float32)
    logits, variables = jax.eval_shape(DeepSpeech().init_with_output, jax.random.key(0), inputs)
    assert logits.shape == (7, 29)
    shapes = {f"{a}/{b}": x.shape for a, part in variables["params"].items() for b, x in
              part.items()}  # fmt: skip
    assert set(shapes) == set(deepspeech_names()) and shapes["backward/kernel"] == (6144, 8192)
    assert sum(x.size for x in jax.tree.leaves(variables)) == 122_732_573


def test_gradient_reaches_both_ends():
    config = DeepSpeechConfig(inputs=4, hidden=(6, 6, 6, 6), cell=3, outputs=5)
    module = DeepSpeech(config)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4)).astype(np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    both = jax.jit(jax.vmap(module.apply, (None, 0)))(variables, np.stack([x[::-1], x]))

    def middle(x):
        logits = module.apply(variables, x)
        return logits[2].sum(), logits

    (_, logits), gradient = jax.jit(jax.value_and_grad(middle, has_aux=True))(x)
    np.testing.assert_allclose(both[1], logits, atol=1e-6)
    assert np.isfinite(gradient).all() and (np.abs(gradient).max(1) > 0).all()


def test_other_graphs_are_refused(weights):
    old = {name.replace("/kernel", "/weights").replace("/bias", "/biases"): value for name, value in
           weights.items()}  # fmt: skip
    assert jax.tree.all(jax.tree.map(np.array_equal, deepspeech_from(old)[1],
                                     deepspeech_from(weights)[1]))  # fmt: skip
    with pytest.raises(InputError, match="graph.pb: lacks b6"):
        deepspeech_from({k: v for k, v in weights.items() if k != "b6"}, source="graph.pb")
    with pytest.raises(InputError, match="lstm_fused_cell/kernel is not a weight"):
        deepspeech_from(weights | {"lstm_fused_cell/kernel": np.ones((2, 2))})
    with pytest.raises(InputError, match=r"h2 has shape \(3, 3\), expected \(8, 6\)"):
        deepspeech_from(weights | {"h2": np.ones((3, 3))})
