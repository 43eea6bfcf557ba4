"""The host's side of the feeds: arrays on the devices, refreshes, streams read ahead in a thread.
"""

from __future__ import annotations

import pathlib
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.training.devices import Device, replicate, split
from jaxhead.training.rotation import Rotation
from jaxhead.training.system import Feed, Stage

Tree = Any


class _Stream:
    """Rows of one feed, made in a thread a few steps ahead; bounded memory."""

    def __init__(self, feed: Feed, position: Any, depth: int):
        self.position = position
        self._feed = feed
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(position,), daemon=True)
        self._thread.start()

    def _put(self, item) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _work(self, position: Any) -> None:
        assert self._feed.next is not None
        try:
            while True:
                rows, position = self._feed.next(position)
                if not self._put((rows, position, None)):
                    return
        except BaseException as error:  # handed to the training thread, which raises it
            self._put((None, None, error))

    def take(self) -> Tree:
        """The rows of the next step; the position moves on only now."""
        rows, position, error = self._queue.get()
        if error is not None:
            raise error
        self.position = position
        return rows

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)


class Feeding:
    """Everything of a stage's feeds that lives on the host, for one training.

    Args:
      stage: the recipe.
      devices: local devices; None keeps everything on the host, without a device axis, for who
        places the data of several subjects together (`training/lanes.py`).
      length: steps of the longest dispatch.
      step: finished steps.
      positions: {feed: position} from a checkpoint; missing ones start at `Feed.start`.

    Attributes:
      arrays: {feed: pytree on the devices} for the step.
    """

    def __init__(
        self,
        stage: Stage,
        devices: Sequence[Device] | None,
        length: int,
        step: int,
        positions: Mapping[str, Any],
    ):
        self._feeds = dict(stage.feeds)
        self._devices = None if devices is None else list(devices)
        self._length = length
        self._host: dict[str, Tree] = {}
        self._refreshed: dict[str, int] = {}
        self.arrays: dict[str, Tree] = {}
        self._streams: dict[str, _Stream] = {}
        self._positions = dict(positions)
        self._rotations: dict[str, Rotation] = {}
        for name, feed in self._feeds.items():
            if feed.pool is not None and devices is not None:
                self._rotations[name] = Rotation(feed.pool, devices)
            if feed.refresh is None or name in self._rotations:
                self._place(name, feed.arrays)
        self.refresh(step)

    def open(self) -> None:
        """Start reading ahead; separate, so that measuring the step time consumes nothing."""
        for name, feed in self._feeds.items():
            if feed.next is not None and name not in self._streams:
                position = self._positions.get(name, feed.start)
                self._streams[name] = _Stream(feed, position, 2 * self._length)
        for rotation in self._rotations.values():
            rotation.open()

    def _place(self, name: str, tree: Tree) -> None:
        """Copy to the devices what is not there yet, leaf by leaf."""
        leaves, structure = jax.tree.flatten(tree)
        former = jax.tree.leaves(self._host.get(name))
        placed = jax.tree.leaves(self.arrays.get(name))
        if len(former) != len(leaves):
            former, placed = [None] * len(leaves), [None] * len(leaves)
        fresh = []
        for new, old, there in zip(leaves, former, placed):
            if old is not None and (new.shape != old.shape or new.dtype != old.dtype):
                raise ValueError(f"feed {name}: refresh changed {old.dtype}{old.shape} "
                                 f"to {new.dtype}{new.shape}")
            if self._devices is None:
                fresh.append(new)
            else:
                fresh.append(there if new is old else replicate(new, self._devices))
        self._host[name] = tree
        self.arrays[name] = jax.tree.unflatten(structure, fresh)

    def host(self, name: str) -> Tree:
        """The arrays of a feed as the host has them (not what its pool brought since)."""
        return self._host.get(name, self._feeds[name].arrays)

    def replace(self, name: str, new: Mapping[str, np.ndarray], file: pathlib.Path) -> None:
        """Put arrays of a file in the place of some of a feed's, which is a mapping.

        Raises:
          InputError: one is not among the feed's, or of another shape or type.
        """
        held = self.host(name)
        for key, value in new.items():
            old = np.asarray(held[key]) if key in held else None
            if old is None or (value.shape, value.dtype) != (old.shape, old.dtype):
                expected = "no such array" if old is None else f"{old.dtype}{list(old.shape)}"
                raise InputError(
                    f"{file}: {key} is {value.dtype}{list(value.shape)}, expected {expected}"
                )
        placed = {
            key: value if self._devices is None else replicate(value, self._devices)
            for key, value in new.items()
        }
        self._host[name] = {**held, **new}
        self.arrays[name] = {**self.arrays[name], **placed}

    def refresh(self, step: int) -> None:
        """Bring the arrays to what they are for the steps from `step` on."""
        for name, feed in self._feeds.items():
            if feed.refresh is None:
                continue
            due = step // feed.refresh_every * feed.refresh_every if feed.refresh_every else 0
            if self._refreshed.get(name) == due:
                continue
            if name in self._rotations:
                self.arrays[name] = self._rotations[name].bring(self.arrays[name], due)
            else:
                self._place(name, feed.refresh(self._host.get(name, feed.arrays), due))
            self._refreshed[name] = due

    def periods(self) -> list[int]:
        """Steps between refreshes, of the feeds that have any."""
        return [f.refresh_every for f in self._feeds.values() if f.refresh and f.refresh_every]

    def positions(self) -> dict[str, Any]:
        """{feed: JSON value}: where the streams stand after the rows that were taken."""
        return {**self._positions, **{k: s.position for k, s in self._streams.items()}}

    def rows(self, count: int) -> dict[str, Tree]:
        """The host rows of the next `count` steps on the devices, padded to the longest dispatch.
        """
        rows = {}
        for name, stream in self._streams.items():
            if name != "validate":
                taken = [stream.take() for _ in range(count)]
                rows[name] = self._stack(taken + [taken[-1]] * (self._length - count))
        return rows

    def example_rows(self) -> dict[str, Tree]:
        """Rows of the right shapes for compiling and measuring; no stream moves."""
        rows = {}
        for name, feed in self._feeds.items():
            if feed.next is not None and name != "validate":
                one = feed.next(self._positions.get(name, feed.start))[0]
                rows[name] = self._stack([one] * self._length)
        return rows

    def validation_rows(self) -> Tree:
        """The first rows of the feed "validate", on the devices, or None."""
        feed = self._feeds["validate"]
        if feed.next is None:
            return None
        one = feed.next(feed.start)[0]
        if self._devices is None:
            return one
        return jax.tree.map(lambda x: x[:, 0], self._stack([one]))

    def _stack(self, taken: list[Tree]) -> Tree:
        if self._devices is None:
            return jax.tree.map(lambda *leaves: np.stack(leaves), *taken)
        count = len(self._devices)

        def join(*leaves):
            parts = [np.reshape(x, (count, len(x) // count, *np.shape(x)[1:])) for x in leaves]
            return np.stack(parts, axis=1)

        return split(jax.tree.map(join, *taken), self._devices)

    def close(self) -> None:
        """End the threads."""
        for made in (*self._streams.values(), *self._rotations.values()):
            made.close()
