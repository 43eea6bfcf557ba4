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
    """The host's side of a pool, whose `refresh` is that of a feed.

    Attributes:
      frames: (n,) ids of the frames that train.
      slots: size of the pool, at most n.
      rotate_every: steps between changes of a full pool.
      read: frame id -> {name: array}, what the device holds of a frame.
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
        wanted = resident(
            step, slots=self.slots, count=len(self.frames), rotate_every=self.rotate_every
        )
        held = self.held if arrays["count"] > 0 else np.full_like(self.held, -1)
        changed = np.flatnonzero((wanted >= 0) & (wanted != held))
        if len(changed) == 0:
            return arrays
        copied: dict[str, np.ndarray] = {}
        for slot in changed:
            frame = int(self.order[wanted[slot]])
            for name, value in {**self.read(frame), "ids": frame}.items():
                # What the steps before still read is not written into.
                copied.setdefault(name, arrays[name].copy())[slot] = value
        self.held = wanted
        return arrays | copied | {"count": np.int32(np.sum(wanted >= 0))}
