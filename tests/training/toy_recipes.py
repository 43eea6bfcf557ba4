"""Small recipes for the tests of training, and a command line for tests that need a process.

python toy_recipes.py RUN [--steps N] [--devices D] [--recipe NAME] ...: trains, prints JSON.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import sys
import time

if __name__ == "__main__":  # before jax is imported
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    count = sys.argv[sys.argv.index("--devices") + 1] if "--devices" in sys.argv else "1"
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxhead.files.errors import InputError
from jaxhead.training import loop, processes
from jaxhead.training.cluster import Cluster
from jaxhead.training.optimizers import OptimizerConfig, adam
from jaxhead.training.system import Feed, Revision, Stage, System, Update, Variables


@contextlib.contextmanager
def compiled_once(folder):
    """Most tests run the same few programs: keep them in a folder."""
    from jax.experimental.compilation_cache import compilation_cache

    options = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.05,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    former = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        for name, value in former.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


POINTS = np.random.default_rng(0).normal(size=(512, 8)).astype(np.float32)
TRUE = np.random.default_rng(1).normal(size=(8, 1)).astype(np.float32)


def draw(arrays, rows, key, step, shard):
    """Points chosen per example, with a jitter per example."""
    del rows, step

    def one(key):
        where, jitter = jax.random.split(key)
        index = jax.random.randint(where, (), 0, arrays["x"].shape[0])
        return arrays["x"][index] + 0.1 * jax.random.normal(jitter, (8,))

    return {"x": jax.vmap(one)(shard.keys(key))}


def fit(*, batch=16, steps=40, poison=None, where="loss", metrics=True, optimizer=None, name="fit"):
    """One player, linear regression; NaN at the `poison`-th step in the loss or in a gradient."""

    def init(key):
        return Variables(
            params={"net": {"w": 0.1 * jax.random.normal(key, (8, 1)), "b": jnp.zeros((1,))}},
            frozen={"w": TRUE},
        )

    def loss(variables, outputs, batch, key, step):
        del outputs, key
        x, net = batch["points"]["x"], variables.params["net"]
        bad = jnp.where(step + 1 == (poison or -1), jnp.nan, 1.0)
        miss = x @ net["w"] + net["b"] - x @ variables.frozen["w"]
        value = jnp.mean(miss**2)
        if where == "loss":
            value = value * bad
        else:  # the value is finite, its gradient is not
            value = value + jnp.sum(net["b"] * 0) * 0 + _bad_gradient(net["b"].sum(), bad)
        terms = {"bias": jnp.sum(jnp.abs(net["b"])), "first": miss[0, 0]} if metrics else {}
        return value, (terms, variables.state)

    def validate(variables, batch, key):
        del key
        net = variables.params["net"]
        x = batch["x"]
        error = jnp.mean((x @ net["w"] + net["b"] - x @ variables.frozen["w"]) ** 2)
        return {"score": -error}

    feeds = {name: Feed(batch, draw, {"x": POINTS}) for name in ("points", "validate")}
    system = System(init=init, updates=(Update("net", loss),), validate=validate)
    optimizer = optimizer or adam(OptimizerConfig(rate=0.05, warmup=0.1))
    return Stage(name, system, feeds, {"net": optimizer}, steps=steps, ema={"net": 0.9})


@jax.custom_vjp
def _bad_gradient(x, bad):
    return x * 0.0


_bad_gradient.defvjp(lambda x, bad: (x * 0.0, bad), lambda bad, g: (g * (bad - 1.0), g * 0.0))


def stream(batch, process=0, processes=1):
    """`Feed.next` that goes through the points in a new order every epoch; this process's part."""
    local = batch // processes

    def following(position):
        epoch, at = position["epoch"], position["at"]
        order = np.random.default_rng([7, epoch]).permutation(len(POINTS))
        mine = order[at + process * local : at + (process + 1) * local]
        rows = {"x": POINTS[mine], "id": mine}
        at += batch
        if at + batch > len(POINTS):
            epoch, at = epoch + 1, 0
        return rows, {"epoch": epoch, "at": at}

    return following


