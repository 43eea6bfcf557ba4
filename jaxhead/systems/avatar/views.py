"""Small pictures of an avatar that gradients pass through, at bounded memory.

`predict.predict` gathers its rays by what they meet and is not differentiable. Here every pixel is
rendered, a chunk of them at a time, and a chunk is rendered again when its gradient is asked for:
what is kept per picture is the picture.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.cameras import orbit, pixel_centres, pixel_rays
from jaxhead.geometry.transforms import matmul, rigid_inverse
from jaxhead.rendering.chunks import suited
from jaxhead.rendering.torso import layered, torso_points
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.body import before_head, own_pixels
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.rays import Frames, Rays, cell_kinds, render_head

CHUNK, LARGE_CHUNK = 448, 4096
"""Rays rendered together, a seventh of a picture of 56 pixels a side."""


@flax.struct.dataclass
class Shot:
    """One frame, and the camera that looks at it.

    Attributes:
      head_to_camera: (4, 4) of the camera; own: (4, 4) of the camera that took the frame.
      geometry, condition (k,), sway (G, G, 2): see `rays.Frames`, of one frame.
      torso_motion: (2, 3) in pixels of the frame; torso_condition: (6,).
      corner, side: (2,) and () pixels of the frame: the square that the picture shows.
    """

    head_to_camera: jax.Array
    own: jax.Array
    geometry: jax.Array
    condition: jax.Array
    sway: jax.Array
    torso_motion: jax.Array
    torso_condition: jax.Array
    corner: jax.Array
    side: jax.Array


def turned(head_to_camera: jax.Array, yaw: jax.Array, pitch: jax.Array) -> jax.Array:
    """(4, 4) after the head turned about its own origin by angles in radians, see `cameras.orbit`.
    """
    return orbit(head_to_camera, yaw, pitch, jnp.zeros(3, head_to_camera.dtype))


def square_of(
    box: jax.Array, size: tuple[int, int], margin: float = 1.1
) -> tuple[jax.Array, jax.Array]:
    """The square inside a picture that shows a box.

    Args:
      box: (4,) x0, y0, x1, y1 pixels.
      size: (H, W).
      margin: how many times larger than the box's longer side.

    Returns:
      corner (2,) x, y and side () in pixels.
    """
    limit = jnp.array([size[1], size[0]], box.dtype)
    side = jnp.minimum(margin * jnp.max(box[2:] - box[:2]), jnp.min(limit))
    corner = jnp.clip(0.5 * (box[:2] + box[2:] - side), 0.0, limit - side)
    return corner, side


def cropped(image: jax.Array, corner: jax.Array, side: jax.Array, size: int) -> jax.Array:
    """(size, size, 3) the square of an image (H, W, 3), each pixel the mean of what it covers."""
    scale = size / side
    return jax.image.scale_and_translate(
        image, (size, size, image.shape[-1]), (0, 1), jnp.stack([scale, scale]),
        -corner[::-1] * scale, "linear", antialias=True, precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip


def render_shot(
    params: Any, state: Any, frozen: dict[str, Any], shot: Shot, *, pixels: int,
    size: tuple[int, int], config: AvatarConfig, chunk: int | None = None,
) -> jax.Array:
    """A small picture, differentiable in the parameters.

    Args:
      params: {"head", "torso"}; state: {"occupancy"}; frozen: the run's arrays.
      shot: what is looked at and from where.
      pixels: side of the picture; one ray through the middle of each.
      size: (H, W) of the frame.
      config: the run's.
      chunk: rays rendered together, None for what suits the device; memory grows with it, not with
        `pixels`.

    Returns:
      (pixels, pixels, 3) head over torso over the clean plate, in [0, 1].
    """
    chunk = chunk or suited(cpu=CHUNK, accelerator=LARGE_CHUNK)
    places = shot.corner + pixel_centres((pixels, pixels)) * (shot.side / pixels)
    plate = frozen["background"].astype(jnp.float32) / 255
    plate = cropped(plate, shot.corner, shot.side, pixels)
    cells = cell_kinds(state["occupancy"], frozen)
    frames = Frames(shot.geometry[None], shot.condition[None], shot.sway[None])
    from_own = matmul(shot.head_to_camera, rigid_inverse(shot.own))

    def part(params, places, plate):
        origins, directions = pixel_rays(frozen["K"], shot.head_to_camera, places)
        rays = Rays(origins, directions, jnp.zeros((len(places),), jnp.int32))
        head, _ = render_head(params["head"], rays, frames, cells, frozen, None, config=config)
        own, on_body, distance = own_pixels(
            places, frozen["K"], from_own, shot.torso_motion,
            body=frozen["body"], place=frozen["body_place"], size=size,
        )
        torso, alpha = model.torso_layer(
            params, torso_points(own, shot.torso_motion, size),
            jnp.broadcast_to(shot.torso_condition, (len(places), shot.torso_condition.shape[-1])),
            config=config.torso,
        )  # fmt: skip
        front = before_head(head, distance)
        rgb, _ = layered(head.rgb, head.alpha, torso, alpha * on_body, plate, front)
        return rgb

    again = jax.checkpoint(part)
    count = pixels**2
    parts = [_chunks(x.reshape(count, -1), chunk) for x in (places, plate)]
    rgb = jax.lax.map(lambda arrays: again(params, *arrays), parts)
    return rgb.reshape(-1, 3)[:count].reshape(pixels, pixels, 3)


def _chunks(x: jax.Array, chunk: int) -> jax.Array:
    """(c, chunk, ...) of (n, ...), the last chunk padded with its last row."""
    pad = -len(x) % chunk
    return jnp.pad(x, ((0, pad), (0, 0)), mode="edge").reshape(-1, chunk, x.shape[-1])
