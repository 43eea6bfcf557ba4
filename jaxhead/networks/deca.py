"""DECA's regressor: a face crop to FLAME's parameters, a camera and light (Feng et al. 2021).

A ResNet-50 and two linear layers (arXiv 2012.04012, section 4.1); the same network with 128 outputs
gives the code of its details.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxhead.files.errors import InputError
from jaxhead.networks import resnet
from jaxhead.networks.state_dicts import Names, convert, layer_names, size_of, without_prefix

IMAGE_SIZE = 224
"""Side in pixels of the crops, RGB in [0, 1], that DECA was trained on."""
LIGHT_BANDS = 9


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecaConfig:
    """Sizes of a regressor; the defaults are DECA's coarse one, 236 numbers.

    Attributes:
        blocks, width: of the residual network.
        hidden: between the two linear layers.
        shape, texture, expression, pose, camera, light: how many of the outputs are which, in
            their order; all 0 where they are not split (the code of details).
        outputs: their number.
    """

    blocks: tuple[int, ...] = resnet.RESNET_50
    width: int = 64
    hidden: int = 1024
    shape: int = 100
    texture: int = 50
    expression: int = 50
    pose: int = 6
    camera: int = 3
    light: int = 27
    outputs: int = 236


class DecaCode(NamedTuple):
    """The split outputs, each (..., n).

    Attributes:
        shape, texture, expression: coefficients of FLAME and of its texture model.
        pose: (..., 6) axis-angle of the head, then of the jaw, radians.
        camera: (..., 3) scale, x, y of a weak perspective: scale * (vertices + (x, y)), in the
            crop's coordinates from -1 to 1, y upwards.
        light: (..., 9, 3) spherical harmonics coefficients of each colour.
    """

    shape: jax.Array
    texture: jax.Array
    expression: jax.Array
    pose: jax.Array
    camera: jax.Array
    light: jax.Array


class DecaRegressor(nn.Module):
    """The network.

    Attributes:
        config: its sizes.
        axis_name: device axis over which batch statistics are pooled, or None.
        precision: of the products, `jax.lax.Precision` or its name; None is the backend's default.
    """

    config: DecaConfig = DecaConfig()
    axis_name: str | None = None
    precision: str | None = None

    @nn.compact
    def __call__(self, crops: jax.Array, train: bool = False) -> jax.Array:
        """Returns (B, outputs) of face crops (B, 224, 224, 3), RGB in [0, 1].

        Args:
            crops: `IMAGE_SIZE` pixels a side; others work too, the last map is averaged.
            train: see `resnet.ResNet`; running statistics are the collection "batch_stats".
        """
        c = self.config
        encoder = resnet.ResNet(
            c.blocks, c.width, self.axis_name, self.precision, name="encoder"
        )
        features = resnet.pooled(encoder(crops, train))
        out = nn.Dense(c.hidden, precision=self.precision, name="hidden")(features)
        return nn.Dense(c.outputs, precision=self.precision, name="out")(nn.relu(out))


def split_code(code: jax.Array, config: DecaConfig = DecaConfig()) -> DecaCode:
    """Returns the parts of a regressor's outputs (..., 236)."""
    counts = (
        config.shape, config.texture, config.expression, config.pose, config.camera, config.light
    )  # fmt: skip
    if sum(counts) != code.shape[-1]:
        raise ValueError(f"{code.shape[-1]} numbers, expected {sum(counts)}: {counts}")
    parts, start = [], 0
    for count in counts:
        parts.append(code[..., start : start + count])
        start += count
    light = parts.pop()
    bands = light.reshape(*light.shape[:-1], LIGHT_BANDS, config.light // LIGHT_BANDS)
    return DecaCode(*parts, light=bands)


def from_state_dict(
    state: Mapping[str, Any], *, part: str = "E_flame", split: DecaConfig | None = DecaConfig(),
    source: str = "the state dict",
) -> tuple[DecaConfig, dict[str, Any]]:
    """Returns a regressor's sizes and float32 variables from DECA's checkpoint.

    Args:
        state: the published file: {"E_flame": {name: array}, ...}, or its names joined by dots.
            Its other parts (`E_detail`, `D_detail`, `optimizer`) are left alone.
        part: "E_flame", or "E_detail" for the code of details.
        split: says how many outputs are which; None where they are not split ("E_detail").
        source: what messages call the checkpoint.

    Raises:
        InputError: the part, or a name of it, is missing; a name is unknown; a shape is not the
            expected one.
    """
    own = state[part] if part in state else without_prefix(state, f"{part}.")
    own = {k: v for k, v in own.items() if not k.endswith("num_batches_tracked")}
    if not own:
        raise InputError(f"{source}: lacks {part}, expected a checkpoint of DECA")
    blocks, width = resnet.sizes(own, "encoder.", source)
    hidden, _ = size_of(own, "layers.0.weight", 2, source)
    outputs, _ = size_of(own, "layers.2.weight", 2, source)
    counts = {name: getattr(split, name) if split else 0 for name in DecaCode._fields}
    expected = sum(counts.values())
    if split and expected != outputs:
        raise InputError(f"{source}: {part} gives {outputs} numbers, expected {expected}")
    config = DecaConfig(blocks=blocks, width=width, hidden=hidden, outputs=outputs, **counts)
    crops = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.float32)
    like = jax.eval_shape(DecaRegressor(config).init, jax.random.key(0), crops)
    return config, convert(own, _names(config), like, source=f"{source}: {part}")


def _names(config: DecaConfig) -> Names:
    names = resnet.names("encoder.", "encoder/", config.blocks)
    return names | layer_names("layers.0", "hidden") | layer_names("layers.2", "out")
