"""Residual networks of bottleneck blocks (He et al. 2016, table 1: ResNet-50, 101, 152)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxhead.files.errors import InputError
from jaxhead.networks.state_dicts import Names, batch_norm_names, layer_names

EXPANSION = 4
RESNET_50 = (3, 4, 6, 3)


class BatchNorm(nn.BatchNorm):
    """Batch normalisation with PyTorch's constants and exact variance."""

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_fast_variance: bool = False


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolutions beside a shortcut.

    Attributes:
        width: channels inside; four times as many leave.
        stride: of the 3 x 3 convolution.
        project: whether the shortcut is a convolution.
        axis_name: device axis over which batch statistics are pooled, or None.
        precision: of the products.
    """

    width: int
    stride: int
    project: bool
    axis_name: str | None = None
    precision: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns (B, h / stride, w / stride, 4 width)."""

        def layer(x, size, window, stride, name):
            around = ((window // 2, window // 2),) * 2
            x = nn.Conv(
                size, (window, window), stride, around, use_bias=False, precision=self.precision,
                name=f"conv_{name}",
            )(x)  # fmt: skip
            norm = BatchNorm(use_running_average=not train, axis_name=self.axis_name,
                             name=f"norm_{name}")
            return norm(x)

        out = nn.relu(layer(x, self.width, 1, 1, "1"))
        out = nn.relu(layer(out, self.width, 3, self.stride, "2"))
        out = layer(out, EXPANSION * self.width, 1, 1, "3")
        if self.project:
            x = layer(x, EXPANSION * self.width, 1, self.stride, "project")
        return nn.relu(out + x)


class ResNet(nn.Module):
    """A residual network up to its last map, without a classifier.

    Attributes:
        blocks: number of blocks of each stage.
        width: channels of the stem and inside the first stage; each stage doubles them.
        axis_name: device axis over which batch statistics are pooled, or None.
        precision: of the products, `jax.lax.Precision` or its name; None is the backend's default.
    """

    blocks: tuple[int, ...] = RESNET_50
    width: int = 64
    axis_name: str | None = None
    precision: str | None = None

    @nn.compact
    def __call__(self, pixels: jax.Array, train: bool = False) -> jax.Array:
        """Returns (B, H / 32, W / 32, 32 width) of pixels (B, H, W, 3) for four stages.

        Args:
            pixels: in the range that the weights expect.
            train: normalise by the batch and update "batch_stats", instead of using them.
        """
        x = nn.Conv(
            self.width, (7, 7), 2, ((3, 3), (3, 3)), use_bias=False, precision=self.precision,
            name="conv",
        )(pixels)  # fmt: skip
        x = BatchNorm(use_running_average=not train, axis_name=self.axis_name, name="norm")(x)
        x = nn.max_pool(
            nn.relu(x), (3, 3), (2, 2), ((1, 1), (1, 1))  # pyright: ignore[reportArgumentType]
        )
        for stage, count in enumerate(self.blocks):
            for number in range(count):
                x = Bottleneck(
                    self.width * 2**stage, 2 if stage and not number else 1, not number,
                    self.axis_name, self.precision, name=f"block_{stage}_{number}",
                )(x, train)  # fmt: skip
        return x


def sizes(state: Mapping[str, Any], prefix: str, source: str) -> tuple[tuple[int, ...], int]:
    """Returns (blocks, width) that torchvision's names under a prefix tell.

    Raises:
        InputError: no such network.
    """
    stem = f"{prefix}conv1.weight"
    if stem not in state or f"{prefix}layer1.0.conv3.weight" not in state:
        raise InputError(f"{source}: lacks {stem} or bottleneck blocks, no ResNet-50 or deeper")
    blocks: list[int] = []
    while f"{prefix}layer{len(blocks) + 1}.0.conv1.weight" in state:
        stage = f"{prefix}layer{len(blocks) + 1}."
        found = {k[len(stage) :].split(".")[0] for k in state if k.startswith(stage)}
        blocks.append(len(found))
    return tuple(blocks), int(state[stem].shape[0])


def names(theirs: str, ours: str, blocks: tuple[int, ...]) -> Names:
    """Returns the name map of torchvision's names, under prefixes (each with its separator)."""
    found = layer_names(f"{theirs}conv1", f"{ours}conv", bias=False)
    found |= batch_norm_names(f"{theirs}bn1", f"{ours}norm")
    for stage, count in enumerate(blocks):
        for number in range(count):
            block, own = f"{theirs}layer{stage + 1}.{number}", f"{ours}block_{stage}_{number}"
            parts = [(f"conv{n}", f"bn{n}", str(n)) for n in (1, 2, 3)]
            if not number:
                parts.append(("downsample.0", "downsample.1", "project"))
            for conv, norm, name in parts:
                found |= layer_names(f"{block}.{conv}", f"{own}/conv_{name}", bias=False)
                found |= batch_norm_names(f"{block}.{norm}", f"{own}/norm_{name}")
    return found


def pooled(x: jax.Array) -> jax.Array:
    """Returns (B, C), the mean over space of (B, h, w, C)."""
    return jnp.mean(x, axis=(1, 2))
