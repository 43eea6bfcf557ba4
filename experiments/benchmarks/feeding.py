"""Whether the device waits for the host: a pool that rotates, and clips read from shards.

    python -m experiments.benchmarks.feeding
    python -m experiments.benchmarks.feeding --capture talk --json f.json
    python -m experiments.benchmarks.feeding --size 128 --pool 64 --rotate-every 200

The loop is that of a training: refresh, rows, dispatch, and never more than two dispatches under
way. A thread notes when each dispatch is done. The device waited from there to the next dispatch,
where that came later: that time is counted, not estimated from totals. Beside it stands the same
number of steps on rows and arrays that stay. On a CPU the host's work also takes processor time
from the device, which shows in the milliseconds and not in the share.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import queue
import sys
import tempfile
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from experiments.benchmarks.flags import capture_flags, multi_override, run_module
from experiments.benchmarks.subject import open_subject, small_capture
from jaxhead.app.flags import Arguments
from jaxhead.files.errors import InputError
from jaxhead.training.driving import LoopConfig
from jaxhead.training.feeding import Feeding
from jaxhead.training.optimizers import OptimizerConfig, adam
from jaxhead.training.state import create_state
from jaxhead.training.stepping import Stepper
from jaxhead.training.system import Feed, Stage, System, Update, Variables

WIDTH = 16


class _Watch:
    """When dispatches were done; a thread waits for each in turn."""

    def __init__(self):
        self.done: list[float] = []
        self._queue: queue.Queue = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, outputs: Any) -> None:
        """Wait for these too."""
        self._queue.put(outputs)

    def _work(self) -> None:
        while (outputs := self._queue.get()) is not None:
            jax.block_until_ready(outputs)
            self.done.append(time.monotonic())

    def finish(self) -> list[float]:
        """The time at which each dispatch was done."""
        self._queue.put(None)
        self._thread.join()
        return self.done


def waited(begun: list[float], done: list[float]) -> float:
    """Seconds in which nothing was under way, from the first dispatch to the end of the last."""
    return sum(max(0.0, start - end) for start, end in zip(begun[1:], done))


def measure(stage: Stage, *, steps: int, still: bool) -> dict[str, float]:
    """Times of a training of `steps` steps.

    Args:
      stage: the recipe.
      steps: how many are measured, after one dispatch that is not.
      still: take rows and arrays once and keep them.

    Returns:
      "ms" per step, "waited" the share of the time without a dispatch under way, "refresh_ms" and
      "rows_ms" of the host per step, "longest_ms" the longest that the device waited at once.
    """
    devices, loop = jax.local_devices()[:1], LoopConfig()
    length = loop.steps_per_dispatch
    feeding = Feeding(stage, devices, length, 0, {})
    try:
        variables = stage.system.init(jax.random.key(0))
        stepper = Stepper(
            stage, seed=0, devices=devices, length=length,
            state=create_state(stage, variables), frozen=variables.frozen,
        )  # fmt: skip
        kept = feeding.example_rows()
        stepper.dispatch(feeding.arrays, kept, 1, steps)
        stepper.wait()
        feeding.open()
        return _timed(feeding, stepper, steps, length, loop.ahead, kept if still else None)
    finally:
        feeding.close()


def _timed(
    feeding: Feeding, stepper: Stepper, steps: int, length: int, ahead: int, kept: Any
) -> dict[str, float]:
    watch, pending = _Watch(), collections.deque()
    begun: list[float] = []
    refreshing = taking = 0.0
    step = 0
    while step < steps:
        ends = [steps, *((step // p + 1) * p for p in feeding.periods())]
        count = min(length, min(ends) - step)
        before = time.monotonic()
        if kept is None:
            feeding.refresh(step)
        between = time.monotonic()
        rows = feeding.rows(count) if kept is None else kept
        begun.append(time.monotonic())
        refreshing, taking = refreshing + between - before, taking + begun[-1] - between
        outputs = stepper.dispatch(feeding.arrays, rows, count, steps)
        watch.add(outputs)
        pending.append(outputs)
        if len(pending) > ahead:
            jax.block_until_ready(pending.popleft())
        step += count
    done = watch.finish()
    seconds = done[-1] - begun[0]
    gaps = [max(0.0, start - end) for start, end in zip(begun[1:], done)]
    return {
        "ms": 1e3 * seconds / steps,
        "waited": waited(begun, done) / seconds,
        "longest_ms": 1e3 * max(gaps, default=0.0),
        "refresh_ms": 1e3 * refreshing / steps,
        "rows_ms": 1e3 * taking / steps,
    }


def clip_stage(feed: Feed) -> Stage:
    """A small convolutional network that predicts landmarks of the feed "clips"; quick on purpose.
    """

    def init(key: jax.Array) -> Variables:
        first, second = jax.random.split(key)
        net = {
            "first": 0.1 * jax.random.normal(first, (4, 4, 3, WIDTH)),
            "second": 0.1 * jax.random.normal(second, (4, 4, WIDTH, WIDTH)),
            "out": jnp.zeros((WIDTH, 2)),
        }
        return Variables(params={"net": net})

    def loss(variables, outputs, batch, key, step):
        del outputs, key, step
        net, clips = variables.params["net"], batch["clips"]
        frames = clips["frames"].reshape(-1, *clips["frames"].shape[2:])
        x = frames.astype(jnp.float32) / 255
        for name in ("first", "second"):
            x = jax.lax.conv_general_dilated(
                x, net[name], (4, 4), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x)
        wanted = clips["landmarks"].mean(2).reshape(-1, 2) / frames.shape[1]
        return jnp.mean((x.mean((1, 2)) @ net["out"] - wanted) ** 2), ({}, variables.state)

    return Stage(
        "clips", System(init=init, updates=(Update("net", loss),)), {"clips": feed},
        {"net": adam(OptimizerConfig())},
    )  # fmt: skip


def both(name: str, stage: Stage, steps: int) -> dict[str, Any]:
    """The figures of a stage with its feed, and on rows and arrays that stay; told at once."""
    found = {"still": measure(stage, steps=steps, still=True),
             "fed": measure(stage, steps=steps, still=False)}  # fmt: skip
    print(f"{name}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def report(result: dict[str, Any]) -> str:
    """A Markdown table of the figures."""
    lines = [
        "| feed | ms per step | without the host | device waits | longest wait, ms "
        "| refresh, ms per step | rows, ms per step |",
        "|---" * 7 + "|",
    ]
    for name, row in result["feeds"].items():
        fed = row["fed"]
        lines.append(
            f"| {name} | {fed['ms']:.2f} | {row['still']['ms']:.2f} | {100 * fed['waited']:.1f} % "
            f"| {fed['longest_ms']:.1f} | {fed['refresh_ms']:.2f} | {fed['rows_ms']:.2f} |"
        )
    return "\n".join(lines)


def rays(capture: pathlib.Path, folder: pathlib.Path, values: Any) -> dict[str, Any]:
    """The avatar's feed with a pool that holds every frame, and with one that rotates."""
    result = {}
    config = multi_override(values.preset, values.set)
    for name, pool in (("rays, all frames resident", 1 << 20), ("rays, pool rotates", values.pool)):
        surface = dataclasses.replace(config.surface, pool=pool, rotate_every=values.rotate_every)
        config = dataclasses.replace(config, surface=surface)
        subject = open_subject(capture, folder / str(pool), config)
        try:
            result[name] = both(name, subject.stage, values.steps)
        finally:
            subject.geometry.close()
    return result


