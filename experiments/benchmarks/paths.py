"""The hot paths of the avatar as calls with the work that their shapes imply.

Everything is measured on the samples of real training rays: one step's batch of a capture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.subject import Subject
from experiments.benchmarks.timing import Work
from jaxhead.encodings.hash_grid import HashGridConfig, hash_encode, level_table
from jaxhead.geometry.bvh import build_bvh, nearest_triangle
from jaxhead.geometry.cameras import pixel_rays
from jaxhead.geometry.distances import PLANES, squared_distance, triangle_planes
from jaxhead.rendering.integrate import composite, volume_weights
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import FieldConfig
from jaxhead.systems.avatar.rays import Rays, cell_kinds, place_samples, to_cube
from jaxhead.systems.avatar.surface import frame_geometry, to_canonical
from jaxhead.systems.avatar.system import PLAYER
from jaxhead.training.system import Shard

DISTANCE_FLOP = 60
"""Of one point-triangle distance, counted in `geometry.distances.squared_distance`."""


@dataclasses.dataclass(frozen=True)
class Path:
    """One row of the table.

    name: of the row.
    call: what is timed.
    count: samples of one call.
    work: per sample.
    against: name of the row that a user would otherwise run, or nothing.
    """

    name: str
    call: Callable[[], Any]
    count: int
    work: Work = Work()
    against: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """One step's head samples, n = frames * head_rays * samples.

    batch: of the feed. rays: (n / samples) rays. keys: of the jitter, per frame.
    t, delta: (rays, samples). points: (n, 3) head space. directions: (rays, 3). frame: (n,) int32.
    canonical: (n, 3) in the cube of the hash grid. condition: (k, n).
    """

    batch: dict[str, Any]
    rays: Rays
    keys: jax.Array
    t: jax.Array
    delta: jax.Array
    points: jax.Array
    directions: jax.Array
    frame: jax.Array
    canonical: jax.Array
    condition: jax.Array


def draw_samples(subject: Subject) -> Samples:
    """The samples of the first step of an untrained avatar."""
    config, frozen = subject.config, jax.tree.map(jnp.asarray, subject.frozen)
    sampling = config.sampling
    feed = subject.stage.feeds["rays"]
    shard = Shard(offset=jnp.int32(0), count=feed.batch, total=feed.batch)
    arrays = jax.tree.map(jnp.asarray, subject.arrays)

    def draw(arrays, frozen, state):
        batch = feed.sample(arrays, None, jax.random.key(0), jnp.int32(0), shard)
        pixels = batch["pixels"][:, : sampling.head_rays]
        origins, directions = pixel_rays(frozen["K"], batch["head_to_camera"], pixels)
        owner = jnp.repeat(jnp.arange(sampling.frames), sampling.head_rays)
        rays = Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), owner)
        keys = jax.random.wrap_key_data(batch["jitter"])
        cells = cell_kinds(state["occupancy"], frozen)
        t, delta = place_samples(
            keys, rays, jnp.zeros((1, 2)), cells, frozen["box"], sampling
        )
        points = (rays.origins[:, None] + t[..., None] * rays.directions[:, None]).reshape(-1, 3)
        frame = jnp.repeat(owner, sampling.samples)
        mapped, _ = to_canonical(
            points, rays.directions, frame, batch["geometry"], frozen, config=config
        )
        cube = jnp.clip(to_cube(mapped, frozen["box"]), 0.0, 1.0)
        return Samples(
            batch, rays, keys, t, delta, points, rays.directions, frame, cube,
            batch["condition"][frame].T,
        )

    return jax.jit(draw)(arrays, frozen, subject.variables().state)


jax.tree_util.register_dataclass(Samples)


def surface_paths(subject: Subject, samples: Samples, *, brute: int = 512) -> list[Path]:
    """Nearest triangle of the samples of one frame, and the volume that replaces it.

    Args:
      subject, samples: see there.
      brute: points for the exhaustive search, which is slow.
    """
    config, frozen = subject.config, jax.tree.map(jnp.asarray, subject.frozen)
    shown = int(samples.batch["frame"][0])
    vertices, faces = jnp.asarray(subject.inputs["vertices"][shown]), frozen["faces"]
    count = len(samples.points) // config.sampling.frames
    points = samples.points[:count]
    few = points[:: max(1, count // brute)][:brute]
    planes, tree = jax.jit(triangle_planes)(vertices, faces), jax.jit(build_bvh)(vertices, faces)
    every = jnp.arange(len(faces))

    @jax.jit
    def exhaustive(planes, points):
        one = lambda p: jnp.argmin(squared_distance(planes, every, p[0], p[1], p[2]))  # noqa: E731
        return jax.lax.map(one, points)

    walk, grow = jax.jit(nearest_triangle), jax.jit(build_bvh)
    volume = jax.jit(lambda v, f: frame_geometry(v, f, config=config))
    look = jax.jit(lambda *a: to_canonical(*a, config=config))
    voxels = int(frozen["template_index"].size)
    channels = samples.batch["geometry"].shape[-1] if samples.batch["geometry"].ndim == 5 else 3
    exact = Work(arithmetic=DISTANCE_FLOP * len(faces), streamed=4.0 * PLANES * len(faces) / 64)
    arguments = (samples.points, samples.directions, samples.frame, samples.batch["geometry"])
    return [
        Path("nearest triangle, all of them", lambda: exhaustive(planes, few), len(few), exact),
        Path(
            "nearest triangle, tree walk", lambda: walk(tree, points), count,
            against="nearest triangle, all of them",
        ),
        Path("tree, building (per frame)", lambda: grow(vertices, faces), 1),
        Path("surface of a frame, building (per frame)", lambda: volume(vertices, frozen), 1),
        Path("surface of a frame, building (per voxel)", lambda: volume(vertices, frozen), voxels),
        Path(
            "to canonical space", lambda: look(*arguments, frozen), len(samples.points),
            Work(looked_up=8.0 * channels, arithmetic=8.0 * (2 * channels + 2), streamed=28.0),
            against="nearest triangle, tree walk",
        ),
    ]  # fmt: skip


def naive_hash(table: jax.Array, x: jax.Array, config: HashGridConfig) -> jax.Array:
    """The hash encoding as it is first written: rows of one (entries, F) table, autodiff behind.

    Args:
      table: (entries, F) all levels; x: (n, 3) in [0, 1]; config: sizes, "instant-ngp".
    """
    primes = jnp.array([1, 2_654_435_761, 805_459_861], jnp.uint32)
    corners = jnp.array([[(k >> axis) & 1 for axis in range(3)] for k in range(8)], jnp.uint32)
    features = []
    for level in level_table(config):
        place = x * level.scale + 0.5
        low = jnp.floor(place)
        share = (place - low)[:, None]
        cell = low.astype(jnp.uint32)[:, None] + corners
        if level.dense:
            steps = jnp.array([1, level.stride, level.stride**2], jnp.uint32)
            index = jnp.sum(cell * steps, -1)
        else:
            mixed = cell * primes
            index = mixed[..., 0] ^ mixed[..., 1] ^ mixed[..., 2]
        rows = table[level.offset + (index % jnp.uint32(level.size)).astype(jnp.int32)]
        weight = jnp.prod(jnp.where(corners == 1, share, 1.0 - share), -1)
        features.append(jnp.sum(rows * weight[..., None], 1))
    return jnp.concatenate(features, -1)


def hash_paths(subject: Subject, samples: Samples) -> list[Path]:
    """The hash grid forwards, and its tables' gradient, beside the naive program."""
    config = model.grid_config(subject.config.field, subject.config.field.rule)
    tables = subject.variables().params[PLAYER]["head"]["tables"]
    flat = jnp.concatenate(tables, axis=1).T
    x, n = samples.canonical, len(samples.canonical)
    forward = jax.jit(lambda t, x: hash_encode(t, x, config))
    both = jax.jit(jax.grad(lambda t, x: jnp.sum(hash_encode(t, x, config) ** 2)))
    slow = jax.jit(lambda t, x: naive_hash(t, x, config))
    slow_both = jax.jit(jax.grad(lambda t, x: jnp.sum(naive_hash(t, x, config) ** 2)))
    once = hash_work(config)
    back = Work(added=8.0 * config.dimensions, arithmetic=once.arithmetic)
    return [
        Path("hash grid as first written, forward", lambda: slow(flat, x), n, once),
        Path(
            "hash grid as first written, and gradient", lambda: slow_both(flat, x), n, once + back
        ),
        Path(
            "hash grid, forward", lambda: forward(tables, x), n, once,
            against="hash grid as first written, forward",
        ),
        Path(
            "hash grid, forward and gradient", lambda: both(tables, x), n, once + back,
            against="hash grid as first written, and gradient",
        ),
    ]  # fmt: skip


