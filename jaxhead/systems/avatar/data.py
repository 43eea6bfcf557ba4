"""The avatar's training feed: pictures, masks and geometry of a pool of frames on the device.

The pool is bounded, so a ten-minute capture needs no more memory than a one-minute one, and it is
filled while training already runs. Which frames are resident is a function of the step alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.hull import region_masks, torso_below
from jaxhead.geometry import draws
from jaxhead.geometry.fusion import materialised
from jaxhead.heads.model import HeadModel
from jaxhead.rendering.pixels import draw_pixels, pixels_in_boxes
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.depth_maps import DepthMaps
from jaxhead.systems.avatar.depths import head_shares, with_neighbours
from jaxhead.systems.avatar.inputs import AvatarSpec, frame_condition, torso_condition
from jaxhead.systems.avatar.parsed import DEPTHLESS, MOUTH, where_classes
from jaxhead.systems.avatar.surface import GeometryCache
from jaxhead.training.pool import REFRESH_EVERY, FramePool
from jaxhead.training.system import Feed, Shard

FOCUSED = ("lips", "eyes")
LAYERS = {"depth": np.uint16, "distance": np.uint16, "region": np.bool_}
"""Pictures that only some terms of the loss read, by their names in the pool and in a batch."""
_RIM = 1.5
"""Pixels around the boxes of eyes and mouth."""


@dataclasses.dataclass(eq=False)
class PoolFiller:
    """Host side of the pool: what it holds of a frame, and `pool`, which the feed refreshes.

    layers: frame -> picture (H, W), by the names of `LAYERS`.
    """

    capture: Capture
    train: np.ndarray
    geometry: GeometryCache
    slots: int
    rotate_every: int
    layers: Mapping[str, Callable[[int], np.ndarray]] = dataclasses.field(default_factory=dict)
    pool: FramePool = dataclasses.field(init=False)

    def __post_init__(self):
        self.pool = FramePool(
            frames=self.train, slots=self.slots, rotate_every=self.rotate_every, read=self.read
        )

    def empty(self) -> dict[str, np.ndarray]:
        """The pool's arrays before anything is resident."""
        height, width = self.capture.size
        layers = {
            name: np.zeros((self.slots, height, width), LAYERS[name]) for name in self.layers
        }
        return layers | {
            "frames": np.zeros((self.slots, height, width, 3), np.uint8),
            "masks": np.zeros((self.slots, height, width, 4), np.uint8),
            "geometry": np.zeros((self.slots, *self.geometry.shape), self.geometry.dtype),
            "boxes": np.zeros((self.slots, 4), np.float32),
            "ids": np.zeros(self.slots, np.int32),
            "count": np.zeros((), np.int32),
        }

    def refresh(self, arrays: dict[str, Any], step: int) -> dict[str, Any]:
        """The pool's arrays at `step`, from its last ones or the empty ones; waits for geometry."""
        return self.pool.refresh(arrays, step)

    def read(self, frame: int) -> dict[str, np.ndarray]:
        """What the pool holds of a frame, in the dtypes of `empty`; waits for its geometry."""
        captured = self.capture.masks(frame)
        masks, box = region_masks(captured)
        masks[..., 2] = torso_below(captured)
        found = {
            "frames": self.capture.frame(frame),
            "masks": masks,
            "geometry": self.geometry.get(frame),
            "boxes": np.asarray(box, np.float32),
        }
        return found | {
            name: np.asarray(layer(frame), LAYERS[name]) for name, layer in self.layers.items()
        }


def focus_boxes(
    head: HeadModel, vertices: np.ndarray, head_to_camera: np.ndarray, K: np.ndarray
) -> np.ndarray:
    """(n, 4, 4) float32 boxes x0, y0, x1, y1 in pixels around mouth (twice) and each eye.

    They are a fiftieth of a picture and most of what a viewer looks at. A head without such
    regions gets the box of its whole mesh.

    Args:
      head: its regions name lips and eyes.
      vertices: (n, V, 3) metres; head_to_camera: (n, 4, 4); K: (3, 3) pixels.
    """
    regions, names = np.asarray(head.regions), head.region_names
    left = np.asarray(head.template)[:, 0] > 0
    lips, eyes = (regions == names.index(n) if n in names else regions < 0 for n in FOCUSED)
    boxes = []
    for chosen in (lips, lips, eyes & left, eyes & ~left):
        points = vertices[:, chosen if chosen.any() else slice(None)]
        camera = np.einsum("nij,nvj->nvi", head_to_camera[:, :3, :3], points)
        camera = camera + head_to_camera[:, None, :3, 3]
        pixels = np.einsum("ij,nvj->nvi", K, camera)
        pixels = pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-6)
        boxes.append(np.concatenate([pixels.min(1) - _RIM, pixels.max(1) + _RIM], -1))
    return np.stack(boxes, 1).astype(np.float32)


