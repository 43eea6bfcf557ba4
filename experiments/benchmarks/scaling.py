"""Step time over devices and processes, and what all-reduce would take on real links.

    python -m experiments.benchmarks.scaling
    python -m experiments.benchmarks.scaling --batch 16384 --log2-size 16 --json scaling.json

Every layout trains the same global batch, each in processes of their own, several times in turn.
Host devices share this machine's cores, so the efficiency here says what splitting costs, not what
more hardware gains. The bytes are counted in the lowered program. The table of links is a formula,
not a measurement: all-reduce over N devices moves 2 (N - 1) / N times the bytes over each link.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.field_stage import field_stage
from jaxhead.app.flags import Arguments
from jaxhead.files.errors import InputError
from jaxhead.training.lowering import export_step
from jaxhead.training.system import Stage

LAYOUTS = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2))
"""(processes, devices of each)."""
LINKS = {
    "NVLink 4 (H100, H200), 450 GB/s": 450e9,
    "ICI of a TPU v5p, 600 GB/s": 600e9,
    "ICI of a TPU v5e, 200 GB/s": 200e9,
    "Ethernet 100 Gb/s": 12.5e9,
    "Ethernet 10 Gb/s": 1.25e9,
}
"""Bytes per second and direction out of one device, as the makers state them; not measured."""
_BYTES = {"f32": 4, "i32": 4, "ui32": 4, "bf16": 2, "f16": 2, "i1": 1}
_REDUCED = re.compile(r"all_reduce.*?-> \(?(tensor<[^)\n]*)", re.DOTALL)
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")


def reduced_bytes(stage: Stage) -> int:
    """Bytes that a device gives to all-reduce in one step, from the program for two devices."""
    text = export_step(stage, platforms=("cpu",), devices=jax.local_devices()[:2])["step"]
    total = 0
    for found in _REDUCED.findall(text.mlir_module()):
        for shape, kind in _TENSOR.findall(found):
            sizes = [int(size) for size in shape.split("x") if size]
            total += int(np.prod(sizes)) * _BYTES[kind]
    return total


def all_reduce_seconds(size: float, devices: int, bandwidth: float) -> float:
    """2 (N - 1) / N * bytes / bandwidth."""
    return 2 * (devices - 1) / devices * size / bandwidth


def measure(processes: int, devices: int, *, batch: int, log2_size: int, seconds: float) -> float:
    """Seconds per step of one layout, in processes of its own.

    Raises:
      InputError: a process failed.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    options = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": options}
    job = [
        subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.scaling_worker", address,
             str(processes), str(process), str(batch), str(log2_size), str(seconds)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for process in range(processes)
    ]  # fmt: skip
    ended = [process.communicate(timeout=600) for process in job]
    for process, (_, error) in zip(job, ended):
        if process.returncode:
            raise InputError(f"{processes} x {devices}: {error.strip().splitlines()[-1]}")
    return float(ended[0][0].strip().splitlines()[-1])


def report(result: dict[str, Any]) -> str:
    """Markdown tables of the figures."""
    base = result["layouts"]["1 x 1"]
    lines = ["| processes x devices | ms per step | efficiency of 1 x 1 |", "|---|---|---|"]
    for name, ms in result["layouts"].items():
        lines.append(f"| {name} | {ms:.2f} | {base / ms:.2f} |")
    size = result["bytes"]
    lines += ["", f"All-reduced per step: {size / 1e6:.2f} MB; by the formula, in ms:", ""]
    counts = (2, 8, 64)
    lines += ["| link | " + " | ".join(f"{n} devices" for n in counts) + " |",
              "|---" * (len(counts) + 1) + "|"]  # fmt: skip
    for name, bandwidth in LINKS.items():
        row = (f"{1e3 * all_reduce_seconds(size, n, bandwidth):.3f}" for n in counts)
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _define(values: flags.FlagValues) -> None:
    for name, default, text in (
        ("batch", 8192, "points of a step over all devices"),
        ("log2_size", 14, "entries of a table, as a power of two"),
        ("rounds", 3, "times that every layout is measured, in turn"),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)
    flags.DEFINE_float("seconds", 2.0, "length of one measurement", flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def _run(arguments: Arguments) -> int:
    values = arguments.flags
    size = {"batch": values.batch, "log2_size": values.log2_size}
    taken: dict[str, list[float]] = {}
    for _ in range(values.rounds):
        for processes, devices in LAYOUTS:
            found = measure(processes, devices, seconds=values.seconds, **size)
            taken.setdefault(f"{processes} x {devices}", []).append(1e3 * found)
    result = {
        "layouts": {name: statistics.median(found) for name, found in taken.items()},
        "bytes": reduced_bytes(field_stage(**size)),
    }
    print(report(result))
    if values.json:
        pathlib.Path(values.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    from experiments.benchmarks.flags import run_module

    sys.exit(run_module("experiments.benchmarks.scaling", __doc__, _define, _run))
