"""Depth Anything V2: relative inverse depth of one picture (Yang et al. 2024, arXiv 2406.09414).

A DINOv2 vision transformer (Oquab et al. 2023, arXiv 2304.07193) whose tokens after four of its
blocks a DPT head (Ranftl et al. 2021, arXiv 2103.13413) joins into a picture. What it returns is
larger where the scene is NEARER, up to an unknown scale and shift.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxhead.networks.depth_anything_names import names, original_names, sizes
from jaxhead.networks.resample import cubic_weights, linear_weights, resample
from jaxhead.networks.state_dicts import convert
from jaxhead.networks.transformer import Block, LayerNorm, PatchEmbedding

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of the pictures that DINOv2 was trained on, in [0, 1] sRGB."""
UNUSED = ("pretrained.mask_token", "depth_head.scratch.refinenet4.resConfUnit1.*")
"""Published, and never used: the mask of DINOv2's own training, a branch without an input."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthAnythingConfig:
    """Sizes of a Depth Anything V2; the defaults are the published Small's.

    Attributes:
        width, heads, hidden, layers: of the transformer.
        taps: numbers of the blocks, from 0, after which the head takes tokens: four.
        patch: side of a patch in pixels.
        grid: side, in patches, of the pictures that the positions were learned on.
        channels: of the four maps that the head makes of the tokens.
        features: channels of its pyramid.
        last: channels before its output.
    """

    width: int = 384
    heads: int = 6
    hidden: int = 1536
    layers: int = 12
    taps: tuple[int, int, int, int] = (2, 5, 8, 11)
    patch: int = 14
    grid: int = 37
    channels: tuple[int, int, int, int] = (48, 96, 192, 384)
    features: int = 64
    last: int = 32


SMALL = DepthAnythingConfig()
BASE = DepthAnythingConfig(
    width=768, heads=12, hidden=3072, channels=(96, 192, 384, 768), features=128
)
LARGE = DepthAnythingConfig(
    width=1024, heads=16, hidden=4096, layers=24, taps=(4, 11, 17, 23),
    channels=(256, 512, 1024, 1024), features=256,
)  # fmt: skip


class DinoV2(nn.Module):
    """The transformer.

    Attributes:
        config: its sizes.
        precision: of the products.
    """

    config: DepthAnythingConfig
    precision: str | None = None

    @nn.compact
    def __call__(self, pixels: jax.Array) -> list[jax.Array]:
        """Returns the normalised tokens [(B, h, w, D)] after `taps`, of pixels (B, H, W, 3)."""
        c = self.config
        batch, rows, columns = len(pixels), pixels.shape[1] // c.patch, pixels.shape[2] // c.patch
        normal = nn.initializers.normal(0.02)
        tokens = PatchEmbedding(c.width, c.patch, precision=self.precision, name="patches")(pixels)
        first = self.param("class_token", normal, (1, 1, c.width))
        place = self.param("positions", normal, (1, 1 + c.grid**2, c.width))
        tokens = tokens + self._placed(place[:, 1:], rows, columns)
        first = jnp.broadcast_to(first + place[:, :1], (batch, 1, c.width))
        tokens = jnp.concatenate([first, tokens], axis=1)
        norm = LayerNorm(epsilon=1e-6, name="norm")
        found = []
        for number in range(c.layers):
            tokens = Block(
                c.heads, c.hidden, epsilon=1e-6, layer_scale=True, precision=self.precision,
                name=f"block_{number}",
            )(tokens)  # fmt: skip
            if number in c.taps:
                found.append(norm(tokens)[:, 1:].reshape(batch, rows, columns, c.width))
        return found

    def _placed(self, place: jax.Array, rows: int, columns: int) -> jax.Array:
        grid, width = self.config.grid, self.config.width
        if (rows, columns) == (grid, grid):
            return place
        # DINOv2 interpolates to a tenth of a patch more than there is, and drops it.
        weights = (cubic_weights(grid, n, (n + 0.1) / grid) for n in (rows, columns))
        return resample(place.reshape(1, grid, grid, width), *weights).reshape(1, -1, width)


class Enlarge(nn.Module):
    """A transposed convolution whose windows do not overlap: each pixel becomes `factor` squared.

    Attributes:
        factor: how many times larger the result is.
        precision: of the products.
    """

    factor: int
    precision: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns (B, h factor, w factor, C) for x (B, h, w, C)."""
        batch, rows, columns, channels = x.shape
        shape = (channels, channels, self.factor, self.factor)
        kernel = self.param("kernel_of_inputs", nn.initializers.normal(channels**-0.5), shape)
        out = jnp.einsum("bhwi,iopq->bhpwqo", x, kernel, precision=self.precision)
        out = out.reshape(batch, rows * self.factor, columns * self.factor, channels)
        return out + self.param("bias", nn.initializers.zeros, (channels,))


