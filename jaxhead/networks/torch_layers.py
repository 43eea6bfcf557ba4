"""Linear and convolutional layers as PyTorch initialises, names and stores them.

A layer that a published module calls `name.0` is `name_0` here, with `kernel` for `weight`. Weights
are stored transposed: a linear weight (outputs, inputs) as (inputs, outputs), a 1-D kernel
(outputs, inputs, size) as (size, inputs, outputs).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxhead.files.errors import InputError
from jaxhead.geometry import draws


def fan_in_uniform(fan_in: int):
    """An initialiser uniform in +-1/sqrt(fan_in): PyTorch's default for weights and biases."""
    bound = 1.0 / math.sqrt(fan_in)

    def draw(key, shape, dtype=jnp.float32):
        return draws.weights(key, shape, bound, dtype)

    return draw


def linear(inputs: int, outputs: int, name: str, *, precision: Any = None) -> nn.Dense:
    """A linear layer with bias, to be called inside a compact method."""
    draw = fan_in_uniform(inputs)
    return nn.Dense(outputs, precision=precision, kernel_init=draw, bias_init=draw, name=name)


def conv(
    inputs: int, outputs: int, name: str, *, size: int = 3, stride: int = 1, precision: Any = None
) -> nn.Conv:
    """A convolution over (..., time, channels) with bias, zero-padded by (size - 1) / 2."""
    draw = fan_in_uniform(inputs * size)
    return nn.Conv(
        outputs, (size,), strides=(stride,), padding=((size // 2, size // 2),),
        precision=precision, kernel_init=draw, bias_init=draw, name=name,
    )  # fmt: skip


def published_name(path: tuple[str, ...]) -> str:
    """The state-dict name of a parameter: ("fc_0", "kernel") gives "fc.0.weight"."""
    *modules, leaf = path
    modules = [re.sub(r"_(\d+)$", r".\1", module) for module in modules]
    return ".".join([*modules, "weight" if leaf == "kernel" else leaf])


def from_published(
    state: Mapping[str, np.ndarray], template: Any, *, prefix: str = "", where: str = ""
) -> Any:
    """Parameters with the values of a published state dict.

    Args:
        state: published names to arrays in PyTorch's layout.
        template: pytree of nested dictionaries of arrays or shapes, such as a module's params.
        prefix: what stands before the names of this module; other entries are not looked at.
        where: said first in errors, such as a file's name.

    Raises:
        InputError: a name is missing, one with the prefix is left over, or a shape does not fit.
    """
    where = f"{where}: " if where else ""
    paths = _paths(template)
    wanted = {prefix + published_name(path) for path in paths}
    left = sorted(name for name in state if name.startswith(prefix) and name not in wanted)
    if left:
        raise InputError(f"{where}{left[0]}: not a weight of this network")

    def take(path, leaf):
        name = prefix + published_name(path)
        if name not in state:
            raise InputError(f"{where}{name} is missing")
        value = np.asarray(state[name], np.float32)
        value = np.ascontiguousarray(value.transpose(range(value.ndim)[::-1]))
        if value.shape != tuple(leaf.shape):
            raise InputError(
                f"{where}{name}: shape {np.shape(state[name])}, expected {leaf.shape[::-1]}"
            )
        return value

    return _rebuilt(template, take)


def to_published(params: Any, *, prefix: str = "") -> dict[str, np.ndarray]:
    """The inverse of `from_published`."""
    state = {}
    for path, leaf in _paths(params).items():
        value = np.asarray(leaf)
        state[prefix + published_name(path)] = value.transpose(range(value.ndim)[::-1])
    return state


def _paths(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(tree, Mapping):
        return {path: tree}
    found = {}
    for name, value in tree.items():
        found |= _paths(value, (*path, name))
    return found


def _rebuilt(tree: Any, take, path: tuple[str, ...] = ()) -> Any:
    if not isinstance(tree, Mapping):
        return take(path, tree)
    return {name: _rebuilt(value, take, (*path, name)) for name, value in tree.items()}
