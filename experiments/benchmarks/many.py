"""Several subjects trained together against as many trainings one after the other.

    python -m experiments.benchmarks.many
    python -m experiments.benchmarks.many --subjects 8 --samples 262144
    python -m experiments.benchmarks.many ann bob --subjects 8 --preset insta --json many.json

Without captures it trains hash fields of the avatar's make that need no data; with captures,
avatars of them, taken in turn until there are enough subjects. Three programs are measured in
turn, in steady state: the ordinary step of one subject, which a run after another would take;
subjects in turns, a dispatch each; and subjects side by side under `vmap`. Compiling comes on top:
once where subjects train together, once per run where they do not (or once, from the compilation
cache, where their shapes agree).
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags

from experiments.benchmarks.field_stage import field_stage
from experiments.benchmarks.flags import multi_override, run_module, setting_flags
from experiments.benchmarks.timing import compare
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.systems.avatar.verbs import opened_recipe
from jaxhead.training.feeding import Feeding
from jaxhead.training.lanes import Lanes
from jaxhead.training.restoring import initial_variables
from jaxhead.training.state import create_state
from jaxhead.training.stepping import Stepper
from jaxhead.training.system import Stage

DISPATCH = 8
TOTAL = 1000
ALONE = "one after the other"
PER_RAY = 16


def measure(stages: Sequence[Stage], *, rounds: int = 5) -> dict[str, float]:
    """{way: seconds of a step of all subjects} on the first device.

    Args:
      stages: of the subjects, alike but for their arrays; their seeds are 0, 1, ...
      rounds: see `timing.compare`.
    """
    device, count = jax.local_devices()[:1], len(stages)
    seeds = range(count)
    variables = [initial_variables(stage, seed) for stage, seed in zip(stages, seeds)]
    states = [create_state(stage, v) for stage, v in zip(stages, variables)]
    own = Feeding(stages[0], device, DISPATCH, 0, {})
    single = Stepper(
        stages[0], seed=0, devices=device, length=DISPATCH, state=states[0],
        frozen=variables[0].frozen,
    )  # fmt: skip
    feeds = [Feeding(stage, None, DISPATCH, 0, {}) for stage in stages]
    arrays, rows = [feed.arrays for feed in feeds], [feed.example_rows() for feed in feeds]

    def alone():
        return single.dispatch(own.arrays, own.example_rows(), DISPATCH, TOTAL)

    def together(width: int):
        made = Lanes(
            stages[0], devices=device, width=width, length=DISPATCH, seeds=list(seeds),
            states=states, frozen=[v.frozen for v in variables],
        )  # fmt: skip
        made.bring(arrays)
        return lambda: made.dispatch(rows, [DISPATCH] * count, [TOTAL] * count)

    calls = {ALONE: alone, "in turns": together(1), "side by side": together(count)}
    found = compare(calls, rounds=rounds, least=0.2)
    each = {name: timing.seconds / DISPATCH for name, timing in found.items()}
    return {**each, ALONE: count * each[ALONE]}


def report(result: dict[str, Any]) -> str:
    """A Markdown table of the figures."""
    count, samples, seconds = result["subjects"], result["samples"], result["seconds"]
    lines = [
        f"{count} subjects, {samples} samples per subject and step, {result['device']}", "",
        "| | ms per step of all | million samples/s | throughput |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {name} | {1e3 * s:.2f} | {1e-6 * count * samples / s:.2f} "
        f"| {seconds[ALONE] / s:.2f} x |"
        for name, s in seconds.items()
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def avatars(captures: Sequence[str], count: int, samples: int, arguments: Arguments):
    """Stages of `count` avatars with so many head samples a step, of captures taken in turn."""
    config = multi_override(arguments.flags.preset, arguments.flags.set)
    frames = config.sampling.frames
    if samples % (PER_RAY * frames):
        raise UsageError(f"--samples {samples}: expected a multiple of {PER_RAY * frames}")
    rays = samples // (PER_RAY * frames)
    settings = [f"sampling.samples={PER_RAY}", f"sampling.head_rays={rays}",
                f"sampling.torso_rays={max(1, rays // 2)}"]  # fmt: skip
    config = multi_override(arguments.flags.preset, [*arguments.flags.set, *settings])
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stages = []
        for index, capture in enumerate(captures[:count]):
            run = folder / str(index)
            opened = opened_recipe([pathlib.Path(capture)], run, config, index, counted=True)
            stages.append(stack.enter_context(opened)[0][0])
        yield [stages[index % len(stages)] for index in range(count)]


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("subjects", 8, "how many", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "samples", 1 << 13, "per subject and step", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("rounds", 5, "measurements of each way", lower_bound=1, flag_values=values)
    setting_flags(values)


def _run(arguments: Arguments) -> int:
    count, samples = arguments.flags.subjects, arguments.flags.samples
    if arguments.positionals:
        made = avatars(arguments.positionals, count, samples, arguments)
    else:
        made = contextlib.nullcontext([field_stage(batch=samples)] * count)
    with made as stages:
        seconds = measure(stages, rounds=arguments.flags.rounds)
    device = jax.local_devices()[0].device_kind
    result = {"subjects": count, "samples": samples, "device": device, "seconds": seconds}
    print(report(result))
    if arguments.flags.json:
        pathlib.Path(arguments.flags.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(
        run_module(
            "experiments.benchmarks.many", __doc__, _define, _run, positionals=("[CAPTURE...]",)
        )
    )
