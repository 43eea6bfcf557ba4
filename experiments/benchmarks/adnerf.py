"""AD-NeRF's training step and a rendered chunk, ours and plain PyTorch in turn, same weights.

    python -m experiments.benchmarks.adnerf
    python -m experiments.benchmarks.adnerf --rays 512 --rounds 5 --threads 1 --json adnerf.json
    python -m experiments.benchmarks.adnerf --run run

Head fields of the published size, 64 + 128 samples, one code, random pixels of a 450 x 450 frame.
A step is loss, gradient and Adam at rate 0, so that the weights stay; a chunk is what a picture
needs. Two states of the fields: "fresh" as initialised; "surface" the same with densities that are
steep and half of them positive, as a trained field's are. With `--run` a third, "trained": the head
of a run of the published networks, its camera, a training frame and that frame's sound. Needs
PyTorch beside the package.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments
from jaxhead.files.errors import InputError
from jaxhead.networks.torch_layers import to_published
from jaxhead.rendering.frames import render_in_chunks
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.adnerf import nerf_model as model
from jaxhead.systems.adnerf.nerf_config import NerfConfig
from jaxhead.systems.adnerf.nerf_errors import squared_errors
from jaxhead.systems.adnerf.nerf_stages import part_adams
from jaxhead.systems.adnerf.rays import camera_rays

SIDE, FOCAL, BOUNDS = 450, 1100.0, (0.5679, 1.1679)
STEEP = 100.0
TORCH_CHUNK = 1024


def scene(rays: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rays, what stands behind them, targets and a code."""
    random = np.random.default_rng(seed)
    first = random.integers(0, SIDE * SIDE - rays)
    pixels = np.stack(np.divmod(random.permutation(SIDE * SIDE)[:rays], SIDE), -1)
    rows = np.stack(np.divmod(np.arange(first, first + rays), SIDE), -1)
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = 0.77
    camera = jnp.array([FOCAL, SIDE / 2, SIDE / 2])
    made = {"code": np.float32(random.normal(size=64)), "bounds": np.float32(BOUNDS)}
    made |= _rays(camera, jnp.asarray(pose), step=pixels, chunk=rows)
    return made | {k: np.float32(random.random((rays, 3))) for k in ("behind", "target")}


def _rays(camera, pose, **pixels: np.ndarray) -> dict[str, np.ndarray]:
    found = {}
    for name, where in pixels.items():
        origins, directions = map(np.array, camera_rays(camera, pose, where))
        found |= {f"{name}/origins": origins, f"{name}/directions": directions}
    return found


