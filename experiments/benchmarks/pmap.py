"""What `jax.pmap` costs on one device, and how many steps may be under way on several.

    python -m experiments.benchmarks.pmap
    python -m experiments.benchmarks.pmap --rounds 15 --json pmap.json

One device: the trainer's dispatch (state replicated once and donated) against the same step under
`jit`, and against what a plain use of `pmap` easily does: a state that is not donated, a state and
arrays that come from the host at every call; the first two also with a wait for every step. All
ways are measured in turn within one process, so on a busy machine their ratios count. Several host
devices: steps are enqueued without waiting, in a process that is ended when it does not come back.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks.field_stage import field_stage
from experiments.benchmarks.timing import compare
from jaxhead.app.flags import Arguments
from jaxhead.training.devices import replicate
from jaxhead.training.state import create_state, root_key, stream
from jaxhead.training.step import one_step
from jaxhead.training.stepping import Stepper
from jaxhead.training.system import AXIS_NAME, Shard

TOTAL = 1000
DISPATCH = 8
WAYS = (
    "jit, donated", "trainer: pmap, replicated once, donated",
    "trainer, 8 steps a dispatch", "pmap, not donated",
    "pmap, host arrays at every call", "jit, waited for", "trainer, waited for",
)  # fmt: skip


def one_device(
    *, rounds: int = 9, batch: int = 16384, log2_size: int = 14
) -> dict[str, dict[str, float]]:
    """{"ms", "cpu_ms"} per step of each of `WAYS` on one device: wall and processor time."""
    stage = field_stage(batch=batch, log2_size=log2_size)
    device = jax.local_devices()[0]
    state = create_state(stage, stage.system.init(stream(root_key(0, stage.name), "init")))
    # A big array that the step reads, as frames are: what a call must not move again.
    frames = np.zeros((64, 128, 128, 3), np.uint8)

    def step(state, frames, root):
        key = jax.random.fold_in(jax.random.wrap_key_data(root), state.step)
        shard = Shard(offset=jnp.int32(0) + frames[0, 0, 0, 0], count=batch, total=batch)
        made = stage.feeds["points"].sample({}, None, stream(key, "feed/points"), 0, shard)
        return one_step(stage, state, {}, {"points": made}, key, jnp.int32(TOTAL), 1)[0]

    root = jax.random.key_data(root_key(0, stage.name))
    steppers = {
        length: Stepper(stage, seed=0, devices=[device], length=length, state=state, frozen={})
        for length in (1, DISPATCH)
    }
    single = jax.jit(step, donate_argnums=0)
    mapped = jax.pmap(step, axis_name=AXIS_NAME, devices=[device])
    lead = jax.tree.map(lambda x: np.asarray(x)[None], (state, frames, root))
    held: dict[str, Any] = {
        "jit": jax.tree.map(lambda x: jnp.array(x, copy=True), state),
        "stays": replicate(state, [device]),
        "moves": lead[0],
    }
    there = jax.device_put((frames, root), device)
    placed = replicate((frames, root), [device])
    empty = {"points": {}}

    def plain():
        held["jit"] = single(held["jit"], *there)
        return held["jit"].step

    def undonated():
        held["stays"] = mapped(held["stays"], *placed)
        return held["stays"].step

    def moved():
        # Back on the host after every call, as a checkpoint or a log of the state easily does.
        held["moves"] = jax.device_get(mapped(held["moves"], *lead[1:]))
        return held["moves"].step

    def trainer(length):
        return lambda: steppers[length].dispatch(empty, {}, length, TOTAL)["loss"]

    def waited(call):
        return lambda: jax.block_until_ready(call())

    one, many = trainer(1), trainer(DISPATCH)
    calls = (plain, one, many, undonated, moved, waited(plain), waited(one))
    found = compare(dict(zip(WAYS, calls)), rounds=rounds, least=0.1)
    steps = {name: DISPATCH if call is many else 1 for name, call in zip(WAYS, calls)}
    return {
        name: {"ms": 1e3 * t.seconds / steps[name], "cpu_ms": 1e3 * t.cpu_seconds / steps[name]}
        for name, t in found.items()
    }


ENQUEUE = """
import sys, jax, numpy as np
from jax import lax
devices, steps = jax.local_devices(), int(sys.argv[1])
step = jax.pmap(lambda x: x + lax.pmean(x, "i"), axis_name="i", donate_argnums=0)
x = step(np.ones((len(devices), 1 << 16), np.float32))
for _ in range(steps):
    x = step(x)
jax.block_until_ready(x)
"""


def under_way(steps: int, *, devices: int = 2, seconds: float = 30.0) -> bool:
    """Whether so many pmapped steps can be enqueued on host devices without waiting for any."""
    options = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": options}
    try:
        command = [sys.executable, "-c", ENQUEUE, str(steps)]
        return not subprocess.run(
            command, env=environment, timeout=seconds, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        return False


def report(result: dict[str, Any]) -> str:
    """Markdown tables of the figures."""
    ways = result["ways"]
    wall, cpu = (max(ways[WAYS[0]][kind], 1e-9) for kind in ("ms", "cpu_ms"))
    lines = ["| one device | ms per step | of jit | CPU ms | of jit |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {row['ms']:.3f} | {row['ms'] / wall:.2f} "
        f"| {row['cpu_ms']:.3f} | {row['cpu_ms'] / cpu:.2f} |"
        for name, row in ways.items()
    ]
    lines += ["", "| steps enqueued on 2 host devices | |", "|---|---|"]
    lines += [f"| {steps} | {'finished' if ok else 'stalled'} |"
              for steps, ok in result["under_way"].items()]  # fmt: skip
    return "\n".join(lines)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("rounds", 9, "measurements of each way", lower_bound=1, flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def _run(arguments: Arguments) -> int:
    steps = (8, 24, 200)
    result = {
        "ways": one_device(rounds=arguments.flags.rounds),
        "under_way": {str(n): under_way(n) for n in steps},
    }
    print(report(result))
    if arguments.flags.json:
        pathlib.Path(arguments.flags.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    from experiments.benchmarks.flags import run_module

    sys.exit(run_module("experiments.benchmarks.pmap", __doc__, _define, _run))
