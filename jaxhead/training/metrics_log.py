"""What a run writes down: metrics.jsonl (the same for the same seed), times.jsonl and TensorBoard
events.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any


def _number(value: float) -> float | str:
    """A JSON number, or a string for what JSON has no number for."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def truncate_lines(path: pathlib.Path, keep) -> None:
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

    Args:
      folder: the run.
      stage: name of the stage that begins.
      order: names of all stages in order; lines of earlier stages stay.
      step: finished steps of this stage; its later lines are cut.
    """

    def __init__(self, folder: pathlib.Path, *, stage: str, order: tuple[str, ...], step: int):
        import tensorboardX

        self._stage = stage if len(order) > 1 else None
        place = {name: index for index, name in enumerate(order)}
        here = place[stage]

        def keep(line: Mapping[str, Any]) -> bool:
            at = place[line.get("stage", order[0])]
            return at < here or (at == here and line["step"] <= step)

        for name in ("metrics.jsonl", "times.jsonl"):
            truncate_lines(folder / name, keep)
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._times = (folder / "times.jsonl").open("a", encoding="utf-8")
        events = folder / "tensorboard" / stage
        self._board = tensorboardX.SummaryWriter(str(events), purge_step=step + 1)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl: step, loss, each term."""
        self._write(self._metrics, step, values)
        for name, value in values.items():
            self._board.add_scalar(name, float(value), step)

    def times(self, step: int, values: Mapping[str, float]) -> None:
        """One line of times.jsonl: what differs between two equal runs."""
        self._write(self._times, step, values)

    def _write(self, file, step: int, values: Mapping[str, float]) -> None:
        line: dict[str, Any] = {"stage": self._stage} if self._stage else {}
        line |= {"step": int(step)} | {name: _number(value) for name, value in values.items()}
        file.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand everything to the operating system: a kill loses nothing of it."""
        self._metrics.flush()
        self._times.flush()

    def close(self) -> None:
        """Flush and close all files."""
        self._metrics.close()
        self._times.close()
        self._board.close()
