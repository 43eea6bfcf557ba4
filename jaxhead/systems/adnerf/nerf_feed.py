"""The faithful variant's training feeds: a random frame per step, its rays drawn on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.files.errors import InputError
from jaxhead.networks.audio_condition import window_rows
from jaxhead.systems.adnerf.nerf_config import NerfConfig
from jaxhead.systems.adnerf.rays import (
    draw_pixels,
    in_rectangle,
    published_camera,
    published_poses,
)
from jaxhead.training.system import Feed, Shard

NEAR, FAR = -0.2, 0.4
"""Where sampling begins and ends around the head's mean depth, in metres (AD-NeRF)."""
PERSON, HEAD = 0, 1
"""Channels of a capture's masks."""


def frozen_arrays(inputs: Mapping[str, np.ndarray], config: NerfConfig) -> dict[str, np.ndarray]:
    """The arrays that are arguments of the step and of rendering.

    Args:
        inputs: of the run: "K" (3, 3), "head_to_camera" (N, 4, 4), "train" ids, "background"
            (H, W, 3) uint8.
        config: the run's.

    Returns:
        "camera" (3,), "bounds" (2,), "torso_camera_to_world" (4, 4) of the first training frame,
        "background".

    Raises:
        InputError: depths that hold nothing.
    """
    poses, first = inputs["head_to_camera"], int(inputs["train"][0])
    near, far = config.sampling.near, config.sampling.far
    if near == far == 0:
        near, far = depth_bounds(poses[inputs["train"]])
    if not 0 < near < far:
        raise InputError(
            f"sampling.near={near:g}, sampling.far={far:g}: expected 0 < near < far; the head is "
            f"{np.mean(poses[inputs['train'], 2, 3]):g} away"
        )
    return {
        "camera": published_camera(np.asarray(inputs["K"], np.float64)),
        "bounds": np.array([near, far], np.float32),
        "torso_camera_to_world": published_poses(poses[first]),
        "background": inputs["background"],
    }


def depth_bounds(head_to_camera: np.ndarray) -> tuple[float, float]:
    """Near and far in metres of poses (n, 4, 4) in OpenCV axes, by the published rule."""
    middle = float(np.mean(np.asarray(head_to_camera, np.float64)[:, 2, 3]))
    return middle + NEAR, middle + FAR


def make_feeds(
    capture: Capture, inputs: Mapping[str, np.ndarray], windows: np.ndarray, config: NerfConfig,
    *, seed: int = 0, process: int = 0, processes: int = 1,
) -> dict[str, Feed]:
    """The feeds "head" and "torso": `sampling.frames` examples a step, each a frame with its rays.

    Args:
        capture: whose frames and masks are read one by one, ahead of the steps.
        inputs: see `frozen_arrays`, and "face_rects" (N, 4) x, y, width, height in pixels.
        windows: (N, T, F) audio windows of all frames. Beyond the last training frame they count as
            missing, as published.
        config: the run's.
        seed: of the order of frames, which are drawn with replacement.
        process, processes: which part of every batch is made here.

    Raises:
        InputError: more rays than pixels.
    """
    train = np.asarray(inputs["train"])
    # An imported capture brings the rectangles that its data set was made with.
    own = getattr(capture, "face_rect", None)
    rects = inputs["face_rects"] if own is None else own
    arrays = {
        "camera_to_world": published_poses(inputs["head_to_camera"]),
        "face_rect": np.asarray(rects, np.float32),
        "audio": np.asarray(windows[: int(train[-1]) + 1], np.float32),
        "background": inputs["background"],
    }
    local = config.sampling.frames // processes

    def following(channel: int):
        def read(position: int):
            draw = np.random.default_rng([seed, channel, position])
            ids = train[draw.integers(len(train), size=config.sampling.frames)]
            ids = ids[process * local : (process + 1) * local]
            return {
                "frame": ids.astype(np.int32),
                "picture": np.stack([capture.frame(int(i)) for i in ids]),
                "mask": np.stack([capture.masks(int(i))[..., channel] for i in ids]),
            }, position + 1

        return read

    feeds = {}
    for name, channel, rays in (
        ("head", HEAD, config.sampling.rays), ("torso", PERSON, config.sampling.torso_rays),
    ):  # fmt: skip
        if rays > np.prod(capture.size):
            option = "rays" if name == "head" else "torso_rays"
            height, width = capture.size
            raise InputError(
                f"sampling.{option}={rays}: a frame of {capture.path} has {height} x {width} pixels"
            )
        feeds[name] = Feed(
            batch=config.sampling.frames, sample=_sampler(name, rays, config), arrays=arrays,
            start=0, next=following(channel),
        )
    return feeds


def _sampler(name: str, count: int, config: NerfConfig):
    def sample(arrays, rows, key, step, shard: Shard):
        del step
        return jax.vmap(lambda k, r: draw_example(arrays, r, k, name, count, config))(
            shard.keys(key), rows
        )

    return sample


def draw_example(
    arrays: Mapping[str, jax.Array], row: Mapping[str, jax.Array], key: jax.Array, name: str,
    count: int, config: NerfConfig,
) -> dict[str, Any]:
    """A frame with its rays.

    Args:
        arrays: per-frame arrays of the feed.
        row: "frame" () int32, "picture" (H, W, 3) uint8, "mask" (H, W) uint8 of what is learned.
        key: of the example.
        name: "head" or "torso", which decides on the region that rays are drawn from.
        count: R rays, static.
        config: the run's.

    Returns:
        {"pixels" (R, 2) int32 row and column, "target" (R, 3) in [0, 1]: the picture where the mask
        is and the clean background elsewhere, "audio" (S, T, F), "camera_to_world" (4, 4), and with
        jitter "jitter" raw key}.
    """
    where, jitter = jax.random.split(key)
    (height, width), sampling = row["picture"].shape[:2], config.sampling
    rect = arrays["face_rect"][row["frame"]]
    inside, within = _region(name, (height, width), rect, count, config)
    pixels = draw_pixels(where, inside, count=count, within=within)
    y, x = pixels[:, 0], pixels[:, 1]
    mask = row["mask"][y, x].astype(jnp.float32)[:, None] / 255
    rgb = row["picture"][y, x].astype(jnp.float32) / 255
    behind = arrays["background"][y, x].astype(jnp.float32) / 255
    example = {
        "pixels": pixels,
        "target": mask * rgb + (1 - mask) * behind,
        "audio": window_rows(arrays["audio"], row["frame"], config.audio.smoothed),
        "camera_to_world": arrays["camera_to_world"][row["frame"]],
    }
    return example | ({"jitter": jax.random.key_data(jitter)} if sampling.jitter else {})


def _region(name: str, size: tuple[int, int], rect: jax.Array, count: int, config: NerfConfig):
    """The region that rays are drawn from, and how many of them."""
    sampling = config.sampling
    if sampling.rect_share == 0:
        return jnp.zeros(size, bool), 0
    if name == "head":
        within = int(count * sampling.rect_share)
    else:
        # The lower half of the picture; transposed, as published, the right half.
        rect = jnp.array([0.0, size[0] / 2, size[1], size[0] / 2])
        within = int(count * float(size[1]) * (size[0] / 2) / size[0] / size[1])
    return in_rectangle(size, rect, transposed=sampling.rect_transposed), within
