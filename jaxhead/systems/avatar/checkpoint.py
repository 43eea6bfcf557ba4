"""Names and layouts of published checkpoints: Zielon/INSTA-pytorch's NeRFNetwork to our head field.

The port's other entries (`encoder.offsets`, `aabb_train`, `aabb_infer`, `density_grid`,
`density_bitfield`, `step_counter`) are buffers that follow from the configuration or are rebuilt;
`read_insta` takes the sizes from them, and which cells are occupied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxhead.encodings.hash_grid import HashGridConfig, level_table, tables_from_flat
from jaxhead.files.arrays import as_kind
from jaxhead.files.errors import InputError, about
from jaxhead.files.torch_files import read_torch
from jaxhead.systems.avatar.config import FieldConfig

BUFFERS = (
    "encoder.offsets", "aabb_train", "aabb_infer", "density_grid", "density_bitfield",
    "step_counter",
)
_LAYER = re.compile(r"(sigma_net|color_net)\.(\d+)\.weight")
_NETS = {"sigma_net": "density", "color_net": "color"}


def head_from_insta(state: dict[str, np.ndarray], grid: HashGridConfig) -> dict[str, Any]:
    """Parameters of `model.init_head` from the state dict of the INSTA port.

    Args:
      state: published names to arrays; linear weights are (outputs, inputs).
      grid: the hash grid that the checkpoint was trained with (rule "torch-ngp").

    Raises:
      InputError: a name is missing, unknown, or a shape does not fit.
    """
    params: dict[str, Any] = {"density": {}, "color": {}}
    for name, value in state.items():
        if name in BUFFERS:
            continue
        layer = _LAYER.fullmatch(name)
        if name == "encoder.embeddings":
            if np.shape(value) != (grid.entries, grid.features):
                raise InputError(
                    f"{name}: shape {np.shape(value)}, expected {(grid.entries, grid.features)}"
                )
            params["tables"] = tables_from_flat(np.asarray(value, np.float32), grid)
        elif layer:
            kernel = jnp.asarray(np.asarray(value, np.float32).T)
            params[_NETS[layer[1]]][f"layer_{layer[2]}"] = {"kernel": kernel}
        else:
            raise InputError(f"{name}: not a name of an INSTA checkpoint")
    for part in ("tables", "density", "color"):
        if not params.get(part):
            raise InputError(f"the checkpoint lacks its {part}, expected an INSTA state dict")
    return params


def head_to_insta(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `head_from_insta`, buffers left out."""
    flat = np.concatenate([np.asarray(table).T for table in params["tables"]])
    state = {"encoder.embeddings": flat}
    for theirs, ours in _NETS.items():
        for name, layer in params[ours].items():
            number = name.removeprefix("layer_")
            state[f"{theirs}.{number}.weight"] = np.asarray(layer["kernel"]).T
    return state


class InstaCheckpoint(NamedTuple):
    """A checkpoint of the INSTA port.

    Attributes:
      params: of `model.init_head`.
      field: sizes and rules of the port's field.
      grid: its hash grid.
      bound: the field fills the cube from -bound to bound: a point x is (x + bound) / (2 bound).
      components: expression coefficients of a frame.
      step: optimiser steps done, or None where the file does not say.
      averaged: whether the weights are the running average, which the port renders with.
      occupied: (cascades, r, r, r) bool, x y z: cells of cubes of half side min(2^k, bound) in
        which samples lie; None where the file does not say or no cell was ever looked into.
    """

    params: dict[str, Any]
    field: FieldConfig
    grid: HashGridConfig
    bound: float
    components: int
    step: int | None
    averaged: bool
    occupied: np.ndarray | None = None


