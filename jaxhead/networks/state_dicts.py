"""Published PyTorch state dicts to variables of Flax modules: every name accounted for, or refused.

A name map says where each published name goes; layouts follow from what it becomes: the `kernel` of
a linear layer is transposed, that of a convolution goes from (out, in, *window) to (*window, in,
out), everything else keeps its shape.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import numpy as np

from jaxhead.files.errors import InputError

Names = dict[str, str]
"""Published name -> path in the variables, as in "params/block_0/norm/scale"."""


def layer_names(theirs: str, ours: str, *, bias: bool = True) -> Names:
    """Returns the names of a linear or convolutional layer."""
    names = {f"{theirs}.weight": f"params/{ours}/kernel"}
    return names | ({f"{theirs}.bias": f"params/{ours}/bias"} if bias else {})


def norm_names(theirs: str, ours: str) -> Names:
    """Returns the names of a layer normalisation."""
    return {f"{theirs}.weight": f"params/{ours}/scale", f"{theirs}.bias": f"params/{ours}/bias"}


def batch_norm_names(theirs: str, ours: str) -> Names:
    """Returns the names of a batch normalisation; its running statistics are "batch_stats"."""
    return norm_names(theirs, ours) | {
        f"{theirs}.running_mean": f"batch_stats/{ours}/mean",
        f"{theirs}.running_var": f"batch_stats/{ours}/var",
    }


def convert(
    state: Mapping[str, Any], names: Names, like: Any, *, unused: Sequence[str] = (),
    source: str = "the state dict",
) -> dict[str, Any]:
    """Returns the variables of a module, float32, from a published state dict.

    Args:
        state: published names to arrays of any floating type.
        names: where each name goes.
        like: the module's variables as shapes, from `jax.eval_shape` of its `init`.
        unused: patterns (`fnmatch`) of published names that are known and not needed.
        source: what messages call the state dict: its file.

    Raises:
        InputError: a name is missing or unknown, or a shape is not the expected one.
    """
    shapes = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_flatten_with_path(like)[0]
    }
    assert sorted(names.values()) == sorted(shapes), "the name map covers the module"
    _refuse_others(state, names, unused, source)
    tree: dict[str, Any] = {}
    for name, path in names.items():
        value = np.asarray(state[name])
        if not np.issubdtype(value.dtype, np.floating):
            raise InputError(f"{source}: {name} holds {value.dtype}, expected floats")
        value = _laid_out(value.astype(np.float32), path)
        if value.shape != shapes[path]:
            wanted = _as_published(shapes[path], path)
            raise InputError(f"{source}: {name} has shape {state[name].shape}, expected {wanted}")
        place = tree
        *folders, leaf = path.split("/")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    return tree


def _refuse_others(state: Mapping[str, Any], names: Names, unused: Sequence[str], source: str):
    missing = [name for name in names if name not in state]
    if missing:
        raise InputError(f"{source}: lacks {missing[0]} and {len(missing) - 1} other names")
    for name in state:
        if name not in names and not any(fnmatchcase(name, pattern) for pattern in unused):
            raise InputError(f"{source}: {name} is not a name of this network")


def _laid_out(value: np.ndarray, path: str) -> np.ndarray:
    if not path.endswith("/kernel") or value.ndim < 2:
        return value
    return np.transpose(value, (*range(2, value.ndim), 1, 0))


def _as_published(shape: tuple[int, ...], path: str) -> tuple[int, ...]:
    if not path.endswith("/kernel") or len(shape) < 2:
        return shape
    return (shape[-1], shape[-2], *shape[:-2])


def without_prefix(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the entries whose names start with `prefix`, which is taken off."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def size_of(state: Mapping[str, Any], name: str, rank: int, source: str) -> tuple[int, ...]:
    """Returns the shape of the entry that tells a network's sizes.

    Raises:
        InputError: it is missing or has another number of axes.
    """
    if name not in state:
        raise InputError(f"{source}: lacks {name}")
    shape = tuple(int(n) for n in np.shape(state[name]))
    if len(shape) != rank:
        raise InputError(f"{source}: {name} has shape {shape}, expected {rank} axes")
    return shape