class DptHead(nn.Module):
    """Four token maps to one picture.

    Attributes:
        config: its sizes.
        precision: of the products.
    """

    config: DepthAnythingConfig
    precision: str | None = None

    def _conv(self, size, name, window=3, **options):
        around = ((window // 2, window // 2),) * 2
        return nn.Conv(
            size, (window, window), padding=around, precision=self.precision, name=name, **options
        )

    def _residual(self, x, name):
        out = self._conv(self.config.features, f"{name}_first")(nn.relu(x))
        return x + self._conv(self.config.features, f"{name}_second")(nn.relu(out))

    def _fused(self, x, skipped, size, name):
        if skipped is not None:
            x = x + self._residual(skipped, f"{name}_skipped")
        x = _resized(self._residual(x, f"{name}_joined"), size)
        return self._conv(self.config.features, f"{name}_out", window=1)(x)

    @nn.compact
    def __call__(self, maps: list[jax.Array]) -> jax.Array:
        """Returns (B, h patch, w patch) >= 0 for four maps (B, h, w, D)."""
        c = self.config
        rows, columns = maps[0].shape[1:3]
        resize = (
            Enlarge(4, self.precision, name="resize_0"),
            Enlarge(2, self.precision, name="resize_1"),
            lambda x: x,
            self._conv(c.channels[3], "resize_3", strides=2),
        )
        levels = []
        for number, x in enumerate(maps):
            x = resize[number](self._conv(c.channels[number], f"project_{number}", window=1)(x))
            levels.append(self._conv(c.features, f"level_{number}", use_bias=False)(x))
        x = self._fused(levels[3], None, levels[2].shape[1:3], "fuse_3")
        x = self._fused(x, levels[2], levels[1].shape[1:3], "fuse_2")
        x = self._fused(x, levels[1], levels[0].shape[1:3], "fuse_1")
        doubled = (2 * levels[0].shape[1], 2 * levels[0].shape[2])
        x = self._fused(x, levels[0], doubled, "fuse_0")
        x = self._conv(c.features // 2, "out_0")(x)
        x = _resized(x, (rows * c.patch, columns * c.patch))
        x = nn.relu(self._conv(c.last, "out_1")(x))
        return nn.relu(self._conv(1, "out_2", window=1)(x))[..., 0]


def _resized(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    height, width = x.shape[1:3]
    return resample(x, linear_weights(height, size[0]), linear_weights(width, size[1]))


class DepthAnything(nn.Module):
    """The whole network.

    Attributes:
        config: its sizes.
        precision: of the products, `jax.lax.Precision` or its name; None is the backend's default.
    """

    config: DepthAnythingConfig = SMALL
    precision: str | None = None

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Returns inverse depths (B, H, W) >= 0 of what `preprocess` made, (B, H, W, 3)."""
        for size in pixels.shape[1:3]:
            if size % self.config.patch:
                raise ValueError(f"a side of {size} pixels, expected a multiple of the patch, "
                                 f"{self.config.patch}")
        tokens = DinoV2(self.config, self.precision, name="encoder")(pixels)
        return DptHead(self.config, self.precision, name="head")(tokens)


def preprocess(images: jax.Array, size: int = 518, patch: int = 14) -> jax.Array:
    """Returns what the network takes of pictures of any size, as the publication resizes them.

    Args:
        images: (..., H, W, 3) sRGB in [0, 1].
        size: the shorter side of the result, about; both become multiples of `patch`.
        patch: side of a patch in pixels.

    Returns:
        (..., h, w, 3) by an unblurred bicubic, normalised.
    """
    height, width = images.shape[-3:-1]
    factor = size / min(height, width)
    wanted = [_multiple(side * factor, size, patch) for side in (height, width)]
    weights = [cubic_weights(side, n) for side, n in zip((height, width), wanted)]
    mean, deviation = (jnp.asarray(x, images.dtype) for x in (MEAN, DEVIATION))
    return (resample(images, *weights) - mean) / deviation


def _multiple(side: float, least: int, patch: int) -> int:
    nearest = int(np.round(side / patch)) * patch
    return nearest if nearest >= least else int(np.ceil(side / patch)) * patch


def from_state_dict(
    state: Mapping[str, Any], config: DepthAnythingConfig | None = None, *,
    source: str = "the state dict",
) -> tuple[DepthAnythingConfig, dict[str, Any]]:
    """Returns a network's sizes and float32 variables from a published state dict.

    Args:
        state: of the original ("pretrained.*", "depth_head.*") or of Hugging Face ("backbone.*",
            "neck.*", "head.*").
        config: its sizes where shapes cannot tell them: heads are 64 wide and taps the published
            ones for 12 and 24 blocks, else every quarter of them.
        source: what messages call the state dict.

    Raises:
        InputError: a name is missing or unknown, or a shape is not the expected one.
    """
    named = original_names(state, source)
    config = config or DepthAnythingConfig(**sizes(named, source))
    side = config.patch * config.grid
    like = jax.eval_shape(
        DepthAnything(config).init, jax.random.key(0),
        jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32),
    )  # fmt: skip
    return config, convert(named, names(config.layers), like, unused=UNUSED, source=source)