def read_insta(
    path: str | os.PathLike, *, average: bool = True, finest_resolution: int | None = None
) -> InstaCheckpoint:
    """A checkpoint file of the INSTA port (`ngp_epNNNN.pth`, `ngp.pth`), all sizes taken from it.

    Args:
      path: the file.
      average: take the running average of the weights where the file has it.
      finest_resolution: of the grid; None for the port's 2048 bound.

    Raises:
      InputError: missing, damaged, with names missing or left over, or sizes that contradict each
        other.
    """
    content = read_torch(path)
    with about(path):
        state = content.get("model", content) if isinstance(content, dict) else None
        if not isinstance(state, dict) or not all(
            isinstance(v, np.ndarray) for v in state.values()
        ):
            raise InputError("holds no state dict of the INSTA port")
        for name in ("encoder.embeddings", "encoder.offsets", "aabb_train"):
            if name not in state:
                raise InputError(f"{name!r} is missing from the state dict of the INSTA port")
        bound = float(as_kind(state["aabb_train"], np.float32, "aabb_train").reshape(-1)[-1])
        if not 0 < bound < 1e4:
            raise InputError(f"aabb_train ends at {bound}, expected the bound of the scene")
        grid = _grid(state, finest_resolution or round(2048 * bound))
        average = average and isinstance(content.get("ema"), dict)
        if average:
            state = _averaged(state, content["ema"])
        field, components = _field(state, grid)
        step = content.get("global_step")
        return InstaCheckpoint(
            params=head_from_insta(state, grid),
            field=field,
            grid=grid,
            bound=bound,
            components=components,
            step=int(step) if isinstance(step, int) else None,
            averaged=average,
            occupied=_occupied(state, bound),
        )


def _grid(state: Mapping[str, np.ndarray], finest: int) -> HashGridConfig:
    """The grid whose levels begin where the file's do."""
    offsets = as_kind(state["encoder.offsets"], np.int64, "encoder.offsets").reshape(-1)
    sizes = np.diff(offsets)
    features = state["encoder.embeddings"].shape[-1]
    if not len(sizes) or sizes.min() < 8 or offsets[0] != 0 or not 1 <= features <= 8:
        raise InputError(f"encoder.offsets {offsets[:4].tolist()}... is not that of a hash grid")
    base = int(np.cbrt(float(sizes[0])) + 1e-9) - 1
    grid = HashGridConfig(
        levels=len(sizes),
        features=features,
        log2_size=int(np.ceil(np.log2(sizes.max()))),
        base_resolution=max(base, 1),
        finest_resolution=max(finest, base, 1),
        rule="torch-ngp",
    )
    expected = [level.offset for level in level_table(grid)] + [grid.entries]
    if expected != offsets.tolist():
        wrong = int((np.array(expected) != offsets).argmax())
        raise InputError(
            f"encoder.offsets has {offsets[wrong]} at level {wrong}, a grid from "
            f"{grid.base_resolution} to {grid.finest_resolution} has {expected[wrong]}"
        )
    return grid


def _occupied(state: Mapping[str, np.ndarray], bound: float) -> np.ndarray | None:
    """The bits of "density_bitfield" by cascade and cell: eight cells a byte, in Morton's order."""
    if "density_bitfield" not in state:
        return None
    packed = as_kind(state["density_bitfield"], np.uint8, "density_bitfield").reshape(-1)
    grid = state.get("density_grid")
    if grid is None or grid.ndim != 2:
        cascades = 1 + max(0, int(np.ceil(np.log2(bound))))
    else:
        cascades = max(1, len(grid))
    side = round(float(8 * len(packed) / cascades) ** (1 / 3))
    if cascades * side**3 != 8 * len(packed) or side & (side - 1):
        raise InputError(
            f"density_bitfield has {len(packed)} bytes, expected {cascades} cascades of a cubic "
            "number of bits"
        )
    bits = np.unpackbits(packed, bitorder="little").reshape(cascades, -1).astype(bool)
    spread = np.zeros(side, np.int64)
    for bit in range(side.bit_length()):
        spread |= ((np.arange(side) >> bit) & 1) << (3 * bit)
    code = spread[:, None, None] | spread[:, None] << 1 | spread << 2
    return bits[:, code] if bits.any() else None


