"""The fast variant's training feed: a pool of frames on the device, and the rays drawn from it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.hull import region_masks
from jaxhead.geometry import draws
from jaxhead.rendering.pixels import draw_pixels, pixels_in_boxes
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.hash_config import HashConfig
from jaxhead.systems.adnerf.hash_model import SMOOTHED
from jaxhead.systems.adnerf.inputs import AdnerfSpec, pose_numbers, torso_numbers
from jaxhead.systems.adnerf.speech import device_windows
from jaxhead.training.pool import REFRESH_EVERY, FramePool
from jaxhead.training.system import Feed, Shard

_EVERYWHERE = 8
"""One head ray in so many is drawn from the whole picture: what floats outside the head is seen."""


def draw_rays(arrays: dict[str, jax.Array], key: jax.Array, config: HashConfig) -> dict[str, Any]:
    """One example: a resident frame and its rays.

    Args:
      arrays: the pool and the per-frame boxes.
      key: of the example.
      config: the run's.

    Returns:
      {"slot", "place" () int32, among the training frames, "pixels" (R, 2) float32 centres,
      "rgb" (R, 3), "masks" (R, 4), "random" (R, 3) a random colour, "random_used" (R,) bool,
      "jitter" and "noise" raw keys}; the first `head_rays` go through the head's region.
    """
    sampling = config.sampling
    keys = jax.random.split(key, 10)
    slot = jax.random.randint(keys[0], (), 0, jnp.maximum(arrays["count"], 1))
    place = arrays["place"][slot]
    near = arrays["masks"][slot, ..., 3]
    height, width = near.shape
    whole = jnp.array([0, 0, width, height], jnp.float32)
    heads = sampling.head_rays
    wide = max(1, heads // _EVERYWHERE)
    mouth = min(round(heads * sampling.mouth), heads - wide)
    eyes = min(round(heads * sampling.eyes), heads - wide - mouth)
    pixels = jnp.concatenate([
        pixels_in_boxes(keys[1], arrays["mouth_boxes"][place][None], mouth, (width, height)),
        pixels_in_boxes(keys[2], arrays["eye_boxes"][place], eyes, (width, height)),
        draw_pixels(keys[3], arrays["boxes"][slot], near, heads - wide - mouth - eyes, True),
        draw_pixels(keys[4], whole, near, wide, False),
        draw_pixels(keys[5], whole, near, sampling.torso_rays, False),
    ])  # fmt: skip
    x, y = pixels[:, 0], pixels[:, 1]
    share = config.loss.random_background
    return {
        "slot": slot,
        "place": place,
        "pixels": pixels.astype(jnp.float32) + 0.5,
        "rgb": arrays["frames"][slot, y, x].astype(jnp.float32) / 255,
        "masks": arrays["masks"][slot, y, x].astype(jnp.float32) / 255,
        "random": draws.uniform(keys[6], (len(x), 3)),
        "random_used": jax.random.uniform(keys[7], (len(x),)) < share,
        "jitter": jax.random.key_data(keys[8]),
        "noise": jax.random.key_data(keys[9]),
    }


def frame_arrays(
    spec: AdnerfSpec, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What is known of each training frame, in the order of "train"."""
    train = inputs["train"]
    poses = inputs["head_to_camera"][train]
    pose = pose_numbers(inputs, poses)
    motion = inputs["torso_motion"]
    return {
        "mouth_boxes": inputs["mouth_boxes"][train],
        "eye_boxes": inputs["eye_boxes"][train],
        "head_to_camera": poses,
        "sway": inputs["sway"],
        "mouth": inputs["mouth"][train],
        "rest": inputs["rest"][train],
        "pose": pose,
        "torso_motion": motion,
        "torso_condition": np.concatenate(
            [torso_numbers(inputs, motion, spec.size), pose], -1
        ),
        "id": train.astype(np.int32),
    }


def make_feed(
    capture: Capture, spec: AdnerfSpec, inputs: dict[str, np.ndarray], config: AdnerfConfig
) -> Feed:
    """The feed "rays": `sampling.frames` examples a step, each a frame with its rays and speech."""
    own, train = config.hash, inputs["train"]
    places = {int(frame): place for place, frame in enumerate(train)}

    def read(frame: int) -> dict[str, Any]:
        masks, box = region_masks(capture.masks(frame))
        return {
            "frames": capture.frame(frame), "masks": masks, "boxes": box,
            "place": np.int32(places[frame]),
        }  # fmt: skip

    pool = FramePool(
        frames=train, slots=min(own.sampling.pool, spec.train_frames),
        rotate_every=own.sampling.rotate_every, read=read,
    )  # fmt: skip
    per_frame = frame_arrays(spec, inputs)
    arrays = pool.empty() | per_frame | {
        "speech": inputs["speech"], "beyond": inputs["speech_beyond"]
    }

    def sample(arrays, rows, key, step, shard: Shard):
        del rows, step
        batch = jax.vmap(lambda k: draw_rays(arrays, k, own))(shard.keys(key))
        known = {name: arrays[name][batch["place"]] for name in per_frame}
        windows = device_windows(
            arrays["speech"], arrays["beyond"], known["id"], rate=spec.rate, fps=spec.fps,
            size=config.audio.window, count=SMOOTHED,
        )  # fmt: skip
        return batch | known | {"windows": windows}

    return Feed(
        batch=own.sampling.frames,
        sample=sample,
        arrays=arrays,
        refresh=pool.refresh,
        refresh_every=REFRESH_EVERY,
        pool=pool,
    )
