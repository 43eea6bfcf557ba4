"""Which frames of a capture are on the device: a bounded pool that is filled while training runs.

A ten-minute capture then needs no more memory than a one-minute one. What is resident is a function
of the step alone, so that a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FIRST_FRAMES = 32
REFRESH_EVERY = 50


def frame_order(count: int) -> np.ndarray:
    """(count,) a permutation of range(count) whose every beginning covers the range evenly.

    Positions sorted by their bit-reversed index (van der Corput): the first frames of the pool
    already show the whole clip.
    """
    bits = max(1, int(np.ceil(np.log2(max(2, count)))))
    index = np.arange(1 << bits)
    reverse = np.zeros_like(index)
    for bit in range(bits):
        reverse |= ((index >> bit) & 1) << (bits - 1 - bit)
    return reverse[reverse < count].astype(np.int32)


def resident(step: int, *, slots: int, count: int, rotate_every: int) -> np.ndarray:
    """Which entry of the frame order each slot of the pool holds at a step, -1 for none yet.

    The pool grows by as many frames as it started with; once full, and where the capture has
    more frames than slots, a quarter of it is replaced every `rotate_every` steps.

    Args:
      step: of the refresh, a multiple of `REFRESH_EVERY`.
      slots: size of the pool, at most `count`.
      count: frames that train.
      rotate_every: steps between replacements.
    """
    filled = min(slots, FIRST_FRAMES * (1 + step // REFRESH_EVERY))
    start = 0
    if count > slots:
        full_at = REFRESH_EVERY * -(-max(0, slots - FIRST_FRAMES) // FIRST_FRAMES)
        start = max(0, step - full_at) // rotate_every * max(1, slots // 4)
    positions = start + (np.arange(slots) - start) % slots
    positions = np.where(positions - start < filled, positions % count, -1)
    return positions.astype(np.int32)


@dataclasses.dataclass(eq=False)
class FramePool:
    """The host's side of a pool, whose `refresh` is that of a feed and which is the feed's `pool`.

    Attributes:
      frames: (n,) ids of the frames that train.
      slots: size of the pool, at most n.
      rotate_every: steps between changes of a full pool.
      read: frame id -> {name: array}, what the device holds of a frame; called from any thread.
    """

    frames: np.ndarray
    slots: int
    rotate_every: int
    read: Callable[[int], Mapping[str, np.ndarray]]
    held: np.ndarray = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.held = np.full(self.slots, -1, np.int32)
        self.order = self.frames[frame_order(len(self.frames))]

    def empty(self) -> dict[str, np.ndarray]:
        """Arrays of zeros before anything is resident; "ids" and "count" say what is."""
        example = self.read(int(self.order[0]))
        arrays = {
            name: np.zeros((self.slots, *np.shape(value)), np.asarray(value).dtype)
            for name, value in example.items()
        }
        return arrays | {"ids": np.zeros(self.slots, np.int32), "count": np.zeros((), np.int32)}

    def refresh(self, arrays: dict[str, Any], step: int) -> dict[str, Any]:
        """The pool's arrays at `step`, from its last ones or the empty ones."""
        wanted = self._resident(step)
        held = self.held if arrays["count"] > 0 else np.full_like(self.held, -1)
        copied: dict[str, np.ndarray] = {}
        for slot, frame in self._changes(held, wanted):
            for name, value in self.values(frame).items():
                # What the steps before still read is not written into.
                if name not in copied:
                    copied[name] = arrays[name].copy()
                copied[name][slot] = value
        if not copied:
            return arrays
        self.held = wanted
        return arrays | copied | {"count": np.int32(np.sum(wanted >= 0))}

    def changes(self, former: int | None, step: int) -> list[tuple[int, int]]:
        """What the refresh at `step` changes: slots, and the frame that each then holds.

        Args:
          former: step of the refresh before, None where nothing is resident.
          step: of the refresh.
        """
        held = np.full(self.slots, -1) if former is None else self._resident(former)
        return self._changes(held, self._resident(step))

    def values(self, frame: int) -> dict[str, Any]:
        """{name: array}: what a slot holds of a frame, "ids" included."""
        return {**self.read(frame), "ids": np.array(frame, np.int32)}

    def next_change(self, step: int) -> int | None:
        """Step of the first refresh behind that at `step` which changes anything, None for never.
        """
        held, period = self._resident(step), max(self.rotate_every, REFRESH_EVERY)
        # The frames of a change repeat themselves where several rotations fall between two
        # refreshes and add up to the whole clip; then nothing is found, and nothing changes.
        for later in range(step + REFRESH_EVERY, step + period + REFRESH_EVERY + 1, REFRESH_EVERY):
            if np.any(self._resident(later) != held):
                return later
        return None

    def count(self, step: int) -> int:
        """Frames that are resident at a refresh."""
        return int(np.sum(self._resident(step) >= 0))

    def _resident(self, step: int) -> np.ndarray:
        return resident(
            step, slots=self.slots, count=len(self.frames), rotate_every=self.rotate_every
        )

    def _changes(self, held: np.ndarray, wanted: np.ndarray) -> list[tuple[int, int]]:
        slots = np.flatnonzero((wanted >= 0) & (wanted != held))
        return list(zip(slots.tolist(), self.order[wanted[slots]].tolist()))
