"""Batches of clips out of shards that are larger than memory, read ahead by Grain.

The order is that of `feeds.shuffled`: a function of seed and position alone, the same examples at
the same places of a batch on any number of processes. Grain's threads read and decode what comes
next, so that a position is a number and no state of Grain has to be saved. The extra `corpora`
brings Grain and ArrayRecord.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxhead.captures.clips import Layout, unpack_clip
from jaxhead.captures.shards import INSTALL, Shards, read_index
from jaxhead.files.errors import InputError
from jaxhead.training.feeds import shuffled, whole
from jaxhead.training.system import Feed

Tree = Any
# Grain wants a length; a feed has none.
_ENDLESS = 1 << 50


class Corpus:
    """Clips of several folders of shards as one list, read by number from any thread.

    Args:
      folders: of shards, of one layout.

    Attributes:
      layout: of the clips.
      captures: {"name", "digest", "clips"} per capture; "capture" of a clip is a place in it.

    Raises:
      InputError: a folder is at fault or unlike the first, or Grain is not installed.
    """

    def __init__(self, folders: Sequence[str | os.PathLike]):
        parts = [read_index(folder) for folder in folders]
        if not parts:
            raise InputError("a corpus of no shards")
        self.layout: Layout = parts[0].layout
        for part in parts:
            if part.layout != self.layout:
                raise InputError(f"{part.folder}: {part.layout}, the first has {self.layout}")
        self.captures = tuple(row for part in parts for row in part.captures)
        self._names = [str(part.folder / name) for part in parts for name in part.records]
        self._ends = list(itertools.accumulate(n for part in parts for n in part.records.values()))
        # Captures of a folder are numbered from 0.
        self._shifts = _shifts(parts)
        self._source = _source(self._names, self._ends)

    def __len__(self) -> int:
        return self._ends[-1]

    def clip(
        self, index: int, *, fields: Sequence[str] | None = None, offset: int = 0,
        frames: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Clip `index`, or a part of it, as `captures.clips.unpack_clip` gives it."""
        file = bisect.bisect_right(self._ends, index)
        name = f"{self._names[file]}: record {index - (self._ends[file - 1] if file else 0)}"
        try:
            data = self._source[index]
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{name}: cannot be read ({reason})") from error
        clip = unpack_clip(data, name, self.layout, fields=fields, offset=offset, frames=frames)
        if "capture" in clip:
            clip["capture"] = clip["capture"] + np.int32(self._shifts[file])
        return clip


def _shifts(parts: Sequence[Shards]) -> list[int]:
    """How many captures stand before those of each file."""
    before = itertools.accumulate((len(part.captures) for part in parts), initial=0)
    return [shift for shift, part in zip(before, parts) for _ in part.records]


def _source(names: list[str], ends: list[int]) -> Any:
    """Grain's random access to the records of files, whose numbers are checked."""
    grain = _grain()
    try:
        source = grain.sources.ArrayRecordDataSource(names)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{os.path.dirname(names[0])}: damaged shards ({reason})") from error
    if len(source) != ends[-1]:
        raise InputError(
            f"{os.path.dirname(names[0])}: {len(source)} records, the index says {ends[-1]}"
        )
    return source


def _grain() -> Any:
    try:
        import array_record.python.array_record_module  # noqa: F401
        import grain
    except ImportError as error:
        raise InputError(f"grain is not installed, and a corpus needs it: {INSTALL}") from error
    return grain


def clip_feed(
    corpus: Corpus,
    batch: int,
    *,
    seed: int,
    frames: int | None = None,
    fields: Sequence[str] | None = None,
    sample: Callable[..., Tree] | None = None,
    process: int = 0,
    processes: int = 1,
    threads: int = 8,
    ahead: int = 2,
) -> Feed:
    """A feed of clips in an order that depends on seed and position alone.

    Every clip comes once per epoch; of a clip that is longer than `frames`, a part at a random
    place. Memory holds `ahead` batches and what the training reads ahead itself (two dispatches).

    Args:
      corpus: the clips.
      batch: clips of a step over all processes.
      seed: of order and places.
      frames: of an example, by default those of a clip.
      fields: names of the arrays that are wanted (`captures.clips.FIELDS`), all by default.
      sample: see `Feed.sample`; by default the rows are the batch.
      process, processes: which part of every batch, as `jax.process_index()` and
        `jax.process_count()` say.
      threads: that read and decode.
      ahead: batches that are read ahead.

    Returns:
      A feed whose position is the number of steps that were taken, and whose rows are
      {field: (batch / processes, ...)}, see `captures.clips.unpack_clip`.

    Raises:
      InputError: a clip is shorter than `frames`, or a field is not there.
      ValueError: a batch that cannot be split.
    """
    length = corpus.layout.frames
    if not 1 <= (frames or length) <= length:
        raise InputError(f"{frames} frames, expected 1 to {length}, the length of the clips")
    unknown = sorted(set(fields or ()) - set(corpus.layout.fields()))
    if unknown:
        raise InputError(f"{unknown[0]}: expected some of {', '.join(corpus.layout.fields())}")
    drawn = _Drawn(
        corpus, shuffled(len(corpus), batch, seed=seed, process=process, processes=processes),
        seed=seed, batch=batch, first=process * (batch // processes), local=batch // processes,
        frames=frames or length, fields=None if fields is None else tuple(fields),
    )  # fmt: skip
    reader = _Reader(drawn, threads, ahead)
    return Feed(batch=batch, sample=sample or whole, start=0, next=reader.next)


@dataclasses.dataclass(frozen=True, eq=False)
class _Drawn:
    """The examples of a process one after the other, step by step, for Grain to read."""

    corpus: Corpus
    order: Callable[[int], np.ndarray]
    seed: int
    batch: int
    first: int
    local: int
    frames: int
    fields: tuple[str, ...] | None

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        step, place = divmod(int(number), self.local)
        most = self.corpus.layout.frames - self.frames
        # Numbered over all processes, so that it does not matter how many there are.
        example = step * self.batch + self.first + place
        offset = int(np.random.default_rng([self.seed, 1, example]).integers(most + 1))
        return self.corpus.clip(
            int(self.order(step)[place]), fields=self.fields, offset=offset, frames=self.frames
        )


class _Reader:
    """`Feed.next` over Grain's iterator, which is begun anew wherever it does not stand.

    A feed's function is pure; that it keeps what Grain has read ahead shows in the time only.
    """

    def __init__(self, drawn: _Drawn, threads: int, ahead: int):
        self._drawn, self._threads, self._ahead = drawn, max(1, threads), max(1, ahead)
        self._lock = threading.Lock()
        self._iterator: Any = None
        self._position = -1

    def next(self, position: int) -> tuple[Tree, int]:
        with self._lock:
            iterator = self._iterator
            if iterator is None or position != self._position:
                iterator = self._begin(position)
            try:
                rows = next(iterator)
            except BaseException:
                self._end()
                raise
            self._position = position + 1
            return rows, position + 1

    def _begin(self, position: int) -> Any:
        self._end()
        grain, local = _grain(), self._drawn.local
        options = grain.ReadOptions(
            num_threads=self._threads, prefetch_buffer_size=max(self._ahead * local, self._threads)
        )
        examples = grain.MapDataset.source(self._drawn)[position * local :]
        self._iterator = iter(examples.to_iter_dataset(options).batch(local, drop_remainder=True))
        self._position = position
        return self._iterator

    def _end(self) -> None:
        iterator, self._iterator = self._iterator, None
        if iterator is not None and hasattr(iterator, "close"):
            iterator.close()
