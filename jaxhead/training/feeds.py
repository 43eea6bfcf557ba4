"""Orders of examples for host streams: shuffled each epoch, split over processes, resumable."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxhead.training.system import Feed

Tree = Any


def shuffled(
    count: int, batch: int, *, seed: int, process: int = 0, processes: int = 1
) -> Callable[[int], np.ndarray]:
    """A function step -> (batch / processes,) int64 indices in [0, count) of a process's examples.

    The examples of all steps and processes, one after the other, are one permutation of the data
    after another: every example comes exactly once per epoch, also where an epoch ends in the
    middle of a batch. It is a pure function of the step: its position in a stream is a number.

    Args:
      count: examples there are.
      batch: examples of a step over all processes.
      seed: of the order.
      process, processes: which part of every batch, as `jax.process_index()` and
        `jax.process_count()` say.

    Raises:
      ValueError: nothing to draw from, or a batch that cannot be split.
    """
    if count < 1 or batch < 1 or batch % processes or not 0 <= process < processes:
        raise ValueError(f"{count} examples, batches of {batch}, process {process} of {processes}")
    local = batch // processes

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(count)

    def indices(step: int) -> np.ndarray:
        first = step * batch + process * local
        places = np.arange(first, first + local)
        epochs = places // count
        chosen = np.empty(local, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = order(int(epoch))[places[here] % count]
        return chosen

    return indices


def host_feed(
    read: Callable[[np.ndarray], Tree],
    count: int,
    batch: int,
    *,
    seed: int,
    sample: Callable[..., Tree] | None = None,
    process: int = 0,
    processes: int = 1,
) -> Feed:
    """A feed for data that does not fit on the devices: shuffled examples, read ahead by a thread.

    Args:
      read: indices (n,) int64 -> pytree of NumPy arrays with a leading axis of n.
      count, batch, seed, process, processes: see `shuffled`.
      sample: see `Feed.sample`; by default the rows are the batch.

    Returns:
      A feed whose position is the number of steps that were taken.
    """
    indices = shuffled(count, batch, seed=seed, process=process, processes=processes)

    def following(position: int) -> tuple[Tree, int]:
        return read(indices(position)), position + 1

    return Feed(batch=batch, sample=sample or whole, start=0, next=following)


def whole(arrays: Tree, rows: Tree, key: Any, step: Any, shard: Any) -> Tree:
    """`Feed.sample` of a feed whose rows are the batch."""
    del arrays, key, step, shard
    return rows
