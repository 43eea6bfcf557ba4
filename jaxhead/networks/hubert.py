"""HuBERT: a waveform to hidden units, 50 a second.

Hsu et al. 2021, "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of
Hidden Units": seven convolutions without padding (400 samples wide, 320 apart), a convolution over
neighbours that tells the position, and a transformer. The large model normalises each convolution's
channels and has pre-norm blocks, the base model normalises the first convolution over time and has
post-norm blocks.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxhead.networks.transformer import Attention, Block, LayerNorm, gelu

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HOP, SIZE = 320, 400
"""Samples from row to row, and samples that a row of the convolutions sees."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubertConfig:
    """Sizes and variants; the defaults are those of facebook/hubert-large-ls960-ft.

    Attributes:
        channels: of each convolution.
        kernels, strides: of each convolution, in rows of the one before.
        norm: "layer" normalises the channels of every convolution, "group" each channel of the
            first over time.
        conv_bias: whether the convolutions have biases.
        projection_norm: whether channels are normalised before the projection.
        width: channels of the transformer.
        layers, heads, hidden: blocks, heads of attention, width of the perceptrons.
        neighbours, groups: kernel and groups of the convolution that tells the position.
        pre_norm: whether a block normalises what it reads (large) or what it wrote (base).
        epsilon: of the transformer's and the projection's normalisations.
    """

    channels: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = KERNELS
    strides: tuple[int, ...] = STRIDES
    norm: str = "layer"
    conv_bias: bool = True
    projection_norm: bool = True
    width: int = 1024
    layers: int = 24
    heads: int = 16
    hidden: int = 4096
    neighbours: int = 128
    groups: int = 16
    pre_norm: bool = True
    epsilon: float = 1e-5


LARGE = HubertConfig()
BASE = HubertConfig(
    norm="group", conv_bias=False, width=768, layers=12, heads=12, hidden=3072, pre_norm=False
)


def row_count(samples: Any, config: HubertConfig = LARGE) -> Any:
    """Returns the rows of so many samples, an integer or an integer array; 0 below 400 samples."""
    for kernel, stride in zip(config.kernels, config.strides):
        samples = (samples - kernel) // stride + 1
        samples = jnp.maximum(samples, 0) if isinstance(samples, jax.Array) else max(samples, 0)
    return samples


class Hubert(nn.Module):
    """The network up to the last hidden state.

    Attributes:
        config: sizes.
        dtype: compute type of the products; parameters, normalisations and the result are float32.
        precision: of the products, `jax.lax.Precision` or its name.
    """

    config: HubertConfig = LARGE
    dtype: jnp.dtype = jnp.float32
    precision: str | None = None

    @nn.compact
    def __call__(self, samples: jax.Array, count: jax.Array | None = None) -> jax.Array:
        """Returns (T, width) float32. Differentiable; several sounds of one length by `vmap`.

        Args:
            samples: (S,) of mean 0 and variance 1 at 16 kHz (see `audio.hubert.normalised`), S at
                least 400.
            count: () integer, samples that are there; what follows them changes no row that they
                fill, and rows beyond those are zero. None for all.
        """
        config = self.config
        if config.norm not in ("layer", "group") or config.width % config.heads:
            raise ValueError(f"norm={config.norm!r}, {config.heads} heads of {config.width}")
        x = _Convolutions(config, self.dtype, self.precision, name="convolutions")(samples, count)
        mask = None if count is None else jnp.arange(x.shape[0]) < row_count(count, config)
        if config.projection_norm:
            x = LayerNorm(epsilon=config.epsilon, name="projection_norm")(x)
        x = self._dense(config.width, "projection")(x).astype(jnp.float32)
        # Rows that are not there are like the zeros behind the end for the next convolution.
        x = x if mask is None else jnp.where(mask[:, None], x, 0.0)
        position = _Position(config, self.dtype, self.precision, name="position")
        x = x + position(x)
        if not config.pre_norm:
            x = LayerNorm(epsilon=config.epsilon, name="norm")(x)
        for i in range(config.layers):
            x = self._block(f"block_{i}")(x, mask)
        if config.pre_norm:
            x = LayerNorm(epsilon=config.epsilon, name="norm")(x)
        return x if mask is None else jnp.where(mask[:, None], x, 0.0)

    def _dense(self, width: int, name: str) -> nn.Dense:
        return nn.Dense(width, dtype=self.dtype, precision=self.precision, name=name)

    def _block(self, name: str) -> nn.Module:
        kind = Block if self.config.pre_norm else _PostNormBlock
        return kind(
            heads=self.config.heads,
            hidden=self.config.hidden,
            epsilon=self.config.epsilon,
            dtype=self.dtype,
            precision=self.precision,
            name=name,
        )


class _Convolutions(nn.Module):
    """Samples to (T, C), each convolution with its normalisation and a GELU."""

    config: HubertConfig
    dtype: jnp.dtype
    precision: str | None

    @nn.compact
    def __call__(self, samples: jax.Array, count: jax.Array | None) -> jax.Array:
        config, x = self.config, samples[:, None]
        for i, (width, kernel, stride) in enumerate(
            zip(config.channels, config.kernels, config.strides)
        ):
            x = nn.Conv(
                width,
                (kernel,),
                (stride,),
                padding="VALID",
                use_bias=config.conv_bias,
                dtype=self.dtype,
                precision=self.precision,
                name=f"conv_{i}",
            )(x).astype(jnp.float32)
            if config.norm == "layer":
                x = LayerNorm(name=f"norm_{i}")(x)
            elif i == 0:
                there = None if count is None else (count - kernel) // stride + 1
                x = _TimeNorm(name="norm_0")(x, there)
            x = gelu(x)
        return x


class _TimeNorm(nn.Module):
    """Each channel over time: PyTorch's GroupNorm with as many groups as channels."""

    @nn.compact
    def __call__(self, x: jax.Array, count: jax.Array | None) -> jax.Array:
        """Returns (T, C); `count` rows are there."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[1],))
        rows = x.shape[0] if count is None else count
        weight = jnp.where(jnp.arange(x.shape[0]) < rows, 1.0 / rows, 0.0)[:, None]
        centred = x - jnp.sum(weight * x, 0)
        variance = jnp.sum(weight * jnp.square(centred), 0)
        return centred * jax.lax.rsqrt(variance + 1e-5) * scale + bias


class _Position(nn.Module):
    """A grouped convolution over the neighbours of each row, then a GELU."""

    config: HubertConfig
    dtype: jnp.dtype
    precision: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # An even kernel has one row more before than behind.
        before = self.config.neighbours // 2
        x = nn.Conv(
            self.config.width,
            (self.config.neighbours,),
            padding=[(before, self.config.neighbours - 1 - before)],
            feature_group_count=self.config.groups,
            dtype=self.dtype,
            precision=self.precision,
            name="conv",
        )(x)
        return gelu(x.astype(jnp.float32))


class _PostNormBlock(nn.Module):
    """Attention and a perceptron, each added to its input and then normalised (Vaswani 2017)."""

    heads: int
    hidden: int
    epsilon: float
    dtype: jnp.dtype
    precision: str | None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        def dense(size, name):
            return nn.Dense(size, dtype=self.dtype, precision=self.precision, name=name)

        branch = Attention(self.heads, self.dtype, self.precision, name="attention")(x, mask)
        x = LayerNorm(epsilon=self.epsilon, name="norm_1")(x + branch.astype(x.dtype))
        branch = dense(x.shape[-1], "down")(gelu(dense(self.hidden, "up")(x)))
        return LayerNorm(epsilon=self.epsilon, name="norm_2")(x + branch.astype(x.dtype))
