"""How much faster the fast variant of adnerf renders than the published networks at equal size.

    python -m experiments.benchmarks.adnerf_speed RUN --size 128

RUN is a trained run of the fast variant, whose frames are rendered. The published networks get the
same capture's poses, speech and size, with weights that were never trained, which changes nothing
about their work: 64 + 128 samples on every ray, of head and torso. Both take turns in one process.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.flags import run_module
from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions


def measure(run: pathlib.Path, *, size: int | None, rounds: int, frames: int) -> dict[str, Any]:
    """{"size", "fast" seconds per picture, "published", "ratio"}, medians over the rounds.

    Args:
      run: of the fast variant.
      size: side of the pictures, None for the capture's.
      rounds: turns of each variant: `frames` pictures of the fast one, one of the other.
      frames: see rounds.

    Raises:
      InputError: not a run of the fast variant.
    """
    from jaxhead.systems.adnerf import nerf_verbs, requests, verbs

    opened = verbs.open_run(run)
    if opened.config.field != "hash":
        raise InputError(f"{run}: field={opened.config.field}, expected a run with field=hash")
    clip = requests.make_clip(
        RenderOptions(split="all", size=size), opened.spec, opened.inputs, opened.config.audio
    )
    published = dataclasses.replace(opened.config, field="nerf")
    stage = nerf_verbs.stages(published, opened.spec, opened.inputs, None)[-1]
    slow = nerf_verbs.renderer(
        stage.system.init(jax.random.key(0)), opened.spec, opened.inputs, published, clip.size
    )
    fast, asked = opened.renderer(clip.size), opened.requests(clip)
    slowly = nerf_verbs.requests(clip, opened.spec, opened.inputs, published)
    seconds: dict[str, list[float]] = {"fast": [], "published": []}
    _timed(fast, [next(asked)])
    _timed(slow, [next(slowly)])
    for _ in range(rounds):
        seconds["fast"].append(_timed(fast, [next(asked) for _ in range(frames)]) / frames)
        seconds["published"].append(_timed(slow, [next(slowly)]))
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {
        "size": list(clip.size), **medians, "ratio": medians["published"] / medians["fast"],
        "device": jax.devices()[0].device_kind,
    }  # fmt: skip


def _timed(render, requests: list[dict[str, np.ndarray]]) -> float:
    start = time.perf_counter()
    for request in requests:
        jax.block_until_ready(render(request))
    return time.perf_counter() - start


def report(result: dict[str, Any]) -> str:
    """One line."""
    height, width = result["size"]
    return (
        f"{width} x {height} on {result['device']}: published {result['published']:.3g} s a "
        f"picture, fast {result['fast']:.3g} s, {result['ratio']:.0f} times faster"
    )


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_integer("size", None, "side of the pictures", flag_values=values)
    flags.DEFINE_integer("rounds", 3, "turns", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("frames", 5, "fast pictures a turn", lower_bound=1, flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def run(arguments: Arguments) -> int:
    """Measures as the flags say and prints a line."""
    flags = arguments.flags
    prepare_jax(None)
    result = measure(
        pathlib.Path(arguments.positionals[0]), size=flags.size, rounds=flags.rounds,
        frames=flags.frames,
    )  # fmt: skip
    print(report(result))
    if flags.json:
        write_json(flags.json, result)
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.adnerf_speed"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("RUN",)))
