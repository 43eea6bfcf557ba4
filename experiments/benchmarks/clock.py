"""Held-out quality of an avatar against the clock: when a training reaches so many decibels.

    python -m experiments.benchmarks.clock CAPTURE --steps 4000 --every 250
    python -m experiments.benchmarks.clock CAPTURE --steps 2000 --set sampling.head_rays=1024

The clock starts before the run is made, so that reading, compiling and the first frames' surfaces
count; rendering and scoring the held-out frames do not. What is scored is the average of the
weights that a run would keep, with sway as the capture measured it. At the end the time of a step
and of a picture, in steady state.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.flags import multi_override, run_module, setting_flags
from jaxhead.app.flags import Arguments
from jaxhead.captures.format import Capture, load_capture
from jaxhead.metrics.images import psnr
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar import verbs
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.systems.avatar.requests import make_requests
from jaxhead.training import loop
from jaxhead.training.runs import load_run


def held_out(capture: Capture, run: pathlib.Path, variables, config: AvatarConfig):
    """(mean PSNR over the held-out frames, seconds per picture after the first)."""
    loaded = load_run(run)
    spec, inputs = loaded.spec_as(AvatarSpec), loaded.inputs()
    head, frozen = verbs.head_of(inputs), verbs.frozen_arrays(inputs)
    requests = make_requests(RenderOptions(split="test"), spec, inputs, head, config)
    render = verbs.renderer(variables, frozen, spec.size, config)
    jax.block_until_ready(render(requests, 0))
    count, begin = len(requests.frame_ids), time.monotonic()
    shown = [render(requests, i)["rgb"] for i in range(count)]
    jax.block_until_ready(shown)
    seconds = (time.monotonic() - begin) / count
    truth = (capture.frame(int(frame)) / np.float32(255) for frame in requests.frame_ids)
    return float(np.mean([psnr(a, b) for a, b in zip(shown, truth)])), seconds


def measure(path: pathlib.Path, config: AvatarConfig, steps: int, every: int, tell) -> dict:
    """{"rows": [{"step", "clock", "psnr"}], "step_ms", "compile_s", "frame_ms", ...}."""
    config = dataclasses.replace(
        config, steps=steps, loop=dataclasses.replace(config.loop, sample_every=every)
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        run, begin, apart = pathlib.Path(folder) / "run", time.monotonic(), [0.0]
        with verbs.opened_recipe([path], run, config, 0) as (stages, _):
            capture = load_capture(path)

            def scored(stage, step, variables, folder):
                del stage, folder
                now = time.monotonic()
                if rows and rows[-1]["step"] == step:
                    return
                quality, seconds = held_out(capture, run, variables, config)
                row = {"step": step, "clock": now - begin - apart[0], "psnr": quality,
                       "frame_ms": 1e3 * seconds}  # fmt: skip
                rows.append(row)
                tell(f"| {step} | {row['clock']:.1f} | {quality:.2f} | {row['frame_ms']:.1f} |")
                apart[0] += time.monotonic() - now

            result = loop.train(
                stages, run, steps=steps, loop=config.loop, on_sample=scored,
                devices=jax.local_devices()[:1],
            )  # fmt: skip
    return {
        "rows": rows, "step_ms": 1e3 * result.seconds / steps, "compile_s": result.compile_seconds,
        "device": jax.devices()[0].device_kind, "size": list(capture.size),
    }  # fmt: skip


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("steps", 4000, "of the training", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("every", 250, "steps between scores", lower_bound=1, flag_values=values)
    setting_flags(values)


def _run(arguments: Arguments) -> int:
    given = arguments.flags
    config = multi_override(given.preset, given.set)
    print("| step | s by the clock | held-out dB | ms a picture |\n|---|---|---|---|", flush=True)

    def tell(line: str) -> None:
        print(line, flush=True)

    path = pathlib.Path(arguments.positionals[0])
    result = measure(path, config, given.steps, given.every, tell)
    sampling = config.sampling
    samples = sampling.frames * sampling.head_rays * sampling.samples
    print(
        f"{result['device']}, {result['size']}: {result['step_ms']:.2f} ms a step of {samples:,} "
        f"head samples, {result['compile_s']:.1f} s compiling"
    )
    if given.json:
        pathlib.Path(given.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(
        run_module("experiments.benchmarks.clock", __doc__, _define, _run, positionals=("CAPTURE",))
    )
