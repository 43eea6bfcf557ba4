"""Pictures a second of AD-NeRF's published networks, and a training step of them, on this device.

    python -m experiments.benchmarks.adnerf_frames --dtypes float32,float16
    python -m experiments.benchmarks.adnerf_frames --size 128 --chunks 0 --rounds 1 --json fps.json

Networks, samples and camera as published: 64 + 128 samples, a square picture seen from 0.77 away.
"head" is the head over its background, "head and torso" both players. Fields as
`experiments.benchmarks.adnerf` makes them: "fresh" as initialised, where every sample must be
looked at, and "surface", whose rays end at it. A chunk is rays of a picture that go through the
networks together; 0 takes what suits the device. Runs on the core of jaxhead alone.
"""

from __future__ import annotations

import functools
import itertools
import json
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarks import adnerf
from experiments.benchmarks.flags import run_module
from experiments.benchmarks.timing import compare
from jaxhead.app.flags import Arguments
from jaxhead.systems.adnerf import nerf_model as model
from jaxhead.systems.adnerf.nerf_config import NerfConfig, NerfFieldConfig, NerfSamplingConfig
from jaxhead.training.system import Variables

FLOP = 2 * (63 * 256 * 2 + 256 * 256 * 7 + 256 * 128 + 128 * 128 * 2 + 128 * 3 + 256)
"""Of a sample in one field, what a frame's samples share taken out."""
SAMPLES = 64 + 64 + 128
WINDOW = (8, 16, 29)


def variables(config: NerfConfig, given: dict[str, np.ndarray], *, surface: bool, torso: bool):
    """Variables of a stage whose fields are those of the other benchmark."""
    params: dict[str, Any] = {model.HEAD: model.init_head(jax.random.key(1), config, *WINDOW[1:])}
    head = adnerf.fields(config, given, surface=surface)
    params[model.HEAD] |= head
    if torso:
        torso_fields = model.init_torso(jax.random.key(2), config)
        if surface:
            for name, net in torso_fields.items():
                net["alpha_linear"] = head[name]["alpha_linear"]
        params[model.TORSO] = torso_fields
    return Variables(params=params, state={"smoothing": jnp.float32(1)})


def request(size: int) -> dict[str, jax.Array]:
    """A request of `render_frame`."""
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = 0.77
    zoom = size / adnerf.SIDE
    random = np.random.default_rng(0)
    made = {
        "audio": random.normal(size=WINDOW), "camera_to_world": pose,
        "torso_camera_to_world": pose, "bounds": adnerf.BOUNDS,
        "camera": [adnerf.FOCAL * zoom, size / 2, size / 2],
        "background": random.random((size, size, 3)),
    }  # fmt: skip
    return {name: jnp.asarray(value, jnp.float32) for name, value in made.items()}


def configured(precision: str, dtype: str, chunk: int) -> NerfConfig:
    """The published sizes with a precision, and `chunk` rays of a picture at a time."""
    return NerfConfig(
        field=NerfFieldConfig(precision=precision, picture_dtype=dtype),
        sampling=NerfSamplingConfig(chunk=chunk // 4),
    )


def pictures(
    size: int, chunks: list[int], precisions: list[str], dtypes: list[str], rounds: int, tell
) -> list[dict[str, Any]]:
    """A row per precision, dtype, chunk, players and state of the fields."""
    given, asked, rows = adnerf.scene(256), request(size), []
    for precision, dtype, chunk in itertools.product(precisions, dtypes, chunks):
        config = configured(precision, dtype, chunk)
        render = jax.jit(functools.partial(model.render_frame, size=(size, size), config=config))
        for torso, surface in itertools.product((False, True), repeat=2):
            made = jax.device_put(variables(config, given, surface=surface, torso=torso))
            call = functools.partial(render, made, asked)
            seconds = compare({"": call}, rounds=rounds, least=0.0)[""].seconds
            row = {
                "players": "head and torso" if torso else "head",
                "fields": "surface" if surface else "fresh",
                "precision": precision, "dtype": dtype, "chunk": chunk, "seconds": seconds,
                "tflops": 1e-12 * size * size * SAMPLES * FLOP * (1 + torso) / seconds,
            }  # fmt: skip
            rows.append(row)
            tell(
                f"| {row['players']} | {row['fields']} | {precision} | {dtype} | "
                f"{chunk or 'auto'} | {seconds:.3f} | {1 / seconds:.2f} | {row['tflops']:.1f} |"
            )
    return rows


def steps(rays: int, precisions: list[str], rounds: int, tell) -> list[dict[str, Any]]:
    """A row per precision and state of the fields: seconds of a training step of the head."""
    given, rows = adnerf.scene(rays), []
    for precision in precisions:
        config = NerfConfig(field=NerfFieldConfig(precision=precision))
        for surface in (False, True):
            params = adnerf.fields(config, given, surface=surface)
            call = adnerf.ours(config, params, given)["step"]
            seconds = compare({"": call}, rounds=rounds, least=0.0)[""].seconds
            row = {
                "fields": "surface" if surface else "fresh", "precision": precision,
                "seconds": seconds, "tflops": 3e-12 * rays * SAMPLES * FLOP / seconds,
            }  # fmt: skip
            rows.append(row)
            tell(
                f"| {row['fields']} | {precision} | {1e3 * seconds:.1f} | {row['tflops']:.1f} |"
            )
    return rows


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("size", adnerf.SIDE, "side of the pictures", flag_values=values)
    flags.DEFINE_integer("rays", 2048, "of a training step", flag_values=values)
    flags.DEFINE_integer("rounds", 3, "measurements; the median counts", flag_values=values)
    flags.DEFINE_list("chunks", ["0"], "rays at a time, multiples of 4", flag_values=values)
    flags.DEFINE_list("precisions", ["default"], "of the products", flag_values=values)
    flags.DEFINE_list("dtypes", ["float32"], "between the layers of pictures", flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def _run(arguments: Arguments) -> int:
    given = arguments.flags
    tell = functools.partial(print, flush=True)
    tell(f"{given.size}² pictures, 64 + 128 samples, {jax.devices()[0].device_kind}\n")
    tell("| players | fields | precision | dtype | chunk | seconds | pictures/s | TFLOP/s if all |")
    tell("|---" * 8 + "|")
    chunks = [int(chunk) for chunk in given.chunks]
    found = pictures(given.size, chunks, given.precisions, given.dtypes, given.rounds, tell)
    tell(f"\nA training step of {given.rays} rays of the head\n")
    tell("| fields | precision | ms | TFLOP/s if all |")
    tell("|---" * 4 + "|")
    result = {"size": given.size, "pictures": found,
              "steps": steps(given.rays, given.precisions, given.rounds, tell)}  # fmt: skip
    if given.json:
        pathlib.Path(given.json).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.benchmarks.adnerf_frames", __doc__, _define, _run))