def scene_of_run(
    path: str, rays: int, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `scene` gives, of the first training frame of a run, and its head's two fields.

    Raises:
      InputError: not a run of the published networks' size, or without its capture.
    """
    from jaxhead.systems.adnerf import requests, verbs
    from jaxhead.systems.adnerf.nerf_feed import frozen_arrays

    opened = verbs.open_run(path)
    config, capture = opened.config, opened.capture
    if config.field != "nerf" or config.nerf.field.width != 256 or config.nerf.audio.codes != 64:
        raise InputError(f"{path}: expected a run with field=nerf of the published size")
    if capture is None:
        raise InputError(f"{path}: its capture was not found")
    clip = requests.make_clip(
        RenderOptions(split="train", frames=1), opened.spec, opened.inputs, config.audio
    )
    asked = jax.tree.map(jnp.asarray, next(opened.requests(clip)))
    frozen = frozen_arrays(opened.inputs, config.nerf)
    head = opened.variables.params[model.HEAD]
    smooth = bool(opened.variables.state["smoothing"] > 0)
    code = jax.jit(functools.partial(model.audio_code, config=config.nerf, attention=smooth))(
        head, asked["audio"]
    )
    height, width = capture.size
    random = np.random.default_rng(seed)
    first = height * width // 2 - rays // 2
    pixels = np.stack(np.divmod(random.permutation(height * width)[:rays], width), -1)
    rows = np.stack(np.divmod(np.arange(first, first + rays), width), -1)
    made = {"code": np.array(code), "bounds": frozen["bounds"]}
    made |= _rays(asked["camera"], asked["camera_to_world"], step=pixels, chunk=rows)
    at = pixels[:, 0], pixels[:, 1]
    frame = capture.frame(int(opened.inputs["train"][0]))
    for name, picture in (("behind", frozen["background"]), ("target", frame)):
        made[name] = picture[at] / np.float32(255)
    return made, {name: jax.tree.map(np.array, head[name]) for name in ("coarse", "fine")}


def fields(
    config: NerfConfig, given: dict[str, np.ndarray], *, surface: bool, seed: int = 0
) -> dict[str, Any]:
    """Parameters of both fields."""
    params = jax.jit(lambda key: model.init_fields(key, config.field, 64))(jax.random.key(seed))
    params = jax.tree.map(np.array, params)
    if surface:
        points = np.float32([given["step/origins"] + z * given["step/directions"]
                             for z in np.linspace(*BOUNDS, 8)])[:, :128]  # fmt: skip
        for net in params.values():
            layer = net["alpha_linear"]
            found = jax.jit(lambda p, x: _densities(p, x, given, config))(net, points)
            layer["bias"] -= np.float32(np.median(found))
            layer["kernel"], layer["bias"] = STEEP * layer["kernel"], STEEP * layer["bias"]
    return params


def _densities(params, points, given, config):
    from jaxhead.encodings.frequency import frequency
    from jaxhead.networks import nerf_mlp

    views = jnp.zeros((points.shape[0], 27))
    field, views = nerf_mlp.conditioned(params, given["code"], views, points=63)
    return nerf_mlp.raw_values(field, frequency(points, bands=10), views)[1]


def ours(config: NerfConfig, params, given) -> dict[str, Callable[[], Any]]:
    """{"step", "chunk"}: calls of compiled functions."""
    optimizer = part_adams({name: lambda count: jnp.float32(0) for name in ("coarse", "fine")})
    bounds = jnp.asarray(given["bounds"])

    @jax.jit
    def step(params, state, given, key):
        def loss(params):
            rays = model.Rays(given["step/origins"], given["step/directions"], bounds)
            behind = (given["behind"],) * 2
            return sum(squared_errors(
                params, given["code"], rays, behind, given["target"], config, key=key
            ))  # fmt: skip

        value, slopes = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(slopes, state)
        return jax.tree.map(jnp.add, params, change), state, value

    @jax.jit
    def chunk(params, given):
        def shown(part):
            rays = model.Rays(part["origins"], part["directions"], bounds)
            found = model.shown_layers(params, given["code"], rays, config)
            return found.foreground + found.left[:, None] * part["behind"]

        parts = {k: given[f"chunk/{k}"] for k in ("origins", "directions")}
        parts["behind"] = given["behind"]
        return render_in_chunks(shown, parts, model.rays_together(config, pictures=True))

    params, given = jax.tree.map(jnp.asarray, (params, given))
    state, key = optimizer.init(params), jax.random.key(0)
    return {
        "step": lambda: jax.block_until_ready(step(params, state, given, key))[2],
        "chunk": lambda: jax.block_until_ready(chunk(params, given)),
    }


def theirs(config: NerfConfig, params, given, threads: int) -> dict[str, Callable[[], Any]]:
    """The same in PyTorch."""
    import torch

    from experiments.benchmarks.adnerf_torch import Field, render

    torch.set_num_threads(threads)
    nets = [Field(64), Field(64)]
    for net, part in zip(nets, ("coarse", "fine")):
        state = {k: torch.tensor(np.array(v)) for k, v in to_published(params[part]).items()}
        net.load_state_dict(state)
    optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], lr=0.0)
    there = {name: torch.tensor(value) for name, value in given.items()}
    sampling = config.sampling

    def chunk(name: str, start: int, jitter: bool):
        part = slice(start, start + TORCH_CHUNK)
        rays = there[f"{name}/origins"][part], there[f"{name}/directions"][part]
        return render(
            nets, rays, there["behind"][part], there["code"], there["bounds"],
            coarse=sampling.coarse, fine=sampling.fine, jitter=jitter,
        )  # fmt: skip

    def step():
        starts = range(0, len(there["target"]), TORCH_CHUNK)
        passes = [torch.cat(found) for found in zip(*(chunk("step", i, True) for i in starts))]
        loss = sum(((found - there["target"]) ** 2).mean() for found in passes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def picture():
        with torch.no_grad():
            starts = range(0, len(there["target"]), TORCH_CHUNK)
            return torch.cat([chunk("chunk", i, False)[1] for i in starts]).numpy()

    return {"step": step, "chunk": picture}


def measure(
    rays: int, rounds: int, threads: int, *, cpu: bool = False, run: str | None = None,
    seed: int = 0, tell: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """A row per state of the fields (of `run` alone, where there is one) and "step" or "chunk":
    seconds of both, their ratio, how far the results differ; `tell` gets a line for each as soon as
    it is there.
    """
    config, given, states = NerfConfig(), scene(rays, seed), ["fresh", "surface"]
    trained: dict[str, Any] = {}
    if run is not None:
        states = ["trained"]
        given, trained = scene_of_run(run, rays, seed)
    clock = time.process_time if cpu else time.perf_counter
    tell("| fields | what | ours | PyTorch | ratio | largest difference |")
    tell("|---" * 6 + "|")
    rows = []
    for state in states:
        params = trained or fields(config, given, surface=state == "surface", seed=seed)
        both = ours(config, params, given), theirs(config, params, given, threads)
        for name in both[0]:
            row = _in_turn([side[name] for side in both], rounds, clock)
            rows.append({"fields": state, "what": name, **row})
            tell(
                f"| {state} | {name} | {row['ours']:.2f} s | {row['torch']:.2f} s | "
                f"{row['ratio']:.2f} | {row['difference']:.1e} |"
            )
    return rows


def _in_turn(calls: list[Callable[[], Any]], rounds: int, clock) -> dict[str, Any]:
    values = [np.asarray(call()) for call in calls]
    taken = [[], []]
    for _ in range(rounds):
        for call, times in zip(calls, taken):
            start = clock()
            call()
            times.append(clock() - start)
    ratio = statistics.median(a / b for a, b in zip(*taken))
    return {
        "ours": statistics.median(taken[0]), "torch": statistics.median(taken[1]), "ratio": ratio,
        "difference": float(np.max(np.abs(values[0] - values[1]))),
    }  # fmt: skip


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("rays", 2048, "of a step and of a chunk", flag_values=values)
    flags.DEFINE_integer("rounds", 3, "measurements of each, in turn", flag_values=values)
    flags.DEFINE_integer("threads", os.cpu_count(), "of PyTorch", flag_values=values)
    flags.DEFINE_bool(
        "cpu", False, "processor time instead of wall time: for one thread on a busy machine",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer("seed", 0, "of fields and rays", flag_values=values)
    flags.DEFINE_string("run", None, "whose head is measured instead", flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def _run(arguments: Arguments) -> int:
    given = arguments.flags
    tell = functools.partial(print, flush=True)
    results = measure(
        given.rays, given.rounds, given.threads, cpu=given.cpu, run=given.run, seed=given.seed,
        tell=tell,
    )
    if given.json:
        pathlib.Path(given.json).write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.benchmarks.adnerf", __doc__, _define, _run))
