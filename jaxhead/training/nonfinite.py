"""A step whose loss or gradient is not finite: what is left of it in the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jaxhead.files import atomic
from jaxhead.training.runs import Run

FILE = "nonfinite.json"


def first_bad(row: Mapping[str, float]) -> str:
    """Name of the first metric of a step that is not finite, "a gradient" where all are.

    Sums ("loss") come last in the search: a single term says more.
    """
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    bad.sort(key=lambda name: (name == "loss", name.endswith("/loss")))
    return bad[0] if bad else "a gradient"


def dump(
    run: Run,
    stage: str,
    step: int,
    row: Mapping[str, float],
    *,
    positions: Mapping[str, Any],
    layout: Mapping[str, int],
) -> None:
    """Write what a replay needs into the run.

    Args:
      run: the run.
      stage: its name; step: the one that was not finite, from 1.
      row: {metric: value} of that step.
      positions: of the feeds' streams.
      layout: devices and processes.
    """
    values = {name: v if math.isfinite(v) else str(v) for name, v in row.items()}
    atomic.write_json(run.path / FILE, {
        "stage": stage, "step": step, "seed": run.seed, "metric": first_bad(row),
        "values": values, "feeds": dict(positions), "layout": dict(layout),
    })  # fmt: skip
