"""Checkpoints that are known to be good: Orbax underneath, a digest per leaf, fall-back to the
previous one.

A checkpoint is a flat dictionary {leaf name: array} (so it restores without a template, hence
without silent casts) and a JSON document with the digest, dtype and shape of every leaf, the
positions of the feeds and the layout it was written on. Saving copies to the host, then writes in
the background; the folder gets its final name only when complete.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.files.errors import InputError

Tree = Any
FORMAT, VERSION = "jaxhead-checkpoint", 1


class CheckpointError(InputError):
    """A checkpoint could not be written, or none could be read: one line that names the folder."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """A checkpoint that was read and verified: its state (NumPy leaves), its step and its JSON
    document.
    """

    step: int
    state: Tree
    meta: dict[str, Any]


def leaf_names(tree: Tree) -> list[str]:
    """One name per leaf, the path joined by dots, in the order of `jax.tree.leaves`."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
    if len(set(names)) != len(names):
        raise ValueError("two leaves of the state have one name: avoid dots in keys")
    return names


def digest(array: np.ndarray) -> int:
    """crc32 of the bytes of an array in C order."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def describe(leaves: Mapping[str, np.ndarray]) -> dict[str, list]:
    """{name: [dtype, shape, crc32]} of every leaf."""
    return {k: [str(v.dtype), list(v.shape), digest(v)] for k, v in leaves.items()}


def seal(meta: dict[str, Any]) -> dict[str, Any]:
    """A JSON document around `meta` from which any damage to it can be told."""
    text = json.dumps(meta, sort_keys=True)
    return {"format": FORMAT, "version": VERSION, "crc32": zlib.crc32(text.encode()), "meta": text}


def _unseal(path: pathlib.Path) -> dict[str, Any]:
    sealed = json.loads(path.read_text())
    if sealed["format"] != FORMAT or sealed["version"] != VERSION:
        raise ValueError(f"format {sealed['format']} version {sealed['version']}")
    if zlib.crc32(sealed["meta"].encode()) != sealed["crc32"]:
        raise ValueError("the description is damaged")
    return json.loads(sealed["meta"])


def steps_in(folder: pathlib.Path) -> list[int]:
    """Steps that have a folder, ascending; whether they are good is another question."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit() and p.is_dir())


def best_step(folder: pathlib.Path) -> int | None:
    """The step with the highest "score" of its validation, or None."""
    scores = {}
    for step in steps_in(folder):
        try:
            scores[step] = float(_unseal(folder / str(step) / "meta" / "metadata")["score"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged, or without a validation
    return max(scores, key=lambda s: (scores[s], s)) if scores else None


def size_on_disk(folder: pathlib.Path) -> int:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def read_checkpoint(folder: pathlib.Path, step: int, template: Tree | None = None) -> Restored:
    """One checkpoint, verified.

    Args:
      folder: the checkpoints of a stage.
      step: which.
      template: pytree of arrays or shapes; the leaves found must be exactly its own.

    Raises:
      Exception: of whatever kind when anything at all is wrong; the message says what.
    """
    path = folder / str(step)
    meta = _unseal(path / "meta" / "metadata")
    if meta["step"] != step:
        raise ValueError(f"it says that it is step {meta['step']}")
    with _reader() as reader:
        leaves = reader.restore(path.absolute() / "state")
    leaves = {name: np.asarray(value) for name, value in leaves.items()}
    for name, (dtype, shape, _) in meta["leaves"].items():
        if 0 in shape:  # nothing to store, so Orbax refuses it
            leaves[name] = np.zeros(shape, jnp.dtype(dtype))
    found = describe(leaves)
    if found != meta["leaves"]:
        names = sorted(k for k in found.keys() | meta["leaves"].keys()
                       if found.get(k) != meta["leaves"].get(k))
        raise ValueError(f"{names[0]} is not what was written (of {len(names)} such leaves)")
    if template is None:
        return Restored(step, leaves, meta)
    return Restored(step, _fill(template, leaves), meta)


def alone(name: str) -> Any:
    """Orbax's options for what this process does without the others of its job."""
    import orbax.checkpoint as ocp

    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"{name}{me}"
    )


def _reader() -> Any:
    import orbax.checkpoint as ocp

    if jax.process_count() == 1:
        return ocp.StandardCheckpointer()
    options = alone("read")
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _fill(template: Tree, leaves: dict[str, np.ndarray]) -> Tree:
    names = leaf_names(template)
    if set(names) != set(leaves):
        other = sorted(set(names) ^ set(leaves))
        raise ValueError(f"{other[0]} is only in one of checkpoint and configuration")
    values = []
    for name, want in zip(names, jax.tree.leaves(template)):
        value = leaves[name]
        if value.dtype != want.dtype or value.shape != tuple(want.shape):
            raise ValueError(f"{name} is {value.dtype}{list(value.shape)}, "
                             f"expected {want.dtype}{list(want.shape)}")
        values.append(value)
    return jax.tree.unflatten(jax.tree.structure(template), values)


def newest_good(
    folder: pathlib.Path, template: Tree | None, say: Callable[[str], None]
) -> tuple[Restored | None, list[int]]:
    """The newest checkpoint that verifies, and the newer steps that do not; `say` gets a line for
    each of those.

    Raises:
      CheckpointError: there are checkpoints, and none is good.
    """
    damaged = []
    for step in reversed(steps_in(folder)):
        try:
            return read_checkpoint(folder, step, template), damaged
        except Exception as error:  # every reader below raises its own kinds for damaged files
            damaged.append(step)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            say(f"checkpoint {folder / str(step)} is damaged ({reason}); trying the one before")
    if damaged:
        raise CheckpointError(f"{folder}: none of the checkpoints {sorted(damaged)} can be read")
    return None, []


def set_aside(folder: pathlib.Path, steps: list[int]) -> None:
    """Move damaged checkpoints out of the way of new ones: FOLDER.damaged holds the last such set
    only.
    """
    if not steps:
        return
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for step in steps:
        os.replace(folder / str(step), aside / str(step))
