"""Nanoseconds per sample of every hot path of the avatar, and what bounds it, in one run.

    python -m experiments.benchmarks.hot_paths
    python -m experiments.benchmarks.hot_paths --capture talk --json speed.json

Without `--capture` a small synthetic one is made. The table gives wall time and, on a CPU,
processor time of all threads (what one core would need), the work that the shapes imply, and which
resource would alone need the largest part of the time at the rates measured in the same run. A part
well under one half means: neither arithmetic nor memory, but dispatch, dependences or latency.
Runs on whatever device JAX chose, with the core of jaxhead alone.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
from typing import Any

import jax

from experiments.benchmarks import paths
from experiments.benchmarks.accuracy import volume_error, volume_table
from experiments.benchmarks.flags import capture_flags, multi_override, run_module
from experiments.benchmarks.subject import Subject, open_subject, small_capture
from experiments.benchmarks.timing import Timing, bound, compare, machine_rates
from experiments.benchmarks.whole import frame_times, step_times
from jaxhead.app.flags import Arguments
from jaxhead.files.atomic import write_json

SIZES = (128, 256, 512)
WHAT = {
    "products": "matrix products", "arithmetic": "arithmetic", "streamed": "memory in order",
    "looked_up": "look-ups", "added": "scattered additions",
}  # fmt: skip


def measure(subject: Subject, *, rounds: int = 7, sizes=SIZES) -> dict[str, Any]:
    """All figures of one subject, ready for JSON.

    Args:
      subject: what is measured on.
      rounds: measurements of each call; the median counts.
      sizes: sides of the rendered pictures.
    """
    rates = machine_rates(rounds=rounds)
    samples = paths.draw_samples(subject)
    rows: list[dict[str, Any]] = []
    groups = (paths.surface_paths, paths.hash_paths, paths.field_paths, paths.ray_paths)
    for group in groups:
        found = group(subject, samples)
        times = compare({path.name: path.call for path in found}, rounds=rounds)
        rows += [_row(path, times, found, rates) for path in found]
    return {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "rates": rates,
        "paths": rows,
        "volume": volume_error(subject, samples),
        "step": step_times(subject, rounds=rounds),
        "frames": frame_times(subject, sizes=sizes, rounds=rounds),
    }


def _row(path: paths.Path, times: dict[str, Timing], found, rates) -> dict[str, Any]:
    timing = times[path.name]
    each = timing.seconds / path.count
    name, share = bound(path.work, each, rates)
    row = {
        "name": path.name,
        "samples": path.count,
        "ns": 1e9 * each,
        "cpu_ns": 1e9 * timing.cpu_seconds / path.count,
        "flop": path.work.products + path.work.arithmetic,
        "bytes": path.work.streamed + 4 * path.work.looked_up + 8 * path.work.added,
        "bound": name if share else None,
        "share": share,
    }
    if path.against:
        other = next(p for p in found if p.name == path.against)
        row["against"], row["ratio"] = path.against, times[other.name].seconds / other.count / each
    return row


def report(result: dict[str, Any]) -> str:
    """The result of `measure` as Markdown."""
    lines = [
        f"Device: {result['device']}, jax {result['jax']}. Rates measured in this run, per second:",
        ", ".join(f"{WHAT[name]} {rate:.3g}" for name, rate in result["rates"].items())
        + " (FLOP, FLOP, bytes, reads, additions).",
        "",
        "| per sample | ns | CPU ns | FLOP | bytes | largest floor | times faster |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["paths"]:
        floor = f"{WHAT[row['bound']]} {row['share']:.0%}" if row["bound"] else "–"
        ratio = f"{row['ratio']:.1f} × {row['against']}" if "ratio" in row else ""
        lines.append(
            f"| {row['name']} | {row['ns']:,.1f} | {_or_dash(row['cpu_ns'])} | "
            f"{_or_dash(row['flop'])} | {_or_dash(row['bytes'])} | {floor} | {ratio} |"
        )
    step, frames = result["step"], result["frames"]
    lines += ["", "| training step | ms | CPU ms | ns per head sample | CPU ns | compile s |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, row in step["ways"].items():
        lines.append(
            f"| {name} | {row['ms']:.2f} | {_or_dash(row['cpu_ms'])} | {row['ns']:,.0f} | "
            f"{_or_dash(row['cpu_ns'])} | {row['compile_s']:.1f} |"
        )
    lines += [
        f"{step['samples']:,} head samples and {step['torso_rays']:,} torso rays a step.", "",
        "| picture | ms | CPU ms | frames/s | compile s |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in frames:
        lines.append(
            f"| {row['size']} × {row['size']} | {row['ms']:.1f} | {_or_dash(row['cpu_ms'])} | "
            f"{1e3 / row['ms']:.1f} | {row['compile_s']:.1f} |"
        )
    return "\n".join([*lines, "", volume_table(result["volume"])])


def _or_dash(value: float) -> str:
    return f"{value:,.0f}" if value else "–"


def _define(values) -> None:
    from absl import flags

    capture_flags(values)
    flags.DEFINE_integer("frames", 24, "of the synthetic capture", flag_values=values)
    flags.DEFINE_integer("size", 128, "of the synthetic capture", flag_values=values)
    flags.DEFINE_integer("rounds", 7, "measurements of each call", flag_values=values)


def run(arguments: Arguments) -> int:
    """Measures as the flags say and prints the tables."""
    flags = arguments.flags
    config = multi_override(flags.preset, flags.set)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        capture = flags.capture or small_capture(folder, frames=flags.frames, size=flags.size)
        subject = open_subject(capture, folder, config)
        try:
            result = measure(subject, rounds=flags.rounds)
        finally:
            subject.geometry.close()
    print(report(result))
    if flags.json:
        write_json(flags.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.benchmarks.hot_paths", __doc__, _define, run))