def everything(*, batch=16, steps=40):
    """Two players, shared outputs, a grid, statistics, EMA, a stream, a refreshed and revised feed.
    """

    def init(key):
        first, second = jax.random.split(key)
        return Variables(
            params={
                "maker": {"w": 0.3 * jax.random.normal(first, (8, 4)), "layers": (jnp.ones(4),)},
                "critic": {"w": 0.3 * jax.random.normal(second, (4,))},
            },
            state={
                "mean": jnp.zeros(4), "grid": jnp.zeros((4, 4)), "count": jnp.int32(0),
                "seen": jnp.zeros(4, bool), "half": jnp.zeros(3, jnp.bfloat16),
            },
            frozen={"target": TRUE[:4, 0]},
        )  # fmt: skip

    def forward(variables, batch, key, step):
        del step
        maker, state = variables.params["maker"], variables.state
        made = jnp.tanh(batch["noise"]["x"] @ maker["w"]) * maker["layers"][0]
        made = made - state["mean"] + 0.01 * jax.random.normal(key, (4,))
        new = {**state, "mean": 0.9 * state["mean"] + 0.1 * jnp.mean(made, 0)}
        return {"made": made, "size": jnp.int32(4)}, new

    def maker_loss(variables, outputs, batch, key, step):
        del batch, key, step
        value = jnp.mean((outputs["made"] @ variables.params["critic"]["w"] - 1.0) ** 2)
        near = jnp.mean((outputs["made"] - variables.frozen["target"]) ** 2)
        return value + near, ({"adversarial": value, "near": near}, variables.state)

    def critic_loss(variables, outputs, batch, key, step):
        del key
        critic, state = variables.params["critic"], variables.state
        real = batch["rows"]["x"][:, :4] + jnp.float32(step) * 1e-3 + state["grid"][0]
        made = jax.lax.stop_gradient(outputs["made"])
        value = jnp.mean((real @ critic["w"] - 1) ** 2) + jnp.mean((made @ critic["w"]) ** 2)
        new = {**state, "count": state["count"] + 1, "half": state["half"] + jnp.bfloat16(0.5),
               "seen": state["seen"] | (jnp.max(batch["rows"]["x"][:, :4], 0) > 2)}  # fmt: skip
        return value, ({}, new)

    def refresh(variables, batch, key, step):
        del batch, step
        state = variables.state
        fresh = jax.random.uniform(key, (4, 4)) * jnp.sum(variables.params["maker"]["w"])
        return {**state, "grid": jnp.maximum(0.95 * state["grid"], fresh)}

    def rotated(arrays, step):
        return {**arrays, "x": np.roll(POINTS, step, axis=0)[:64]}

    def shifted(arrays, rows, key, step, shard):
        return {"x": draw(arrays, rows, key, step, shard)["x"] + arrays["shift"]}

    def measure(variables, arrays, last, say, stopped):
        say(f"measured again, {'the last time' if last else 'not for the last time'}")
        if stopped():
            return None
        way = np.asarray(variables.params["maker"]["w"]).mean(1)
        return {"shift": arrays["shift"] + (0.1 if last else 0.5) * way}

    def take(arrays, rows, key, step, shard):
        del arrays, key, step, shard
        return rows

    system = System(
        init=init, forward=forward, refresh=refresh, refresh_every=4,
        updates=(Update("maker", maker_loss), Update("critic", critic_loss, every=2, start=3)),
    )  # fmt: skip
    feeds = {
        "noise": Feed(
            batch, shifted, {"x": POINTS[:64], "shift": np.zeros(8, np.float32)},
            refresh=rotated, refresh_every=6,
        ),
        "rows": Feed(
            batch, take, start={"epoch": 0, "at": 0},
            next=stream(batch, jax.process_index(), jax.process_count()),
        ),
    }
    optimizers = {"maker": adam(OptimizerConfig(rate=0.02)), "critic": optax.adam(0.01)}
    revision = Revision("noise", lambda total: (max(1, round(0.4 * total)), total), measure)
    return Stage(
        "all", system, feeds, optimizers, steps=steps, ema={"maker": 0.95}, revision=revision
    )


def large():
    """`fit` with 256 KiB of params that do not compress."""
    import dataclasses

    stage = fit()

    def init(key):
        variables = stage.system.init(key)
        net = {**variables.params["net"], "big": jax.random.normal(key, (1 << 16,))}
        return variables.replace(params={"net": net})

    return dataclasses.replace(stage, system=dataclasses.replace(stage.system, init=init))


RECIPES = {"fit": fit, "everything": everything, "large": large}


def slowed(stage, seconds):
    """`everything` with a slow stream, to have time to be killed."""
    import dataclasses

    feed = stage.feeds["rows"]
    following = feed.next

    def slow(position):
        time.sleep(seconds)
        return following(position)

    feeds = {**stage.feeds, "rows": dataclasses.replace(feed, next=slow)}
    return dataclasses.replace(stage, feeds=feeds)


def stop_at(wanted):
    """Like a pre-emption when that step has been reached."""

    def on_sample(stage, step, variables, folder):
        if step == wanted:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_sample


def apart(stage):
    """A recipe that wrongly depends on the process."""
    import dataclasses

    def init(key):
        variables = stage.system.init(jax.random.fold_in(key, jax.process_index()))
        return variables

    return dataclasses.replace(stage, system=dataclasses.replace(stage.system, init=init))


def cut_short(stage):
    """A recipe whose process gets a signal while it measures for the first time."""
    import dataclasses

    def measure(variables, arrays, last, say, stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        return stage.revision.measure(variables, arrays, last, say, stopped)

    revision = dataclasses.replace(stage.revision, measure=measure)
    return dataclasses.replace(stage, revision=revision)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--recipe", default="fit")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--save", type=int, default=0)
    parser.add_argument("--cache", default="")
    parser.add_argument("--limit", type=int, default=0, help="most bytes of a written file")
    parser.add_argument("--coordinator")
    parser.add_argument("--distributed", action="store_true")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--save-seconds", type=float, default=0)
    parser.add_argument("--stop", type=int, default=0, help="SIGTERM at this step")
    parser.add_argument("--apart", action="store_true", help="process 1 begins from other params")
    parser.add_argument("--cut", action="store_true", help="SIGTERM in the first revision")
    flags = parser.parse_args()
    if flags.limit:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (flags.limit, flags.limit))
    config = loop.LoopConfig(
        steps_per_dispatch=3, log_every=1, save_every_steps=flags.save,
        save_every_seconds=flags.save_seconds, sample_every=flags.stop,
    )  # fmt: skip
    cache = compiled_once(flags.cache) if flags.cache else contextlib.nullcontext()
    cluster = None
    if flags.coordinator or flags.distributed:
        cluster = Cluster(flags.coordinator, flags.processes, flags.process)
    try:
        with cache, processes.joined(cluster):
            stage = RECIPES[flags.recipe]()
            if flags.slow:
                stage = slowed(stage, flags.slow)
            if flags.apart:
                stage = apart(stage)
            if flags.cut:
                stage = cut_short(stage)
            result = loop.train(
                [stage], flags.run, steps=flags.steps, minutes=flags.minutes, loop=config,
                on_sample=stop_at(flags.stop) if flags.stop else None,
            )  # fmt: skip
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"step": result.step, "interrupted": result.interrupted, "loss": result.loss}))


if __name__ == "__main__":
    main()
