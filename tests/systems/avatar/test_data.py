"""The pool of frames and the rays drawn from it: bounded, deterministic, the same on any split."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.captures.hull import torso_below
from jaxhead.systems.avatar.data import (
    PoolFiller,
    draw_rays,
    focus_boxes,
    make_feed,
)
from jaxhead.training import pool as pool_module
from jaxhead.training.system import Shard


class Geometry:
    """Stands in for the cache: the geometry of a frame is its number."""

    shape, dtype = (2,), np.dtype(np.float16)

    def get(self, frame):
        return np.full(2, frame, np.float16)


def filler(capture, slots, rotate_every=100):
    return PoolFiller(
        capture=capture, train=capture.train, geometry=Geometry(), slots=slots,
        rotate_every=rotate_every,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pool(capture):
    made = filler(capture, 8)
    return made.refresh(made.empty(), 0) | {"focus": boxes_of(capture)}


def boxes_of(capture):
    return focus_boxes(capture.head, capture.vertices, capture.head_to_camera, capture.K)


def masks_of(capture, frame):
    """The capture's, with a torso that goes on under the head."""
    masks = capture.masks(frame)
    return np.concatenate([masks[..., :2], torso_below(masks)[..., None]], -1)


def test_the_pool_holds_what_the_step_says(capture):
    made = filler(capture, 8, rotate_every=100)
    arrays = made.empty()
    shapes = {name: (value.shape, value.dtype) for name, value in arrays.items()}
    for step in (0, 50, 100, 400):
        before = {name: value.copy() for name, value in arrays.items()}
        new = made.refresh(arrays, step)
        for name in before:  # the arrays of the steps before are still in use
            np.testing.assert_array_equal(arrays[name], before[name])
        arrays = new
        assert {name: (value.shape, value.dtype) for name, value in arrays.items()} == shapes
        resumed = filler(capture, 8, rotate_every=100)
        again = resumed.refresh(resumed.empty(), step)
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], again[name])
        assert arrays["count"] == 8 and len(set(arrays["ids"])) == 8
        for slot, frame in enumerate(arrays["ids"]):
            assert frame in capture.train
            np.testing.assert_array_equal(arrays["frames"][slot], capture.frame(frame))
            np.testing.assert_array_equal(arrays["masks"][slot, ..., :3], masks_of(capture, frame))
            assert np.all(arrays["geometry"][slot] == frame)
    assert made.refresh(arrays, 400) is arrays
    assert set(made.refresh(arrays, 0)["ids"]) != set(arrays["ids"])


def test_a_growing_pool_draws_only_from_what_is_there(capture, config, monkeypatch):
    monkeypatch.setattr(pool_module, "FIRST_FRAMES", 3)
    made = filler(capture, 8)
    arrays = made.refresh(made.empty(), 0)
    assert arrays["count"] == 3 and made.refresh(arrays, 50)["count"] == 6
    draw = jax.jit(jax.vmap(lambda a, key: draw_rays(a, key, config)["frame"], (None, 0)))
    arrays = arrays | {"focus": boxes_of(capture)}
    frames = np.asarray(draw(arrays, jax.random.split(jax.random.key(0), 200)))
    assert set(frames.tolist()) == set(arrays["ids"][:3].tolist())


def test_rays_carry_the_colours_of_their_pixels(pool, config, capture):
    heads, wide = config.sampling.head_rays, config.sampling.head_rays // 8
    inside, used = [], []
    draw = jax.jit(lambda arrays, key: draw_rays(arrays, key, config))
    for seed in range(12):
        rays = draw(pool, jax.random.key(seed))
        x, y = np.asarray(rays["pixels"]).T
        assert np.all(x % 1 == 0.5) and np.all((x > 0) & (x < 64) & (y > 0) & (y < 64))
        frame = capture.frame(int(rays["frame"]))
        colours = frame[y.astype(int), x.astype(int)] / 255
        np.testing.assert_allclose(rays["rgb"], colours, atol=1e-6)
        masks = masks_of(capture, int(rays["frame"]))[y.astype(int), x.astype(int)] / 255
        np.testing.assert_allclose(rays["masks"][:, :3], masks, atol=1e-6)
        near = np.asarray(rays["masks"][:, 3]) > 0
        inside.append([near[: heads - wide].mean(), near[heads:].mean()])
        used.append(np.mean(rays["random_used"]))
    head_share, torso_share = np.mean(inside, 0)
    assert head_share > 0.97 and torso_share < 0.1
    assert abs(np.mean(used) - config.loss.random_background) < 0.1


