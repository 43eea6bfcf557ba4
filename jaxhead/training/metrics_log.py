"""What a run writes down: metrics.jsonl (the same for the same seed), times.jsonl and TensorBoard
events.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxhead.files.atomic import write_error
from jaxhead.training import processes


def _number(value: float) -> float | str:
    """A JSON number, or a string for what JSON has no number for."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def ordered(row: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a step as they are logged: the loss first, players that did not run left out.
    """
    ran = {name: value for name, value in row.items() if name.endswith("/ran")}
    absent = tuple(name.removesuffix("ran") for name, value in ran.items() if not value)
    line = {"loss": row["loss"]}
    for name, value in row.items():
        if not name.endswith("/ran") and not (absent and name.startswith(absent)):
            line[name] = value
    return line


def truncate_lines(path: pathlib.Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep the leading lines of a JSONL file that are complete and for which `keep(document)` is
    true.
    """
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as file:
        for line in file:
            try:
                wanted = line.endswith(b"\n") and keep(json.loads(line))
            except (ValueError, KeyError, TypeError):
                wanted = False
            if not wanted:
                break
            kept += len(line)
    if kept != path.stat().st_size:
        os.truncate(path, kept)


class MetricsLog:
    """Appends to the logs of a run, after cutting what a resumed run is going to write again.

    Everything is written by the caller's thread, so that a full disk is an error here (InputError)
    and not a silent gap.

    Args:
      folder: the run.
      stage: name of the stage that begins.
      order: names of all stages in order; lines of earlier stages stay.
      step: finished steps of this stage; its later lines are cut.
      say: is told in one line where there will be no TensorBoard events.
    """

    def __init__(
        self, folder: pathlib.Path, *, stage: str, order: tuple[str, ...], step: int,
        say: Callable[[str], None],
    ):  # fmt: skip
        self._folder, first = folder, order[0]
        self._stage = stage if len(order) > 1 else None
        place = {name: index for index, name in enumerate(order)}
        here = place[stage]

        def keep(line: Mapping[str, Any]) -> bool:
            at = place[line.get("stage", first)]
            return at < here or (at == here and line["step"] <= step)

        with self._reported():
            for name in ("metrics.jsonl", "times.jsonl"):
                truncate_lines(folder / name, keep)
            self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
            self._times = (folder / "times.jsonl").open("a", encoding="utf-8")
            self._board = _board(folder / "tensorboard" / stage, step, say)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl: step, loss, each term."""
        with self._reported():
            self._write(self._metrics, step, values)
            self._board.scalars(step, values)

    def times(self, step: int, values: Mapping[str, float]) -> None:
        """One line of times.jsonl: what differs between two equal runs."""
        with self._reported():
            self._write(self._times, step, values)

    def _write(self, file, step: int, values: Mapping[str, float]) -> None:
        line: dict[str, Any] = {"stage": self._stage} if self._stage else {}
        line |= {"step": int(step)} | {name: _number(value) for name, value in values.items()}
        file.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand everything to the operating system: a kill loses nothing of it."""
        with self._reported():
            self._metrics.flush()
            self._times.flush()
            self._board.flush()

    def close(self) -> None:
        """Close all files; what could not be written was reported by `flush` before a save."""
        for file in (self._metrics, self._times, self._board):
            with contextlib.suppress(OSError):
                file.close()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(self._folder / "metrics.jsonl", error) from error


def _board(folder: pathlib.Path, step: int, say: Callable[[str], None]) -> Any:
    if importlib.util.find_spec("tensorboardX") is None:
        say(f"{folder.name}: no TensorBoard events, as tensorboardX is not installed")
        return processes.Silent()
    return _Events(folder, step)


class _Events:
    """TensorBoard scalars; tensorboardX's own SummaryWriter would fail in a thread of its own."""

    def __init__(self, folder: pathlib.Path, step: int):
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._summary, self._pb = summary, event_pb2
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        kind = event_pb2.SessionLog  # type: ignore[attr-defined]
        start = kind(status=kind.START)
        # TensorBoard drops what an interrupted run wrote after the checkpoint of this one.
        self._add(step + 1, session_log=start)

    def _add(self, step: int, **content) -> None:
        event = self._pb.Event(step=step, wall_time=time.time(), **content)
        self._writer.write_event(event)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._add(step, summary=self._summary.scalar(name, float(value)))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
