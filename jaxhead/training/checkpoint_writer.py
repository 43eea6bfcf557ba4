"""Writing checkpoints in the background with Orbax, and what happens when the disk is full."""

from __future__ import annotations

import errno
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxhead.training.checkpoints import (
    CheckpointError,
    alone,
    best_step,
    describe,
    leaf_names,
    seal,
    steps_in,
)

Tree = Any


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
    """Writer of the checkpoints of one stage, in process 0 alone: one `CheckpointManager`,
    asynchronous, kept N + best.

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
        several = {"multiprocessing_options": alone("write")} if jax.process_count() > 1 else {}
        options = ocp.CheckpointManagerOptions(
            create=False,
            **several,
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
        document = seal({**meta, "step": step, "score": score, "leaves": describe(leaves)})
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
