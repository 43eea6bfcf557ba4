"""Audio codes and their smoothing against the published networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens

from jaxhead.files.errors import InputError
from jaxhead.networks.audio_condition import AudioAttNet, AudioNet, window_rows
from jaxhead.networks.torch_layers import from_published, to_published

HIGHEST = "highest"


def filled(net, example):
    """Numbers in place of parameters, without compiling what draws them."""
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), example))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: np.float32(random.normal(size=x.shape)), shapes)


def loaded(net, example, weights, prefix=""):
    template = jax.eval_shape(lambda: net.init(jax.random.key(0), example))["params"]
    return {"params": from_published(weights, template, prefix=prefix)}


def test_audio_net_is_the_published_one(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="AudioNet"):
        if "x" not in golden.inputs or golden.module != "AudioNet":
            continue
        config, x = golden.config, golden.inputs["x"]
        net = AudioNet(config["dim_aud"], config["win_size"], precision=HIGHEST)
        golden.compare("y", jax.jit(net.apply)(loaded(net, x, golden.weights), x))


def test_attention_is_the_published_one(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="AudioAttNet"):
        if golden.module != "AudioAttNet":
            continue
        net, x = AudioAttNet(golden.config["dim_aud"], precision=HIGHEST), golden.inputs["x"]
        params = loaded(net, x, golden.weights)
        golden.compare("y", jax.jit(net.apply)(params, x))
        over_codes = jax.jit(jax.vmap(net.apply, in_axes=(None, 0)))
        golden.compare("y", over_codes(params, np.stack([2 * x, x]))[1])


def test_windows_are_padded_before_the_network(goldens):
    for golden in known_goldens(goldens, system="ad-nerf", module="smoothing window"):
        golden.compare("y", smoothed(golden))


def smoothed(golden):
    config, auds = golden.config, golden.inputs["auds"]
    net = AudioNet(config["dim_aud"], config["win_size"], precision=HIGHEST)
    smooth = AudioAttNet(precision=HIGHEST)
    codes = loaded(net, auds, golden.weights, "network_audnet.")
    shown = np.zeros((config["smo_size"], config["dim_aud"]))
    attention = loaded(smooth, shown, golden.weights, "network_audattnet.")

    def code(centre):
        window = window_rows(auds, centre, config["smo_size"])
        return smooth.apply(attention, net.apply(codes, window))

    return jax.jit(jax.vmap(code))(jnp.array(config["indices"]))


def test_any_window_and_width_as_genefaces(goldens):
    variants = known_goldens(goldens, system="geneface", module="lm3d")
    variants = [golden for golden in variants if "wins" in golden.config]
    assert variants
    for golden in variants:
        x, weights = golden.inputs["x"], golden.weights
        for rows in golden.config["wins"]:
            net = AudioNet(precision=HIGHEST)
            params = loaded(net, x[:, :rows], weights, f"enc.{rows}.")
            golden.compare(f"enc_{rows}", jax.jit(net.apply)(params, x[:, :rows]))
        for frames in golden.config["smo"]:
            net, feat = AudioAttNet(64, precision=HIGHEST), golden.inputs["feat"][:frames]
            params = loaded(net, feat, weights, f"att.{frames}.")
            golden.compare(f"att_{frames}", jax.jit(net.apply)(params, feat))


@pytest.mark.parametrize("rows, width", [(7, 1), (33, 3)])
def test_codes_of_other_windows_have_gradients(rows, width):
    net = AudioNet(8)
    x = jax.random.normal(jax.random.key(0), (2, rows, width))
    params = filled(net, x)
    slope = jax.jit(jax.grad(lambda p: jnp.sum(net.apply(p, x) ** 2)))(params)
    assert jax.eval_shape(net.apply, params, x).shape == (2, 8)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
    assert np.any(np.asarray(slope["params"]["encoder_conv_0"]["kernel"]) != 0)


def test_names_go_back_and_what_does_not_fit_is_named():
    net = AudioNet(8)
    params = filled(net, jnp.zeros((16, 3)))["params"]
    state = to_published(params)
    assert state["encoder_conv.0.weight"].shape == (32, 3, 3)
    assert state["encoder_fc1.2.weight"].shape == (8, 64)
    back = from_published(state, params)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(np.all(a == b)), back, params))
    with pytest.raises(InputError, match=r"x\.tar: encoder_fc1\.3\.bias: not a weight"):
        from_published(state | {"encoder_fc1.3.bias": np.zeros(2)}, params, where="x.tar")
    with pytest.raises(InputError, match=r"encoder_fc1\.2\.bias: shape \(9,\), expected \(8,\)"):
        from_published(state | {"encoder_fc1.2.bias": np.zeros(9)}, params)
    state.pop("encoder_conv.0.bias")
    with pytest.raises(InputError, match="encoder_conv.0.bias is missing"):
        from_published(state, params)