def clips(capture: pathlib.Path, folder: pathlib.Path, values: Any) -> dict[str, Any]:
    """The feed of clips with one and with several threads.

    Raises:
      InputError: the extra `corpora` is not installed.
    """
    from jaxhead.captures.shards import write_shards
    from jaxhead.training.corpora import Corpus, clip_feed

    made = write_shards([capture], folder / "shards", frames=values.clip_frames, stride=1)
    corpus, result = Corpus([made.folder]), {}
    for threads in (1, values.threads):
        feed = clip_feed(
            corpus, values.clips, seed=0, fields=("frames", "landmarks"), threads=threads
        )
        name = f"clips, {threads} threads"
        result[name] = both(name, clip_stage(feed), values.steps)
    return result


def _define(values: flags.FlagValues) -> None:
    capture_flags(values)
    for name, default, text in (
        ("frames", 120, "of the synthetic capture"),
        ("size", 64, "of its pictures"),
        ("pool", 40, "frames resident where it rotates"),
        ("rotate_every", 100, "steps between rotations, a quarter of the pool each"),
        ("steps", 400, "that are measured"),
        ("clips", 8, "of a batch"),
        ("clip_frames", 5, "of a clip"),
        ("threads", 8, "that decode clips"),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)


def _run(arguments: Arguments) -> int:
    values = arguments.flags
    result: dict[str, Any] = {"flags": values.flag_values_dict(), "feeds": {}}
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        capture = pathlib.Path(values.capture) if values.capture else small_capture(
            folder, frames=values.frames, size=values.size
        )
        result["feeds"] |= rays(capture, folder, values)
        try:
            result["feeds"] |= clips(capture, folder, values)
        except InputError as error:
            print(f"clips: {error}", file=sys.stderr)
    print(report(result))
    if values.json:
        pathlib.Path(values.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.benchmarks.feeding", __doc__, _define, _run))