def test_random_numbers_do_not_depend_on_the_split(small):
    geometry = Geometry()
    feed = make_feed(small.capture, small.spec, small.inputs, geometry, small.config)
    arrays = feed.refresh(feed.arrays, 0)
    sample = jax.jit(feed.sample, static_argnums=1)
    key, total = jax.random.key(3), feed.batch

    def drawn(parts):
        count = total // parts
        shards = [Shard(jnp.int32(i * count), count, total) for i in range(parts)]
        batches = [sample(arrays, None, key, 0, shard) for shard in shards]
        return jax.tree.map(lambda *x: np.concatenate(x), *batches)

    whole, quarters = drawn(1), drawn(4)
    assert whole.keys() == quarters.keys() and len(set(np.asarray(whole["slot"]))) > 1
    for name in whole:
        np.testing.assert_array_equal(whole[name], quarters[name], err_msg=name)
    frame = whole["frame"]
    np.testing.assert_array_equal(whole["geometry"][:, 0], frame.astype(np.float16))
    np.testing.assert_array_equal(whole["head_to_camera"], small.capture.head_to_camera[frame])


def test_the_pool_is_never_larger_than_the_clip(small):
    surface = dataclasses.replace(small.config.surface, pool=500)
    config = dataclasses.replace(small.config, surface=surface)
    feed = make_feed(small.capture, small.spec, small.inputs, Geometry(), config)
    assert len(feed.arrays["frames"]) == len(small.capture.train)


def test_focus_boxes_hold_the_projected_lips_and_eyes(small):
    inputs, head = small.inputs, small.head
    boxes = focus_boxes(head, inputs["vertices"], inputs["head_to_camera"], inputs["K"])
    assert boxes.shape == (small.spec.frames, 4, 4)
    np.testing.assert_array_equal(boxes[:, 0], boxes[:, 1])
    middles = 0.5 * (boxes[..., :2] + boxes[..., 2:])
    assert (middles[:, 0, 1] > middles[:, 2, 1]).all()  # the mouth lies under the eyes
    assert (middles[:, 2, 0] > middles[:, 3, 0]).all()  # the left eye is on the picture's right
    lips = np.asarray(head.regions) == head.region_names.index("lips")
    points = inputs["vertices"][3][lips] @ inputs["head_to_camera"][3, :3, :3].T
    pixels = (points + inputs["head_to_camera"][3, :3, 3]) @ inputs["K"].T
    pixels = pixels[:, :2] / pixels[:, 2:]
    assert (pixels > boxes[3, 0, :2]).all() and (pixels < boxes[3, 0, 2:]).all()


def test_the_focused_share_of_rays_goes_through_eyes_and_mouth(config, pool):
    sampling = dataclasses.replace(config.sampling, head_rays=64, focus=0.5)
    config = dataclasses.replace(config, sampling=sampling)
    rays = jax.jit(lambda arrays, key: draw_rays(arrays, key, config))(pool, jax.random.key(3))
    boxes = np.asarray(pool["focus"][rays["frame"]])
    inside = [
        ((p >= box[:2] - 0.5) & (p <= box[2:] + 0.5)).all()
        for p in np.asarray(rays["pixels"])[:32]
        for box in boxes
    ]
    assert np.reshape(inside, (32, 4)).any(1).all()
