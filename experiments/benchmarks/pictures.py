"""Pictures a second of a trained run, as `jaxhead render` makes them but for writing the video.

    python -m experiments.benchmarks.pictures run
    python -m experiments.benchmarks.pictures run --split all --orbit 30 --rounds 5 --json fps.json

The first picture, which compiles, does not count. A trained head is faster than the fresh one of
`hot_paths`: its cells are emptier, and rays end where it is opaque. Processor time is that of all
threads of the process. Runs on whatever device JAX chose, with the core of jaxhead alone.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import jax

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments
from jaxhead.app.runs import system_of_run
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions


def measure(run_path: str, options: RenderOptions, *, rounds: int) -> dict[str, Any]:
    """{"device", "size", "pictures", "rounds": [{"fps", "ms", "cpu_ms"}]} of a run.

    Raises:
      InputError: no run there, or fewer than two pictures to make.
    """
    system, rows, stream = system_of_run(run_path), [], None
    for _ in range(rounds):
        stream = system.render_stream(run_path, options)
        if stream.count < 2:
            raise InputError(f"{run_path}: {stream.count} pictures to make, expected at least two")
        pictures = iter(stream.frames)
        next(pictures)
        begin, cpu = time.perf_counter(), time.process_time()
        made = sum(1 for _ in pictures)
        each = (time.perf_counter() - begin) / made
        used = (time.process_time() - cpu) / made
        rows.append({"fps": 1 / each, "ms": 1e3 * each, "cpu_ms": 1e3 * used})
    assert stream is not None
    device = jax.devices()[0].device_kind
    return {"device": device, "size": stream.size, "pictures": stream.count - 1, "rounds": rows}


def report(result: dict[str, Any]) -> str:
    """The result of `measure` as Markdown."""
    height, width = result["size"]
    lines = [
        f"{result['device']}, {width} × {height}, {result['pictures']} pictures a round.", "",
        "| round | pictures a second | ms | CPU ms |", "|---|---|---|---|",
    ]  # fmt: skip
    rows = [(str(place + 1), row) for place, row in enumerate(result["rounds"])]
    middle = {
        name: statistics.median(row[name] for _, row in rows) for name in ("fps", "ms", "cpu_ms")
    }
    lines += [
        f"| {name} | {row['fps']:.2f} | {row['ms']:.1f} | {row['cpu_ms']:.1f} |"
        for name, row in [*rows, ("median", middle)]
    ]
    return "\n".join(lines)


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_enum("split", "test", ["test", "train", "all"], "which", flag_values=values)
    flags.DEFINE_float("orbit", None, "degrees of a turn of the camera", flag_values=values)
    flags.DEFINE_integer("rounds", 3, "how often", lower_bound=1, flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def run(arguments: Arguments) -> int:
    """Measures as the flags say and prints the table."""
    flags = arguments.flags
    options = RenderOptions(split=flags.split, orbit_degrees=flags.orbit)
    result = measure(arguments.positionals[0], options, rounds=flags.rounds)
    print(report(result))
    if flags.json:
        write_json(flags.json, result)
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.pictures"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("RUN",)))
