"""Placing arrays for `jax.pmap`: one copy per device, or one slice per device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxhead.training.system import AXIS_NAME

Tree = Any
Device = Any
"""A `jax.Device`: jax gives checkers the name as a variable, which is no type."""


def _sharding(devices: Sequence[Device]) -> jax.sharding.NamedSharding:
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS_NAME,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS_NAME))


def of_all_processes(devices: Sequence[Device]) -> list[Device]:
    """As many devices of every process as there are local `devices`, process by process.

    The order says which part of a batch a device makes, so it follows the processes and not, as
    `jax.devices()` may, the wiring of a pod. With one process: `devices` themselves.
    """
    if jax.process_count() == 1:
        return list(devices)
    count, found = len(devices), []
    for process in range(jax.process_count()):
        own = (d for d in jax.devices() if d.process_index == process)
        found += sorted(own, key=lambda d: d.id)[:count]
    return found


def layout_words(layout: Mapping[str, int]) -> str:
    """'4 devices' or '2 devices in each of 2 processes' for {"devices", "processes"}; "together",
    where it is there, counts the subjects that a device trained side by side.
    """
    devices, processes = layout["devices"], layout["processes"]
    text = f"{devices} device{'s' if devices != 1 else ''}"
    if "together" in layout:
        text += f", {layout['together']} subjects at a time"
    return text if processes == 1 else f"{text} in each of {processes} processes"


def replicate(tree: Tree, devices: Sequence[Device]) -> Tree:
    """The leaves with a leading device axis, one copy on each of `devices`.

    The arrays have the sharding that pmap wants, so no dispatch moves them again. Each device gets
    buffers
    of its own: nothing aliases the caller's arrays, which a donation could otherwise change.
    """
    sharding = _sharding(devices)

    def place(x):
        host = np.asarray(x)
        parts = [jax.device_put(np.array(host[None], copy=True), device) for device in devices]
        shape = (len(devices), *host.shape)
        return jax.make_array_from_single_device_arrays(shape, sharding, parts)

    return jax.tree.map(place, tree)


def split(tree: Tree, devices: Sequence[Device]) -> Tree:
    """NumPy leaves of shape (devices, ...) as arrays whose i-th row lies on the i-th device."""
    sharding = _sharding(devices)

    def place(x):
        parts = [jax.device_put(x[i : i + 1], device) for i, device in enumerate(devices)]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, parts)

    return jax.tree.map(place, tree)


def _squeeze(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x[0], tree)


def first(tree: Tree) -> Tree:
    """The copy on the first device, without its device axis, as arrays on that one device."""

    def alone(x):
        # A shard of pmap's still names its mesh: programs would be compiled for that once more.
        shard = x.addressable_shards[0].data
        place = jax.sharding.SingleDeviceSharding(next(iter(shard.devices())))
        return jax.make_array_from_single_device_arrays(shard.shape, place, [shard])

    return jax.jit(_squeeze)(jax.tree.map(alone, tree))  # one program for the whole tree


def first_to_host(tree: Tree) -> Tree:
    """The copy on the first device as NumPy arrays that no later donation can change."""

    def copy(x):
        # Indexing on the host: a slice on the device would be compiled for every shape.
        return np.array(np.asarray(x.addressable_shards[0].data)[0], copy=True)

    return jax.tree.map(copy, tree)
