"""The released checkpoints, `NNNNNN_head.tar` and `NNNNNN_body.tar`, as parameters and Adam states.

Every network's state dict converts name by name, none left over and none missing. The optimisers'
states are numbered in the order of the parameters: those of the two fields, coarse first, share
one. A layer that the forward pass does not use has no moments there and zeros here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.networks.torch_layers import from_published, published_name
from jaxhead.systems.adnerf import nerf_model as model
from jaxhead.systems.adnerf.nerf_config import NerfConfig
from jaxhead.systems.adnerf.nerf_stages import AdamState

NETWORKS = {
    "coarse": "network_fn_state_dict",
    "fine": "network_fine_state_dict",
    "audio": "network_audnet_state_dict",
    "attention": "network_audattnet_state_dict",
}
OPTIMIZERS = {
    "optimizer_state_dict": ("coarse", "fine"),
    "optimizer_aud_state_dict": ("audio",),
    "optimizer_audatt_state_dict": ("attention",),
}
"""Which networks' parameters an optimiser numbers, one after the other."""


@dataclasses.dataclass(frozen=True)
class Published:
    """One file.

    Attributes:
        kind: "head" or "body".
        steps: updates that were applied.
        params: {part: parameters}; of a body the two fields, its audio network is never used.
        adams: {part: AdamState}.
    """

    kind: str
    steps: int
    params: dict[str, Any]
    adams: dict[str, AdamState]


def kind_of(content: Any, where: str) -> str:
    """Whether the content of a file is a head's or a body's.

    Raises:
        InputError: neither.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: not a checkpoint of AD-NeRF, expected a dictionary")
    for name in ("global_step", *(NETWORKS[k] for k in ("coarse", "fine", "audio"))):
        if name not in content:
            raise InputError(f"{where}: {name} is missing, expected a checkpoint of AD-NeRF")
    return "head" if NETWORKS["attention"] in content else "body"


def sizes(
    head: Mapping[str, Any], config: NerfConfig, where: str, body: Mapping[str, Any] | None = None
) -> tuple[NerfConfig, int]:
    """`config` with the sizes of a checkpoint's networks, and the width of its audio features.

    Args:
        head: content of a head's file; body: of a body's.
        config: what a checkpoint does not say.
        where: name of the file.

    Raises:
        InputError: weights that are not there, or of sizes that do not fit together.
    """
    fields = _weights(head, "coarse", where)
    audio, attention = _weights(head, "audio", where), _weights(head, "attention", where)

    def shape(state, name, rank=2):
        found = np.shape(state.get(name, ()))
        if len(found) != rank:
            raise InputError(f"{where}: {name} has shape {found}, expected {rank} axes")
        return found

    layers = [name for name in fields if name.startswith("pts_linears.") and "weight" in name]
    width, given = shape(fields, "pts_linears.0.weight")
    codes = shape(audio, "encoder_fc1.2.weight")[0]
    skips = [i for i in range(1, len(layers))
             if shape(fields, f"pts_linears.{i}.weight")[1] != width]  # fmt: skip
    field = dataclasses.replace(
        config.field, depth=len(layers), width=width,
        skip=skips[0] - 1 if skips else len(layers) - 1,
        point_bands=_bands(given - codes, where),
        direction_bands=_bands(shape(fields, "views_linears.0.weight")[1] - width, where),
    )  # fmt: skip
    if body is not None:
        extra = shape(_weights(body, "coarse", where), "pts_linears.0.weight")[1]
        both = extra - (given - codes) - codes
        field = dataclasses.replace(field, pose_bands=_bands(both // 2, where))
    sound = dataclasses.replace(
        config.audio, codes=codes, smoothed=shape(attention, "attentionNet.0.weight")[0],
        looked_at=shape(attention, "attentionConvNet.0.weight", 3)[1],
    )  # fmt: skip
    features = shape(audio, "encoder_conv.0.weight", 3)[1]
    return dataclasses.replace(config, field=field, audio=sound), features


def read_head(
    content: Mapping[str, Any], config: NerfConfig, features: int, where: str
) -> Published:
    """The head's networks and optimisers; config and features of `sizes`.

    Raises:
        InputError: a name is missing or left over, a shape does not fit, a value is not finite.
    """
    shapes = jax.eval_shape(
        lambda key: model.init_head(key, config, 16, features), jax.random.key(0)
    )
    return _read("head", content, shapes, where)


def read_body(content: Mapping[str, Any], config: NerfConfig, where: str) -> Published:
    """Likewise of a body's file."""
    shapes = jax.eval_shape(lambda key: model.init_torso(key, config), jax.random.key(0))
    return _read("body", content, shapes, where)


