"""Checkpoints that are known to be good: Orbax underneath, a digest per leaf, fall-back to the
previous one.

A checkpoint is a flat dictionary {leaf name: array} (so it restores without a template, hence
without silent casts) and a JSON document with the digest, dtype and shape of every leaf, the
positions of the feeds and the layout it was written on. Saving copies to the host, then writes in
the background; the folder gets its final name only when complete.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
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
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def describe(leaves: Mapping[str, np.ndarray]) -> dict[str, list]:
    """{name: [dtype, shape, crc32]} of every leaf."""
    return {k: [str(v.dtype), list(v.shape), digest(v)] for k, v in leaves.items()}


def _seal(meta: dict[str, Any]) -> dict[str, Any]:
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
    import orbax.checkpoint as ocp

    path = folder / str(step)
    meta = _unseal(path / "meta" / "metadata")
    if meta["step"] != step:
        raise ValueError(f"it says that it is step {meta['step']}")
    with ocp.StandardCheckpointer() as reader:
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


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def is_disk_full(error: BaseException) -> bool:
    """Whether a failure to write came from a full disk, a quota or a file-size limit."""
    codes = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
    texts = [os.strerror(code).lower() for code in codes]
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in codes:
            return True
        if any(text in str(cause).lower() for text in texts):
            return True
    return False


def _room(folder: pathlib.Path) -> int:
    """Bytes that one file below `folder` can have: what is free, or the process's limit."""
    free = shutil.disk_usage(folder).free
    try:
        import resource
    except ImportError:  # not a Unix
        return free
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return free if limit == resource.RLIM_INFINITY else min(free, limit)


class _OwnReports(logging.Filter):
    """Keeps Orbax's log of failed saves, many pages long, from the screen: they are raised."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname


_OWN_REPORTS = _OwnReports()


class _NewestAndBest:
    """Which checkpoints stay, for Orbax: the newest few, and the one with the highest score."""

    def __init__(self, folder: pathlib.Path, keep: int):
        self._folder, self._keep = folder, keep

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        best = best_step(self._folder)
        newest = len(checkpoints) - self._keep
        return [i >= newest or one.step == best for i, one in enumerate(checkpoints)]


class Checkpoints:
    """Writer of the checkpoints of one stage; one `CheckpointManager`, asynchronous, kept N + best.

    Args:
      folder: of the stage.
      keep: newest checkpoints that stay; one more that is the best by score stays too.
      saved: step of the checkpoint that the training goes on from, which is not written again.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, saved: int | None = None):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self.folder = pathlib.Path(folder).absolute()
        self._bytes = 0
        self._saved = saved
        logging.getLogger("absl").addFilter(_OWN_REPORTS)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_NewestAndBest(self.folder, keep),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise self._failure(error) from error

    def save(
        self, step: int, state: Tree, meta: dict[str, Any], score: float | None = None
    ) -> None:
        """Start writing; returns when the previous save has ended and this one is under way.

        Args:
          step: finished steps.
          state: pytree of host arrays that nobody changes any more.
          meta: JSON document (feeds, layout, ...).
          score: of the validation, higher is better.

        Raises:
          CheckpointError: this or the previous save failed.
        """
        if step == self._saved:
            return
        leaves = dict(zip(leaf_names(state), map(np.asarray, jax.tree.leaves(state))))
        self._bytes = sum(v.nbytes for v in leaves.values())
        document = _seal({**meta, "step": step, "score": score, "leaves": describe(leaves)})
        stored = {name: leaf for name, leaf in leaves.items() if leaf.size}
        parts = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(stored), meta=self._ocp.args.JsonSave(document)
        )
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
            room = _room(self.folder)
            if room < self._bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._manager.save(step, args=parts, force=True)
        except Exception as error:
            raise self._failure(error) from error
        self._saved = step

    def check(self) -> None:
        """CheckpointError if a save in the background has failed."""
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failure(error) from error

    def wait(self) -> None:
        """Return when everything is on disk; CheckpointError if it could not be written."""
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Wait and release; a failure here is for `wait` to report."""
        try:
            self._manager.close()
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> CheckpointError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        if is_disk_full(error):
            room = _room(self.folder)
            reason = f"the disk is full or a limit was met, there is room for {room} bytes"
        kept = steps_in(self.folder)
        return CheckpointError(
            f"{self.folder}: cannot write a checkpoint of {self._bytes} bytes: {reason}; "
            f"kept: {', '.join(f'step {s}' for s in kept) or 'none'}"
        )


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