def occupied_at(occupied: np.ndarray, points: np.ndarray, bound: float) -> np.ndarray:
    """(n,) bool: whether points (n, 3) of the port's space lie in occupied cells, by its rule.

    The finest cascade whose cube holds a point tells.

    Args:
      occupied: of `InstaCheckpoint`; bound: likewise.
    """
    cascades, side = occupied.shape[:2]
    _, exponent = np.frexp(np.abs(points).max(-1))
    level = np.clip(exponent, 0, cascades - 1)
    half = np.minimum(2.0**level, bound)[:, None]
    cell = np.clip((0.5 * (points / half + 1) * side).astype(np.int64), 0, side - 1)
    return occupied[level, cell[:, 0], cell[:, 1], cell[:, 2]]


def _layers(state: Mapping[str, np.ndarray], net: str) -> list[tuple[int, ...]]:
    """The shapes of a network's layers, in order."""
    shapes = []
    while f"{net}.{len(shapes)}.weight" in state:
        shapes.append(state[f"{net}.{len(shapes)}.weight"].shape)
        if len(shapes[-1]) != 2 or len(shapes) > 1 and shapes[-1][1] != shapes[-2][0]:
            raise InputError(f"{net}.{len(shapes) - 1}.weight has shape {shapes[-1]}, which does "
                             "not follow the layer before")  # fmt: skip
    if not shapes or sum(name.startswith(f"{net}.") for name in state) != len(shapes):
        raise InputError(
            f"'{net}.{len(shapes)}.weight' is missing, found "
            f"{', '.join(name for name in state if name.startswith(net)) or 'none'}"
        )
    return shapes


def _field(state: Mapping[str, np.ndarray], grid: HashGridConfig) -> tuple[FieldConfig, int]:
    density, color = _layers(state, "sigma_net"), _layers(state, "color_net")
    components, geometry = density[0][1] - grid.dimensions, density[-1][0] - 1
    hidden = {shape[0] for shape in (*density[:-1], *color[:-1])}
    if components < 0 or len(hidden) > 1:
        raise InputError(
            f"sigma_net.0.weight takes {density[0][1]} numbers and layers have {sorted(hidden)}, "
            f"expected {grid.dimensions} or more and one width"
        )
    if color[0][1] != 16 + geometry or color[-1][0] != 3:
        raise InputError(
            f"color_net takes {color[0][1]} numbers and gives {color[-1][0]}, expected "
            f"{16 + geometry} and 3"
        )
    field = FieldConfig(
        levels=grid.levels, features=grid.features, log2_size=grid.log2_size,
        base_resolution=grid.base_resolution, finest_resolution=grid.finest_resolution,
        rule=grid.rule, hidden=min(hidden, default=64), density_layers=len(density),
        color_layers=len(color), geometry_features=geometry, expression_dims=components,
        expression_noise=0.0, expression_region="lips", pose=False, direction_noise=0.0,
        mapping="nearest",
    )  # fmt: skip
    return field, components


def _averaged(state: Mapping[str, np.ndarray], ema: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state with torch_ema's averages, which lie in the order of the network's parameters."""
    names = [name for name in state if name not in BUFFERS]
    shadows = ema.get("shadow_params")
    if not isinstance(shadows, list) or len(shadows) != len(names):
        count = len(shadows) if isinstance(shadows, list) else 0
        raise InputError(f"'ema' averages {count} parameters, the model has {len(names)}")
    result = dict(state)
    for name, value in zip(names, shadows):
        if not isinstance(value, np.ndarray) or value.shape != state[name].shape:
            raise InputError(f"'ema' has an average of shape {np.shape(value)} for {name}, "
                             f"expected {state[name].shape}")  # fmt: skip
        result[name] = value
    return result
