"""HuBERT's published weights: Hugging Face's names, and what the sizes are."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.networks.hubert import SIZE, STRIDES, Hubert, HubertConfig
from jaxhead.networks.state_dicts import Names, convert, layer_names, norm_names, size_of
from jaxhead.networks.transformer import block_names

_PREFIX = "hubert."
_POSITION = "encoder.pos_conv_embed.conv"
# Since PyTorch 2.1 the two factors of a normalised weight are called like this.
_FACTORS = {
    f"{_POSITION}.weight_g": f"{_POSITION}.parametrizations.weight.original0",
    f"{_POSITION}.weight_v": f"{_POSITION}.parametrizations.weight.original1",
}
# The recogniser's head, and what stands for masked rows in training.
_UNUSED = ("lm_head.weight", "lm_head.bias", "masked_spec_embed")
_HEADS = {768: 12, 1024: 16, 1280: 16}


def hubert_names(config: HubertConfig) -> Names:
    """Returns where each name goes once the position's weight is one (see `hubert_from`)."""
    names: Names = {}
    for i in range(len(config.channels)):
        theirs, ours = f"feature_extractor.conv_layers.{i}", "convolutions"
        names |= layer_names(f"{theirs}.conv", f"{ours}/conv_{i}", bias=config.conv_bias)
        if config.norm == "layer" or i == 0:
            names |= norm_names(f"{theirs}.layer_norm", f"{ours}/norm_{i}")
    if config.projection_norm:
        names |= norm_names("feature_projection.layer_norm", "projection_norm")
    names |= layer_names("feature_projection.projection", "projection")
    names |= layer_names(_POSITION, "position/conv")
    names |= norm_names("encoder.layer_norm", "norm")
    for i in range(config.layers):
        theirs = f"encoder.layers.{i}"
        names |= block_names(
            f"block_{i}",
            query=f"{theirs}.attention.q_proj",
            key=f"{theirs}.attention.k_proj",
            value=f"{theirs}.attention.v_proj",
            out=f"{theirs}.attention.out_proj",
            norms=(f"{theirs}.layer_norm", f"{theirs}.final_layer_norm"),
            up=f"{theirs}.feed_forward.intermediate_dense",
            down=f"{theirs}.feed_forward.output_dense",
        )
    return names


def hubert_from(
    state: Mapping[str, Any],
    *,
    heads: int | None = None,
    pre_norm: bool | None = None,
    strides: tuple[int, ...] = STRIDES,
    epsilon: float = 1e-5,
    source: str = "the state dict",
) -> tuple[HubertConfig, dict[str, Any]]:
    """Returns sizes and variables from a state dict of HubertModel or HubertForCTC.

    The factors of the position's normalised weight become that weight.

    Args:
        state: published names to arrays.
        heads: of attention; None where the width says it (768, 1024, 1280).
        pre_norm: see `HubertConfig`; None where the convolutions say it: the published large models
            normalise all of them and are pre-norm, the base model neither.
        strides, epsilon: what no shape tells.
        source: what messages call the state dict: its file.

    Raises:
        InputError: a name is missing or unknown, or shapes do not belong together.
    """
    state = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    state = _with_one_position_weight(state, source)
    config = _sizes(state, heads, pre_norm, strides, epsilon, source)
    like = jax.eval_shape(
        Hubert(config).init, jax.random.key(0), jax.ShapeDtypeStruct((4 * SIZE,), jnp.float32)
    )
    return config, convert(state, hubert_names(config), like, unused=_UNUSED, source=source)


def _with_one_position_weight(state: dict[str, Any], source: str) -> dict[str, Any]:
    """weight = g v / |v|, the norm over all but the kernel's axis."""
    factors = []
    for old, new in _FACTORS.items():
        name = new if new in state else old
        if name not in state:
            raise InputError(f"{source}: lacks {old}, expected the weights of HuBERT")
        factors.append(np.asarray(state[name], np.float32))
        state = {key: value for key, value in state.items() if key != name}
    scale, direction = factors
    if direction.ndim != 3 or scale.shape != (1, 1, direction.shape[2]):
        raise InputError(
            f"{source}: {_POSITION} has factors of shapes {scale.shape} and {direction.shape}, "
            "expected (1, 1, K) and (out, in, K)"
        )
    length = np.sqrt(np.square(direction.astype(np.float64)).sum((0, 1), keepdims=True))
    weight = scale * direction / np.where(length > 0, length, 1.0)
    return state | {f"{_POSITION}.weight": weight.astype(np.float32)}


def _sizes(
    state: dict[str, Any],
    heads: int | None,
    pre_norm: bool | None,
    strides: tuple[int, ...],
    epsilon: float,
    source: str,
) -> HubertConfig:
    channels, kernels = [], []
    extractor = "feature_extractor.conv_layers"
    while f"{extractor}.{len(channels)}.conv.weight" in state or not channels:
        shape = size_of(state, f"{extractor}.{len(channels)}.conv.weight", 3, source)
        channels.append(shape[0])
        kernels.append(shape[2])
    if len(channels) != len(strides):
        raise InputError(f"{source}: {len(channels)} convolutions, expected {len(strides)}")
    hidden, width = size_of(
        state, "encoder.layers.0.feed_forward.intermediate_dense.weight", 2, source
    )
    layers = 0
    while f"encoder.layers.{layers}.layer_norm.weight" in state:
        layers += 1
    if heads is None and width not in _HEADS:
        raise InputError(f"{source}: width {width}, expected one of {sorted(_HEADS)} or the heads")
    position = size_of(state, f"{_POSITION}.weight", 3, source)
    norm = "layer" if f"{extractor}.1.layer_norm.weight" in state else "group"
    return HubertConfig(
        channels=tuple(channels),
        kernels=tuple(kernels),
        strides=tuple(strides),
        norm=norm,
        conv_bias=f"{extractor}.0.conv.bias" in state,
        projection_norm="feature_projection.layer_norm.weight" in state,
        width=width,
        layers=layers,
        heads=heads or _HEADS[width],
        hidden=hidden,
        neighbours=position[2],
        groups=width // max(1, position[1]),
        pre_norm=norm == "layer" if pre_norm is None else pre_norm,
        epsilon=epsilon,
    )