def draw_rays(arrays: dict[str, jax.Array], key: jax.Array, config: AvatarConfig) -> dict[str, Any]:
    """One example: a resident frame and its rays.

    Args:
      arrays: the pool and the per-frame measurements.
      key: of the example.
      config: the run's.

    Returns:
      {"slot", "frame" () int32, "pixels" (R, 2) float32 centres, "rgb" (R, 3), "masks" (R, 4),
      "random" (R, 3) a random colour, "random_used" (R,) bool, "jitter" and "noise" raw keys};
      the first `head_rays` go through the head's region.
    """
    sampling = config.sampling
    slot_key, focus_key, head_key, torso_key, wide_key, color_key, used_key, jitter, noise = (
        draws.split(key, 9)
    )
    slot = jax.random.randint(slot_key, (), 0, jnp.maximum(arrays["count"], 1))
    masks, frames = arrays["masks"], arrays["frames"]
    near = masks[slot, ..., 3]
    height, width = near.shape
    whole = jnp.array([0, 0, width, height], jnp.float32)
    few, plain, wide = head_shares(config)
    boxes = arrays["focus"][arrays["ids"][slot]]
    pixels = [
        pixels_in_boxes(focus_key, boxes, few, (width, height)),
        draw_pixels(
            head_key, arrays["boxes"][slot], near, plain, True
        ),
        draw_pixels(wide_key, whole, near, wide, False),
        draw_pixels(torso_key, whole, near, sampling.torso_rays, False),
    ] if not sampling.uniform else [
        pixels_in_boxes(focus_key, whole[None], few, (width, height)),
        pixels_in_boxes(head_key, whole[None], plain, (width, height)),
        pixels_in_boxes(wide_key, whole[None], wide, (width, height)),
        draw_pixels(torso_key, whole, near, sampling.torso_rays, False),
    ]
    if config.loss.depth_smoothness > 0:
        pixels[1] = with_neighbours(pixels[1], (width, height))
    pixels = jnp.concatenate(pixels)
    x, y = pixels[:, 0], pixels[:, 1]
    # Only where a term asks for it: the program of all others stays what it is.
    layers = {name: arrays[name][slot, y, x] for name in LAYERS if name in arrays}
    return layers | {
        "slot": slot,
        "frame": arrays["ids"][slot],
        "pixels": pixels.astype(jnp.float32) + 0.5,
        "rgb": frames[slot, y, x].astype(jnp.float32) / 255,
        "masks": masks[slot, y, x].astype(jnp.float32) / 255,
        "random": draws.uniform(color_key, (len(x), 3)),
        "random_used": draws.uniform(used_key, (len(x),)) < config.loss.random_background,
        "jitter": jax.random.key_data(jitter),
        "noise": jax.random.key_data(noise),
    }


def loss_layers(
    capture: Capture, config: AvatarConfig, depths: DepthMaps | None
) -> dict[str, Callable[[int], np.ndarray]]:
    """The pictures of `LAYERS` that a configuration's loss reads; see `make_feed`."""
    layers: dict[str, Callable[[int], np.ndarray]] = {}
    if depths is not None and config.loss.depth_ordinal > 0:
        layers["depth"] = depths.get
    if config.loss.region != 1:
        layers["region"] = where_classes(capture, MOUTH, "loss.region")
    if depths is not None and config.loss.depth > 0:
        layers["distance"] = depths.metric
        if "parsing" in capture.layers():
            off = where_classes(capture, DEPTHLESS, "loss.depth")
            layers["distance"] = lambda frame: depths.metric(frame) * ~off(frame)
    return layers


def _looked_at(arrays: dict[str, jax.Array], slot: jax.Array, shard: Shard) -> dict[str, Any]:
    """What the semantic term takes of the first example of the global batch."""
    first = shard.indices() == 0
    return {
        "first": first.astype(jnp.float32) * (shard.total // shard.count),
        "picture": arrays["frames"][slot],
        "box": arrays["boxes"][slot][None],
    }


def make_feed(
    capture: Capture,
    spec: AvatarSpec,
    inputs: dict[str, np.ndarray],
    geometry: GeometryCache,
    config: AvatarConfig,
    depths: DepthMaps | None = None,
) -> Feed:
    """The feed "rays": `sampling.frames` examples a step, each a frame with its rays.

    Args:
      capture, spec, inputs, geometry, config: of the run.
      depths: reference depths, where `loss.depth_ordinal` or `loss.depth` wants them; None for
        those that need no other files.

    Raises:
      InputError: `loss.region` wants classes that the capture has not.
    """
    if depths is None and config.loss.depth > 0:
        depths = DepthMaps(capture, config)
    filler = PoolFiller(
        capture=capture,
        train=inputs["train"],
        geometry=geometry,
        slots=min(config.surface.pool, spec.train_frames),
        rotate_every=config.surface.rotate_every,
        layers=loss_layers(capture, config, depths),
    )
    arrays = filler.empty() | {
        "focus": focus_boxes(
            capture.head, inputs["vertices"], inputs["head_to_camera"], inputs["K"]
        ),
        "head_to_camera": inputs["head_to_camera"],
        "condition": frame_condition(
            inputs, inputs["expression"], inputs["vertices"], inputs["head_to_camera"], config,
            np.arange(spec.frames),
        ),
        "sway": inputs["sway"],
        "torso_motion": inputs["torso_motion"],
        "torso_condition": torso_condition(inputs, inputs["torso_motion"], spec.size),
    }

    def sample(arrays, rows, key, step, shard: Shard):
        del rows, step
        batch = jax.vmap(lambda k: draw_rays(arrays, k, config))(shard.keys(key))
        frame = batch["frame"]
        # Copied as it is: fused with the look-ups that follow, every element of the copy would find
        # out anew which frame it belongs to (180 ns per sample on a CPU instead of 10).
        geometry = materialised(arrays["geometry"][batch["slot"]])
        if config.loss.semantic:
            batch |= _looked_at(arrays, batch["slot"][0], shard)
        return batch | {
            "geometry": geometry,
            "head_to_camera": arrays["head_to_camera"][frame],
            "condition": arrays["condition"][frame],
            "sway": arrays["sway"][frame],
            "torso_motion": arrays["torso_motion"][frame],
            "torso_condition": arrays["torso_condition"][frame],
        }

    return Feed(
        batch=config.sampling.frames,
        sample=sample,
        arrays=arrays,
        refresh=filler.refresh,
        refresh_every=REFRESH_EVERY,
        pool=filler.pool,
    )
