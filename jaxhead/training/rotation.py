"""A pool of frames on the devices: what changes next is read and copied there before its step.

Which frames are resident is a function of the step (`training/pool.py`), so what the next change
brings is known as soon as the last one is done. Threads read those frames, a few at a time, and
copy them to the devices, while the steps before still run. When the step comes, the rows are
written into the pool in place, behind the dispatches that are under way: the host waits for
nothing. Beyond the pool, host and devices hold the frames of one change, a quarter of the pool at
most while it rotates.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax import lax

from jaxhead.training.devices import Device, replicate
from jaxhead.training.pool import FramePool
from jaxhead.training.system import AXIS_NAME

Chunk = dict[str, Any]
"""{"slots": (CHUNK,), name: (CHUNK, ...)}, on the devices with their axis in front."""

CHUNK = 8
"""Frames that are read and written at once. One shape, hence one program, however many change;
places that are left repeat the last frame. What a frame needs of the device (a volume, a depth) is
queued behind the dispatches under way: read one by one, each frame would wait for those anew.
"""


class Rotation:
    """What of one feed's arrays its pool fills, for one training.

    Args:
      pool: the host's side.
      devices: those that hold the arrays.
    """

    def __init__(self, pool: FramePool, devices: Sequence[Device]):
        self._pool, self._devices = pool, list(devices)
        self._write = _writer(tuple(devices))
        self._step: int | None = None
        self._ahead = False
        self._next: _Next | None = None

    def open(self) -> None:
        """Start reading ahead."""
        self._ahead = True
        self._prepare()

    def bring(self, arrays: dict[str, Any], step: int) -> dict[str, Any]:
        """The arrays at a refresh, from those of the last one; the pool's own are given away.

        Args:
          arrays: the feed's, on the devices: at first `FramePool.empty` among them.
          step: of the refresh.
        """
        coming = self._next
        if coming is not None and self._step is not None and step >= self._step:
            if step < coming.step:
                return arrays  # nothing changes before that
            arrays = self._written(arrays, coming.take(), coming.step)
        elif coming is not None:
            coming.close()
        self._next = None
        if step != self._step:
            arrays = self._written(arrays, self._chunks(self._step, step), step)
        self._prepare()
        return arrays

    def close(self) -> None:
        """End the thread."""
        if self._next is not None:
            self._next.close()

    def _prepare(self) -> None:
        if not self._ahead or self._step is None or self._next is not None:
            return
        step = self._pool.next_change(self._step)
        if step is not None:
            former = self._step
            self._next = _Next(step, lambda: self._chunks(former, step))

    def _chunks(self, former: int | None, step: int) -> Iterator[Chunk]:
        """What the refresh at `step` changes, on the devices."""
        changes = self._pool.changes(former, step)
        with ThreadPoolExecutor(CHUNK) as readers:
            for first in range(0, len(changes), CHUNK):
                slots, frames = zip(*changes[first : first + CHUNK])
                values = list(readers.map(self._pool.values, frames))
                values += [values[-1]] * (CHUNK - len(values))
                slots += (slots[-1],) * (CHUNK - len(slots))
                chunk: Chunk = {name: np.stack([v[name] for v in values]) for name in values[0]}
                chunk["slots"] = np.array(slots, np.int32)
                yield jax.block_until_ready(replicate(chunk, self._devices))

    def _written(
        self, arrays: dict[str, Any], chunks: Iterator[Chunk] | list[Chunk], step: int
    ) -> dict[str, Any]:
        for chunk in chunks:
            own = {name: arrays[name] for name in chunk if name != "slots"}
            arrays = arrays | self._write(own, chunk)
        former = -1 if self._step is None else self._pool.count(self._step)
        if self._pool.count(step) != former:
            count = np.int32(self._pool.count(step))
            arrays = arrays | {"count": replicate(count, self._devices)}
        self._step = step
        return arrays


class _Next:
    """The chunks of a refresh to come, made in a thread."""

    def __init__(self, step: int, chunks: Callable[[], Iterator[Chunk]]):
        self.step = step
        self._chunks = chunks
        self._made: list[Chunk] = []
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for chunk in self._chunks():
                if self._stop.is_set():
                    return
                self._made.append(chunk)
        except BaseException as error:  # handed to the training thread, which raises it
            self._error = error

    def take(self) -> list[Chunk]:
        """All of them; waits for the thread."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made

    def close(self) -> None:
        """End the thread before it is done."""
        self._stop.set()
        self._thread.join(timeout=5)


@functools.lru_cache
def _writer(devices: tuple[Device, ...]) -> Callable[..., dict[str, Any]]:
    """(arrays, chunk) -> arrays with the chunk's rows in its slots; the arrays are donated."""

    def write(arrays, chunk):
        def one(place, arrays):
            def placed(name):
                row = lax.dynamic_slice_in_dim(chunk[name], place, 1, 1)
                return lax.dynamic_update_slice_in_dim(
                    arrays[name], row, chunk["slots"][0, place], 1
                )

            return {name: placed(name) for name in arrays}

        return lax.fori_loop(0, CHUNK, one, arrays)

    mesh = jax.sharding.Mesh(np.array(devices), (AXIS_NAME,))
    each = jax.sharding.PartitionSpec(AXIS_NAME)
    return jax.jit(
        jax.shard_map(write, mesh=mesh, in_specs=each, out_specs=each), donate_argnums=0
    )
