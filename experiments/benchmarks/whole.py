"""A whole training step, compiled in two ways, and a whole picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.subject import Subject
from experiments.benchmarks.timing import Timing, compare
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar.requests import make_requests
from jaxhead.systems.avatar.verbs import head_of, renderer
from jaxhead.training.devices import replicate
from jaxhead.training.state import stream
from jaxhead.training.step import one_step
from jaxhead.training.system import Shard

DISPATCH = 8
TOTAL = 1000


def jitted_step(subject: Subject):
    """The step of the trainer without its device axis: (state, frozen, arrays, root) -> state."""
    stage = subject.stage

    def step(state, frozen, arrays, root):
        key = jax.random.fold_in(root, state.step)
        batch = {}
        for name, feed in stage.feeds.items():
            shard = Shard(offset=jnp.int32(0), count=feed.batch, total=feed.batch)
            feed_key = stream(key, f"feed/{name}")
            batch[name] = feed.sample(arrays[name], None, feed_key, state.step, shard)
        return one_step(stage, state, frozen, batch, key, jnp.int32(TOTAL), 1)[0]

    return jax.jit(step, donate_argnums=0)


def step_times(subject: Subject, *, rounds: int = 7) -> dict[str, Any]:
    """The step under `jit` and as the trainer's pmapped dispatch of one and of eight steps.

    All ways run on one device and are measured in turn, from the same state on.
    """
    sampling = subject.config.sampling
    device = jax.local_devices()[0]
    step, stepper = jitted_step(subject), subject.stepper(DISPATCH)
    variables = subject.variables()
    frozen, arrays = jax.device_put((variables.frozen, {"rays": subject.arrays}), device)
    placed = replicate({"rays": subject.arrays}, [device])
    # Copied, since parameters and their averages begin as the same arrays and are donated.
    state = jax.tree.map(lambda x: jnp.array(x, copy=True), subject.state())
    held = {"state": jax.device_put(state, device), "root": subject.root()}

    def plain():
        held["state"] = step(held["state"], frozen, arrays, held["root"])
        return held["state"].step

    def dispatch(count):
        return lambda: stepper.dispatch(placed, {}, count, TOTAL)["loss"]

    counts = {"jit, one step a call": 1, "pmap, one step a dispatch": 1,
              f"pmap, {DISPATCH} steps a dispatch": DISPATCH}  # fmt: skip
    calls = dict(zip(counts, (plain, dispatch(1), dispatch(DISPATCH))))
    times = compare(calls, rounds=rounds, least=0.1)
    samples = sampling.frames * sampling.head_rays * sampling.samples
    return {
        "samples": samples,
        "torso_rays": sampling.frames * (sampling.head_rays + sampling.torso_rays),
        "ways": {
            name: _step_row(times[name], count, samples) for name, count in counts.items()
        },
    }


def _step_row(timing: Timing, count: int, samples: int) -> dict[str, float]:
    wall, cpu = timing.seconds / count, timing.cpu_seconds / count
    return {
        "ms": 1e3 * wall,
        "cpu_ms": 1e3 * cpu,
        "ns": 1e9 * wall / samples,
        "cpu_ns": 1e9 * cpu / samples,
        "compile_s": timing.first_seconds,
    }


def frame_times(subject: Subject, *, sizes: Sequence[int], rounds: int = 5) -> list[dict[str, Any]]:
    """Whole pictures of an untrained avatar, whose head is as large as the silhouettes allow."""
    inputs, head = subject.inputs, head_of(subject.inputs)
    rows = []
    for size in sizes:
        options = RenderOptions(split="train", frames=1, size=size)
        requests = make_requests(options, subject.spec, inputs, head, subject.config)
        render = renderer(subject.variables(), subject.frozen, requests.size, subject.config)
        timing = compare({"": lambda: render(requests, 0)}, rounds=rounds)[""]  # noqa: B023
        rows.append(
            {
                "size": size,
                "ms": 1e3 * timing.seconds,
                "cpu_ms": 1e3 * timing.cpu_seconds,
                "compile_s": timing.first_seconds,
            }
        )
    return rows