def hash_work(config: HashGridConfig) -> Work:
    """Of one encoded point: eight corners a level, each with an index and a weight."""
    corners = 8.0 * config.levels
    return Work(
        looked_up=corners * config.features,
        arithmetic=corners * (8 + 2 * config.features),
        streamed=4.0 * (3 + config.dimensions),
    )


def network_flop(config: FieldConfig, components: int) -> float:
    """FLOP of the field's two networks for one sample."""
    def layers(inputs: int, count: int, outputs: int) -> float:
        widths = [inputs, *[config.hidden] * (count - 1), outputs]
        return 2.0 * sum(a * b for a, b in zip(widths, widths[1:]))

    density = layers(
        config.levels * config.features + components, config.density_layers,
        1 + config.geometry_features,
    )
    return density + layers(16 + config.geometry_features, config.color_layers, 3)


def field_paths(subject: Subject, samples: Samples) -> list[Path]:
    """The whole field with its hash grid, forwards and with the gradient of its parameters."""
    config = subject.config.field
    params = subject.variables().params[PLAYER]["head"]
    arguments = (samples.canonical, samples.directions, samples.condition)

    def total(params, *arguments):
        rgb, sigma, _ = model.head_field(params, *arguments, config=config)
        return jnp.sum(rgb**2) + jnp.sum(sigma)

    forward = jax.jit(lambda p, *a: model.head_field(p, *a, config=config))
    both = jax.jit(jax.grad(total))
    grid = hash_work(model.grid_config(config, config.rule))
    flop = network_flop(config, subject.spec.components)
    hidden = config.hidden * (config.density_layers + config.color_layers - 2)
    once = grid + Work(products=flop, streamed=8.0 * hidden)
    back = Work(
        products=2 * flop, streamed=16.0 * hidden, added=grid.looked_up, arithmetic=grid.arithmetic
    )
    n = len(samples.canonical)
    return [
        Path("field with hash grid, forward", lambda: forward(params, *arguments), n, once),
        Path(
            "field with hash grid, and gradient", lambda: both(params, *arguments), n, once + back
        ),
    ]