def _read(kind: str, content: Mapping[str, Any], shapes: dict[str, Any], where: str) -> Published:
    params = {
        part: from_published(
            _weights(content, part, where), shapes[part], where=f"{where}: {NETWORKS[part]}"
        )
        for part in shapes
    }
    for part, tree in params.items():
        if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree)):
            raise InputError(f"{where}: {NETWORKS[part]} holds values that are not finite")
    adams = {part: _no_updates(params[part]) for part in params}
    for name, parts in OPTIMIZERS.items():
        if set(parts) <= set(params) and name in content:
            adams |= _adams(content[name], content, params, parts, f"{where}: {name}")
    step = content["global_step"]
    if not isinstance(step, int) or step < 0:
        raise InputError(f"{where}: global_step is {step!r}, expected a number of steps")
    return Published(kind, step + 1, params, adams)


def _weights(content: Mapping[str, Any], part: str, where: str) -> Mapping[str, np.ndarray]:
    state = content.get(NETWORKS[part])
    if not isinstance(state, Mapping) or not all(isinstance(k, str) for k in state):
        raise InputError(f"{where}: {NETWORKS[part]} is not a state dict")
    return state


def _no_updates(params: Any) -> AdamState:
    zeros = jax.tree.map(np.zeros_like, params)
    return AdamState(np.zeros((), np.int32), zeros, jax.tree.map(np.copy, zeros))


def _adams(
    optimizer: Any, content: Mapping[str, Any], params: Mapping[str, Any], parts: tuple[str, ...],
    where: str,
) -> dict[str, AdamState]:
    """The moments of some networks out of their shared optimiser."""
    if not isinstance(optimizer, Mapping) or not {"state", "param_groups"} <= set(optimizer):
        raise InputError(f"{where} is not the state of an optimiser")
    numbers = [n for group in optimizer["param_groups"] for n in group["params"]]
    owners = [(part, name) for part in parts for name in content[NETWORKS[part]]]
    if len(numbers) != len(owners):
        raise InputError(f"{where} has {len(numbers)} parameters, expected {len(owners)}")
    found = {part: ({}, {}, set()) for part in parts}
    for number, (part, name) in zip(numbers, owners):
        moments = optimizer["state"].get(number)
        if moments is not None:
            mean, square, counts = found[part]
            mean[name], square[name] = moments["exp_avg"], moments["exp_avg_sq"]
            counts.add(int(np.asarray(moments["step"])))
    return {
        part: _adam(params[part], mean, square, counts, where)
        for part, (mean, square, counts) in found.items()
    }


def _adam(params: Any, mean: dict, square: dict, counts: set[int], where: str) -> AdamState:
    if len(counts) > 1:
        raise InputError(f"{where} has parameters of {sorted(counts)} updates, expected one number")

    def filled(moments):
        zeros = {published_name(path): leaf for path, leaf in _leaves(params)}
        there = {name: np.zeros(leaf.shape[::-1], np.float32) for name, leaf in zeros.items()}
        return from_published(there | moments, params, where=where)

    return AdamState(np.asarray(max(counts, default=0), np.int32), filled(mean), filled(square))


def _leaves(tree: Any):
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(tuple(key.key for key in path), leaf) for path, leaf in flat]


def _bands(width: int, where: str) -> int:
    """How many frequencies an encoding of three numbers has that is so wide."""
    bands, rest = divmod(width - 3, 6)
    if rest or bands < 0:
        raise InputError(f"{where}: an encoding of three numbers is {width} wide, expected 3 + 6 n")
    return bands


def as_arrays(tree: Any) -> Any:
    """Contiguous arrays of their own, as checkpoints store them."""
    return jax.tree.map(lambda x: np.array(x, jnp.asarray(x).dtype), tree)
