"""CLIP's image encoder: a picture to a code that pictures of like meaning share.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"; the
vision transformers of the published checkpoints (ViT-B/32, B/16, L/14, L/14 at 336 pixels).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxhead.files.errors import InputError
from jaxhead.networks.state_dicts import (
    Names,
    convert,
    layer_names,
    norm_names,
    size_of,
)
from jaxhead.networks.transformer import ACTIVATIONS, Block, LayerNorm, PatchEmbedding, block_names

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was trained on, in [0, 1] sRGB."""
HEAD_WIDTH = 64
"""Channels of an attention head in every published ViT of OpenAI's."""
_UNUSED = (
    # Hugging Face's names of what is not the image encoder.
    "text_model.*", "text_projection.weight", "logit_scale", "logit_bias",
    "vision_model.embeddings.position_ids",
    # OpenAI's.
    "token_embedding.weight", "transformer.resblocks.*", "ln_final.*", "text_projection",
    "positional_embedding", "input_resolution", "context_length", "vocab_size",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Sizes of an image encoder.

    Attributes:
        width: channels of a token.
        layers: number of blocks.
        heads: of each block's attention.
        hidden: width of each block's perceptron.
        projection: length of the code.
        image_size: side of the pictures in pixels.
        patch: side of a patch in pixels.
        activation: "quick_gelu" (OpenAI's weights) or "gelu" (some later ones).
        epsilon: of the layer normalisations.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    projection: int = 512
    image_size: int = 224
    patch: int = 32
    activation: str = "quick_gelu"
    epsilon: float = 1e-5


VIT_B_32 = ClipConfig()
VIT_B_16 = ClipConfig(patch=16)
VIT_L_14 = ClipConfig(width=1024, layers=24, heads=16, hidden=4096, projection=768, patch=14)
VIT_L_14_336 = dataclasses.replace(VIT_L_14, image_size=336)


class ClipCodes(NamedTuple):
    """What the encoder finds.

    Attributes:
        code: (B, P) the picture's code, not normalised.
        hidden: (B, 1 + N, D) tokens after the embedding and after each block; the first token is
            the class's. Empty where they were not asked for.
    """

    code: jax.Array
    hidden: tuple[jax.Array, ...]


class ClipImageEncoder(nn.Module):
    """The image encoder.

    Attributes:
        config: its sizes.
        dtype: compute type of the products; parameters stay float32.
        precision: of the products, `jax.lax.Precision` or its name; None is the backend's default.
        remat: whether blocks are computed again in the backward pass rather than kept.
    """

    config: ClipConfig = VIT_B_32
    dtype: jnp.dtype = jnp.float32
    precision: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, pixels: jax.Array, *, hidden: bool = False) -> ClipCodes:
        """Returns the codes of pictures (B, S, S, 3) that `preprocess` has normalised.

        The code is the class token's, so the last block computes no other unless `hidden` asks.
        """
        c = self.config
        normal = nn.initializers.normal(c.width**-0.5)
        tokens = PatchEmbedding(
            c.width, c.patch, use_bias=False, dtype=self.dtype, precision=self.precision,
            name="patches",
        )(pixels)  # fmt: skip
        first = self.param("class_embedding", normal, (c.width,))
        first = jnp.broadcast_to(first, (len(pixels), 1, c.width))
        tokens = jnp.concatenate([first, tokens], axis=1)
        tokens += self.param("position_embedding", normal, tokens.shape[1:])
        tokens = LayerNorm(epsilon=c.epsilon, name="norm_before")(tokens)
        found = [tokens]
        block = nn.remat(Block) if self.remat else Block
        for number in range(c.layers):
            rows = 1 if number == c.layers - 1 and not hidden else None
            tokens = block(
                c.heads, c.hidden, c.activation, c.epsilon, dtype=self.dtype,
                precision=self.precision, rows=rows, name=f"block_{number}",
            )(tokens)  # fmt: skip
            found.append(tokens)
        first = LayerNorm(epsilon=c.epsilon, name="norm_after")(tokens[:, 0])
        code = nn.Dense(
            c.projection, use_bias=False, precision=self.precision, name="projection"
        )(first)
        return ClipCodes(code, tuple(found) if hidden else ())


def preprocess(images: jax.Array, size: int = 224) -> jax.Array:
    """Returns what the encoder takes of pictures of any size: resized, cropped, normalised.

    The shorter side becomes `size` by a bicubic that is blurred where it makes pictures smaller
    (Pillow's: Keys' a = -1/2), then the middle is cut out. Pillow also rounds to 8 bits and clips
    what the bicubic overshoots; here values stay as they come, so that gradients pass.

    Args:
        images: (..., H, W, 3) sRGB in [0, 1].
        size: side of the encoder's pictures in pixels.

    Returns:
        (..., size, size, 3).
    """
    height, width = images.shape[-3:-1]
    short = min(height, width)
    resized = (size * height // short, size * width // short)
    if resized != (height, width):
        images = jax.image.resize(
            images, (*images.shape[:-3], *resized, 3), "bicubic", antialias=True,
            precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip
    # Halves go to the even neighbour, in the original too.
    top, left = (round((n - size) / 2) for n in resized)
    images = images[..., top : top + size, left : left + size, :]
    mean, deviation = (jnp.asarray(x, images.dtype) for x in (MEAN, DEVIATION))
    return (images - mean) / deviation


def config_from_state_dict(
    state: Mapping[str, Any], *, heads: int | None = None, activation: str = "quick_gelu",
    source: str = "the state dict",
) -> ClipConfig:
    """Returns the sizes that a state dict of either family tells.

    Args:
        state: names of OpenAI's archives or Hugging Face's, shapes of their arrays.
        heads: of the attention, which no shape tells; None for the published width of a head, 64.
        activation: "quick_gelu" for OpenAI's weights, in either family.
        source: what messages call the state dict.

    Raises:
        InputError: no vision transformer of CLIP's.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
    state = _hugging_face_names(state, source)
    prefix = "vision_model."
    width, channels, patch, _ = size_of(
        state, f"{prefix}embeddings.patch_embedding.weight", 4, source
    )
    if channels != 3:
        raise InputError(f"{source}: patches of {channels} channels, expected 3")
    tokens, _ = size_of(state, f"{prefix}embeddings.position_embedding.weight", 2, source)
    hidden, _ = size_of(state, f"{prefix}encoder.layers.0.mlp.fc1.weight", 2, source)
    projection, _ = size_of(state, "visual_projection.weight", 2, source)
    layers = {name.split(".")[3] for name in state if name.startswith(f"{prefix}encoder.layers.")}
    if heads is None:
        heads = width // HEAD_WIDTH
    if heads < 1 or width % heads:
        raise InputError(f"{source}: a width of {width} cannot be split into {heads} heads")
    side = round((tokens - 1) ** 0.5)
    if side**2 != tokens - 1:
        raise InputError(f"{source}: {tokens} positions, expected one more than a square")
    return ClipConfig(
        width=width, layers=len(layers), heads=heads, hidden=hidden, projection=projection,
        image_size=side * patch, patch=patch, activation=activation,
    )  # fmt: skip


def from_state_dict(
    state: Mapping[str, Any], config: ClipConfig | None = None, *, source: str = "the state dict"
) -> tuple[ClipConfig, dict[str, Any]]:
    """Returns an image encoder's sizes and float32 variables from a published state dict.

    Args:
        state: of OpenAI's archives ("visual.conv1.weight") or Hugging Face's
            ("vision_model.embeddings..."), of the whole model or of the image encoder, in half
            or single precision.
        config: its sizes where `config_from_state_dict` cannot tell them.
        source: what messages call the state dict.

    Raises:
        InputError: a name is missing or unknown, or a shape is not the expected one.
    """
    config = config or config_from_state_dict(state, source=source)
    named = _hugging_face_names(state, source)
    encoder = ClipImageEncoder(config)
    pixels = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    like = jax.eval_shape(encoder.init, jax.random.key(0), pixels)
    return config, convert(named, _names(config), like, unused=_UNUSED, source=source)


def _names(config: ClipConfig) -> Names:
    """Hugging Face's names."""
    vision = "vision_model"
    names: Names = {
        f"{vision}.embeddings.class_embedding": "params/class_embedding",
        f"{vision}.embeddings.patch_embedding.weight": "params/patches/kernel",
        f"{vision}.embeddings.position_embedding.weight": "params/position_embedding",
    }
    # The spelling is the checkpoints'.
    names |= norm_names(f"{vision}.pre_layrnorm", "norm_before")
    names |= norm_names(f"{vision}.post_layernorm", "norm_after")
    names |= layer_names("visual_projection", "projection", bias=False)
    for number in range(config.layers):
        layer = f"{vision}.encoder.layers.{number}"
        attention = f"{layer}.self_attn"
        names |= block_names(
            f"block_{number}", query=f"{attention}.q_proj", key=f"{attention}.k_proj",
            value=f"{attention}.v_proj", out=f"{attention}.out_proj",
            norms=(f"{layer}.layer_norm1", f"{layer}.layer_norm2"),
            up=f"{layer}.mlp.fc1", down=f"{layer}.mlp.fc2",
        )  # fmt: skip
    return names


_OPENAI = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1": "vision_model.embeddings.patch_embedding",
    "ln_pre": "vision_model.pre_layrnorm",
    "ln_post": "vision_model.post_layernorm",
}
_OPENAI_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip


def _hugging_face_names(state: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The state dict under Hugging Face's names, whichever family it is of."""
    if not any(name.startswith("visual.") for name in state):
        return dict(state)
    if "visual.attnpool.positional_embedding" in state:
        raise InputError(f"{source}: a ResNet image encoder, expected a vision transformer (ViT)")
    renamed: dict[str, Any] = {}
    for name, value in state.items():
        if not name.startswith("visual."):
            renamed[name] = value
        elif name == "visual.proj":
            renamed["visual_projection.weight"] = np.asarray(value).T
        else:
            renamed |= _renamed(name.removeprefix("visual."), value)
    return renamed


def _renamed(name: str, value: Any) -> dict[str, Any]:
    if not name.startswith("transformer.resblocks."):
        part, dot, leaf = name.partition(".")
        return {_OPENAI.get(part, f"visual.{part}") + dot + leaf: value}
    number, _, rest = name.removeprefix("transformer.resblocks.").partition(".")
    layer = f"vision_model.encoder.layers.{number}."
    if rest.startswith("attn.in_proj_"):
        leaf = rest.removeprefix("attn.in_proj_")
        thirds = np.array_split(np.asarray(value), 3)
        return {f"{layer}self_attn.{n}_proj.{leaf}": third for n, third in zip("qkv", thirds)}
    part, _, leaf = rest.rpartition(".")
    return {f"{layer}{_OPENAI_BLOCK.get(part, part)}.{leaf}": value}
