"""The avatar's hot paths, ours and plain PyTorch in turn, same values in and out, in one run.

    python -m experiments.benchmarks.beside_torch
    python -m experiments.benchmarks.beside_torch --rays 512 --threads 1 --json beside.json

Hash grid, networks, volume rendering, nearest triangle with the Frenet mapping, a whole step of the
head's field (points to Adam) and, where `transformers` is installed, CLIP's ViT-B/32. "difference"
is the largest one between the results, relative to the largest value. Needs PyTorch beside the
package.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments.benchmarks.flags import run_module
from experiments.benchmarks.timing import compare
from jaxhead.app.flags import Arguments
from jaxhead.encodings.hash_grid import hash_rows, level_table
from jaxhead.geometry import frenet, meshes
from jaxhead.geometry.bvh import build_bvh, nearest_triangle
from jaxhead.heads.procedural import procedural_head
from jaxhead.networks import hash_field
from jaxhead.rendering.integrate import composite, volume_weights
from jaxhead.systems.avatar.config import FieldConfig

SAMPLES, CONDITION = 12, 8


@dataclasses.dataclass(frozen=True)
class Pair:
    """One row: the same function in both; results in the same order."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """A field and samples of R rays, n = R * SAMPLES; numpy."""

    config: FieldConfig
    params: dict[str, Any]
    points: np.ndarray
    directions: np.ndarray
    condition: np.ndarray
    delta: np.ndarray
    target: np.ndarray


def given(rays: int, seed: int = 0) -> Given:
    """Random samples and a field as initialised, with larger tables than that: as if trained."""
    config, random = FieldConfig(), np.random.default_rng(seed)
    params = hash_field.init_head(jax.random.key(seed), config, CONDITION)
    params["tables"] = jax.tree.map(lambda x: 1e3 * x, params["tables"])
    n = rays * SAMPLES
    directions = random.normal(size=(n, 3))
    return Given(
        config, jax.tree.map(np.asarray, params), np.float32(random.random((n, 3))),
        np.float32(directions / np.linalg.norm(directions, axis=-1, keepdims=True)),
        np.float32(random.normal(size=(n, CONDITION))),
        np.float32(random.uniform(0.01, 0.1, (rays, SAMPLES))),
        np.float32(random.random((rays, 3))),
    )  # fmt: skip


def field_pairs(data: Given) -> list[Pair]:
    """Hash grid, networks, integration, and a whole step."""
    import torch

    from experiments.benchmarks import avatar_torch as plain

    config = data.config
    grid = hash_field.grid_config(config, config.rule)
    levels, rays = level_table(grid), len(data.target)
    table = np.concatenate(data.params["tables"], axis=1).T.copy()

    def kernels(net):
        return [net[f"layer_{i}"]["kernel"] for i in range(len(net))]

    head = plain.HeadField(
        table, kernels(data.params["density"]), kernels(data.params["color"]), levels
    )
    names = ("points", "directions", "condition", "delta", "target")
    t = {name: torch.tensor(getattr(data, name)) for name in names}
    j = {name: jnp.asarray(getattr(data, name)) for name in names}
    params = jax.tree.map(jnp.asarray, data.params)
    features = jnp.asarray(hash_rows(params["tables"], j["points"], grid))
    t_features = torch.tensor(np.asarray(features).T.copy())
    color, sigma = (np.random.default_rng(1).random(s, np.float32)
                    for s in ((rays, SAMPLES, 3), (rays, SAMPLES)))  # fmt: skip

    samples = jnp.asarray(color), jnp.asarray(sigma)
    t_samples = torch.tensor(color), torch.tensor(sigma)

    def networks(params, features):
        out = hash_field.density_net(config).columns(
            params["density"], (features, j["condition"].T)
        )
        shown = hash_field.encoded_directions(j["directions"], config).T
        logits = hash_field.color_net(config).columns(
            params["color"], jnp.concatenate([shown, out[1:]])
        )
        return jax.nn.sigmoid(logits).T, hash_field.bounded_exp(out[0])

    def shown(color, sigma):
        weights = volume_weights(sigma, j["delta"])
        return composite(weights, color, jnp.cumsum(j["delta"], -1), jnp.ones((rays, 3))).rgb

    def error(params):
        color, sigma, _ = hash_field.head_field(
            params, j["points"], j["directions"], j["condition"].T, config=config
        )
        rgb = shown(color.reshape(rays, SAMPLES, 3), sigma.reshape(rays, SAMPLES))
        return jnp.sum((rgb - j["target"]) ** 2)

    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        value, slope = jax.value_and_grad(error)(params)
        change, state = optimizer.update(slope, state)
        return value, optax.apply_updates(params, change), state

    state = optimizer.init(params)
    adam = torch.optim.Adam(head.parameters(), lr=0.0)

    def t_step():
        made = head(t["points"], t["directions"], t["condition"])
        rgb = plain.rendered(
            made[0].reshape(rays, SAMPLES, 3), made[1].reshape(rays, SAMPLES), t["delta"],
            torch.ones(rays, 3),
        )
        loss = ((rgb - t["target"]) ** 2).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.detach()

    def t_gradient(function, *inputs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        function(*leaves).backward()
        return [leaf.grad for leaf in leaves]

    encode = jax.jit(lambda tables, x: hash_rows(tables, x, grid))
    encode_back = jax.jit(jax.grad(lambda tables, x: jnp.sum(hash_rows(tables, x, grid) ** 2)))
    nets = jax.jit(networks)
    nets_back = jax.jit(jax.grad(
        lambda p, f: sum(jnp.sum(x**2) for x in networks(p, f)), argnums=1
    ))  # fmt: skip
    integrate = jax.jit(shown)
    integrate_back = jax.jit(jax.grad(lambda c, s: jnp.sum(shown(c, s) ** 2), argnums=(0, 1)))
    t_table = head.table.detach()
    weights = {k: v for k, v in params.items() if k != "tables"}

    @torch.no_grad()
    def quiet(function, *inputs):
        return function(*inputs)

    def t_nets_back():
        return t_gradient(
            lambda f: sum((x**2).sum() for x in head.networks(f, t["directions"], t["condition"])),
            t_features,
        )

    def t_color():
        return plain.rendered(*t_samples, t["delta"], torch.ones(rays, 3))

    return [
        Pair(
            "hash grid, forward", lambda: encode(params["tables"], j["points"]).T,
            lambda: quiet(plain.hash_features, t_table, t["points"], levels),
        ),
        Pair(
            "hash grid, forward and gradient",
            lambda: jnp.concatenate(encode_back(params["tables"], j["points"]), 1).T,
            lambda: t_gradient(
                lambda e: (plain.hash_features(e, t["points"], levels) ** 2).sum(), t_table
            )[0],
        ),
        Pair(
            "networks, forward", lambda: nets(weights, features)[1],
            lambda: quiet(head.networks, t_features, t["directions"], t["condition"])[1],
        ),
        Pair(
            "networks, forward and gradient", lambda: nets_back(weights, features).T,
            lambda: t_nets_back()[0],
        ),
        Pair("volume rendering, forward", lambda: integrate(*samples), lambda: quiet(t_color)),
        Pair(
            "volume rendering, forward and gradient", lambda: integrate_back(*samples)[1],
            lambda: t_gradient(
                lambda c, s: (plain.rendered(c, s, t["delta"], torch.ones(rays, 3)) ** 2).sum(),
                *t_samples,
            )[1],
        ),
        Pair("the head field's whole step", lambda: step(params, state)[0], t_step),
    ]


def mapping_pair(points: int) -> Pair:
    """Nearest triangle and Frenet mapping of points near the procedural head, exactly."""
    import torch

    from experiments.benchmarks import avatar_torch as plain

    head = procedural_head()
    faces, still = np.asarray(head.faces), np.float32(head.template)
    random = np.random.default_rng(0)
    moved = still + np.float32(0.005 * np.sin(30 * still[:, ::-1]))
    at = moved[np.sort(random.integers(0, len(moved), points))]
    at = at + np.float32(0.01 * random.normal(size=at.shape))
    neighbours = meshes.edge_neighbours(faces)
    posed, rest = frenet.surface(moved, faces), frenet.surface(still, faces)
    maps = np.asarray(frenet.triangle_maps(posed, rest))[:, :3]
    hoods = np.concatenate([np.arange(len(faces))[:, None], np.asarray(neighbours)], 1)

    @jax.jit
    def ours(vertices, points):
        index = nearest_triangle(build_bvh(vertices, faces), points)
        found, _ = frenet.map_points(
            points, jnp.ones_like(points), index, frenet.surface(vertices, faces), rest, neighbours
        )
        return found

    corners = [torch.tensor(moved[faces[:, k]]) for k in range(3)]
    t = [torch.tensor(x) for x in (at, hoods, np.array(posed.centroids), maps)]

    @torch.no_grad()
    def theirs():
        index = plain.nearest(t[0], *corners)
        return plain.mapped(t[0], index, t[1], t[2], t[3], 4.0)

    return Pair(f"nearest triangle of {len(faces):,}, mapping", lambda: ours(moved, at), theirs)


def clip_pair(pictures: int) -> Pair | None:
    """CLIP's ViT-B/32 with random weights; None without `transformers`."""
    try:
        import torch
        import transformers
    except ImportError:
        return None
    from jaxhead.networks import clip

    sizes = transformers.CLIPVisionConfig(projection_dim=512)
    theirs = transformers.CLIPVisionModelWithProjection(sizes).eval()
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    config, variables = clip.from_state_dict(state)
    pixels = np.random.default_rng(0).normal(size=(pictures, 224, 224, 3)).astype(np.float32)
    encode = jax.jit(lambda v, x: clip.ClipImageEncoder(config).apply(v, x).code)
    # On the device once: weights handed over from the host would be copied at every call.
    given = jax.tree.map(jnp.asarray, (variables, pixels))
    seen = torch.tensor(pixels.transpose(0, 3, 1, 2).copy())

    @torch.no_grad()
    def look():
        return theirs(pixel_values=seen).image_embeds

    return Pair(f"CLIP ViT-B/32, {pictures} pictures", lambda: encode(*given), look)