def ray_paths(subject: Subject, samples: Samples) -> list[Path]:
    """Placing the samples of rays, and summing them up."""
    sampling = subject.config.sampling
    box = jnp.asarray(subject.frozen["box"])
    state = subject.variables().state
    cells = jax.jit(cell_kinds)(state["occupancy"], subject.frozen)
    sigma = 50.0 * jax.random.uniform(jax.random.key(1), samples.t.shape)
    rgb = jax.random.uniform(jax.random.key(2), (*samples.t.shape, 3))
    n = samples.t.size
    still = jnp.zeros((1, 2))
    place = jax.jit(
        lambda keys, rays, cells, box: place_samples(keys, rays, still, cells, box, sampling)
    )
    weigh = jax.jit(lambda s, c, t, d: composite(volume_weights(s, d), c, t))

    def total(parts, t, delta):
        out = composite(volume_weights(parts[0], delta), parts[1], t)
        return jnp.sum(out.rgb**2) + jnp.sum(out.alpha)

    both = jax.jit(jax.grad(total))
    per_sample = sampling.segments / sampling.samples
    return [
        Path(
            "placing samples", lambda: place(samples.keys, samples.rays, cells, box), n,
            Work(looked_up=per_sample, arithmetic=30.0 * per_sample, streamed=8.0),
        ),
        Path(
            "compositing, forward", lambda: weigh(sigma, rgb, samples.t, samples.delta), n,
            Work(arithmetic=16.0, streamed=28.0),
        ),
        Path(
            "compositing, and gradient", lambda: both((sigma, rgb), samples.t, samples.delta), n,
            Work(arithmetic=48.0, streamed=72.0),
        ),
    ]  # fmt: skip
