"""The published schedule and optimisers, and the stages as programs."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxhead.files.errors import InputError
from jaxhead.systems.adnerf import nerf_feed, nerf_stages
from jaxhead.systems.adnerf.nerf_config import (
    NerfConfig,
    NerfFieldConfig,
    NerfOptimiserConfig,
    NerfSamplingConfig,
    paper,
    published,
    small,
)
from jaxhead.training.lowering import export_step
from jaxhead.training.state import create_state
from jaxhead.training.system import Shard
from tests.several_devices import trained_on

SIZE, FRAMES = (24, 20), 6


def tiny(**sampling) -> NerfConfig:
    options = dict(rays=40, torso_rays=20, coarse=4, fine=4, frames=2) | sampling
    return NerfConfig(
        field=NerfFieldConfig(depth=3, width=8, skip=1), sampling=NerfSamplingConfig(**options),
        head_steps=6, smooth_from=3, torso_steps=3,
    )  # fmt: skip


def recorded():
    """A stand-in for a capture: frame i is of one colour, its head the left half."""

    def frame(index):
        return np.full((*SIZE, 3), 40 * index, np.uint8)

    def masks(index):
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[:, : SIZE[1] // 2] = 255
        return picture

    return types.SimpleNamespace(path="made", size=SIZE, frame=frame, masks=masks)


def inputs():
    pose = np.tile(np.diag([1.0, -1, -1, 1]).astype(np.float32), (FRAMES, 1, 1))
    pose[:, 2, 3] = 0.7
    return {
        "K": np.array([[40.0, 0, 10], [0, 40, 12], [0, 0, 1]]), "head_to_camera": pose,
        "train": np.arange(1, 5), "background": np.full((*SIZE, 3), 200, np.uint8),
        "face_rects": np.tile(np.int32([4, 5, 9, 11]), (FRAMES, 1)),
    }  # fmt: skip


def windows():
    return np.random.default_rng(0).normal(size=(FRAMES, 16, 5)).astype(np.float32)


def recipe(config):
    feeds = nerf_feed.make_feeds(recorded(), inputs(), windows(), config)
    frozen = nerf_feed.frozen_arrays(inputs(), config)
    return nerf_stages.build(config, (16, 5), frozen, feeds)


def test_rates_are_the_published_ones():
    rate = nerf_stages.rate_at
    counts = jnp.array([0, 1, 2, 250_001, 500_001])
    found = jax.vmap(lambda n: rate(n, NerfConfig()))(counts)
    expected = 5e-4 * 0.1 ** (np.array([0, 0, 1, 250_000, 500_000]) / 250_000)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    late = rate(jnp.int32(0), NerfConfig(), offset=200_000.0)
    np.testing.assert_allclose(late, 5e-4 * 0.1 ** (199_999 / 250_000), rtol=1e-5)


def test_parts_have_their_own_counts():
    params = {"fast": jnp.ones(3), "slow": jnp.ones(2), "waits": jnp.ones(4)}
    optimizer = nerf_stages.part_adams(
        {"fast": lambda n: 0.1, "slow": lambda n: 0.01, "waits": None}
    )
    state, alone = optimizer.init(params), optax.adam(0.1, eps=1e-8)
    other = alone.init(params["fast"])
    for step in range(4):
        gradient = jax.tree.map(lambda x, s=step: jnp.sin(x + s), params)
        change, state = optimizer.update(gradient, state)
        expected, other = alone.update(gradient["fast"], other)
        np.testing.assert_allclose(change["fast"], expected, rtol=1e-5)
        assert not np.any(change["waits"])
    assert int(state["fast"].count) == 4 and int(state["waits"].count) == 0
    zero, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(zero))


def test_attention_learns_in_its_stage_alone():
    head, attention, torso = recipe(tiny())
    for stage, waits in ((head, True), (attention, False)):
        params = {part: {"x": jnp.ones(2)} for part in ("audio", "attention", "coarse", "fine")}
        optimizer = stage.optimizers["head"](10)
        change, _ = optimizer.update(params, optimizer.init(params))
        assert np.any(change["coarse"]["x"]) and np.any(change["attention"]["x"]) != waits
    assert [update.player for update in torso.system.updates] == ["torso"]
    assert torso.initialise_from["head"].stage == "attention"
    assert attention.initialise_from["head"].optimizer


def test_examples_show_the_head_over_the_background():
    config = tiny(jitter=False)
    feed = nerf_feed.make_feeds(recorded(), inputs(), windows(), config)["head"]
    rows, position = feed.next(feed.start)
    assert position == 1 and set(rows["frame"]) <= {1, 2, 3, 4}
    np.testing.assert_array_equal(rows["frame"], feed.next(feed.start)[0]["frame"])
    shard = Shard(jnp.int32(0), 2, 2)
    draw = jax.jit(lambda arrays, rows: feed.sample(arrays, rows, jax.random.key(0), 0, shard))
    batch = draw(feed.arrays, rows)
    pixels = np.asarray(batch["pixels"])
    inside = (pixels[..., 1] >= 4) & (pixels[..., 1] <= 13)
    inside &= (pixels[..., 0] >= 5) & (pixels[..., 0] <= 16)
    assert np.all(inside.sum(1) == int(0.95 * 40))
    left = pixels[..., 1] < SIZE[1] // 2
    colour = np.where(left, 40 * rows["frame"][:, None], 200) / 255
    np.testing.assert_allclose(batch["target"], np.repeat(colour[..., None], 3, -1), atol=1e-6)
    last = int(rows["frame"][0])
    heard = np.zeros((8, 16, 5), np.float32)
    for place, frame in enumerate(range(last - 4, last + 4)):
        if 0 <= frame <= 4:
            heard[place] = windows()[frame]
    np.testing.assert_array_equal(batch["audio"][0], heard)


@pytest.mark.long
def test_four_devices_learn_what_one_learns():
    # Plain steps: Adam would turn rounding of gradients near zero into whole steps.
    _, stage, _ = recipe(tiny(frames=4))
    stage = dataclasses.replace(
        stage, optimizers={"head": optax.sgd(0.3)}, initialise_from={}, steps=3
    )
    (one, a, start), (four, b, _) = (trained_on(devices, stage, 3) for devices in (1, 4))
    a, b, start = a.params, b.params, start.params
    np.testing.assert_allclose(four, one, rtol=1e-6)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(y, x, rtol=0, atol=2e-6 * max(1.0, np.abs(x).max()))
    moved = [np.abs(x - y).max() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(start))]
    assert max(moved) > 1e-4


def test_bad_depths_and_too_many_rays_are_named():
    with pytest.raises(InputError, match="sampling.near=1, sampling.far=0.5: expected 0 < near"):
        nerf_feed.frozen_arrays(inputs(), tiny(near=1.0, far=0.5))
    with pytest.raises(InputError, match="sampling.torso_rays=481: a frame of made has 24 x 20"):
        nerf_feed.make_feeds(recorded(), inputs(), windows(), tiny(torso_rays=481))


def test_the_step_lowers_for_tpus():
    """The torso's, which holds what the head's does."""
    stage = recipe(tiny(frames=1))[-1]
    program = export_step(stage, devices=jax.local_devices()[:1], length=1)["step"]
    assert program.platforms == ("tpu",)


@pytest.mark.parametrize("config", [paper(), published(), small()])
def test_presets_construct_at_their_sizes(config):
    stages = nerf_stages.build(
        config, (16, 29), nerf_feed.frozen_arrays(inputs(), config), None
    )
    variables = jax.eval_shape(stages[-1].system.init, jax.random.key(0))
    state = jax.eval_shape(lambda v: create_state(stages[-1], v), variables)
    width = config.field.width
    kernel = state.params["torso"]["fine"]["pts_linears_5"]["kernel"]
    assert kernel.shape == (width + 63 + 106, width)
    assert isinstance(config.optimiser, NerfOptimiserConfig)