def measure(rays: int, rounds: int, threads: int) -> list[dict[str, Any]]:
    """A row per pair: seconds of both, their ratio, the relative difference of the results."""
    import torch

    torch.set_num_threads(threads)
    pairs = [*field_pairs(given(rays)), mapping_pair(2 * rays)]
    pairs += [pair for pair in [clip_pair(4)] if pair is not None]
    rows = []
    for pair in pairs:
        a, b = np.asarray(pair.ours()), np.asarray(pair.theirs())
        times = compare({"ours": pair.ours, "torch": pair.theirs}, rounds=rounds)
        seconds = {name: times[name].seconds for name in ("ours", "torch")}
        rows.append({
            "name": pair.name, **seconds, "ratio": seconds["ours"] / seconds["torch"],
            "difference": float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)),
        })  # fmt: skip
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| | ours | PyTorch | ratio | difference |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['name']} | {1e3 * row['ours']:.2f} ms | {1e3 * row['torch']:.2f} ms | "
            f"{row['ratio']:.2f} | {row['difference']:.0e} |"
        )
    return "\n".join(lines)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("rays", 1024, f"of {SAMPLES} samples each", flag_values=values)
    flags.DEFINE_integer("rounds", 7, "measurements of each, in turn", flag_values=values)
    flags.DEFINE_integer("threads", os.cpu_count(), "of PyTorch", flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def _run(arguments: Arguments) -> int:
    rows = measure(arguments.flags.rays, arguments.flags.rounds, arguments.flags.threads)
    print(report(rows))
    if arguments.flags.json:
        pathlib.Path(arguments.flags.json).write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.benchmarks.beside_torch", __doc__, _define, _run))
