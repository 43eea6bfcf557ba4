"""Draws the synthetic person with the project's rasteriser: picture, masks and depth."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxhead.captures.synthetic_scene import Scene, light_vertices, pose_scene
from jaxhead.geometry.cameras import project_camera
from jaxhead.geometry.rasterise import interpolate, rasterise
from jaxhead.heads.model import Array

SUPERSAMPLE = 4
_HIGHEST = jax.lax.Precision.HIGHEST
_ONE_SURFACE = 0.01
"""Metres: depths in a pixel that differ by less are of one surface."""


class Picture(NamedTuple):
    """What one camera sees.

    Attributes:
      frame: (H, W, 3) uint8.
      masks: (H, W, 3) uint8: person, head, torso; soft at edges.
      depth: (H, W) float32 metres of the nearest surface in the pixel, its mean over the pixel,
        which is its depth at the centre where it is flat; zero where there is none.

    Arrays are jax's where they are drawn, and NumPy's once they are fetched.
    """

    frame: Any
    masks: Any
    depth: Any


@functools.partial(jax.jit, static_argnames=("size",))
def draw(
    scene: Scene,
    expression: jax.Array,
    head_to_camera: jax.Array,
    torso_to_camera: jax.Array,
    view: jax.Array,
    K: jax.Array,
    background: jax.Array,
    *,
    size: tuple[int, int],
) -> Picture:
    """Returns what a camera sees of the person.

    Args:
      scene: the person.
      expression: (E,) scores.
      head_to_camera, torso_to_camera: (4, 4) poses in the first camera's space, where the light is.
      view: (4, 4) rigid motion from the first camera's space to the viewing camera's.
      K: (3, 3) intrinsics in pixels of the picture.
      background: (H, W, 3) uint8 behind the person.
      size: (height, width).
    """
    vertices, normals = pose_scene(scene, expression, head_to_camera, torso_to_camera)
    eye = -jnp.matmul(view[:3, :3].T, view[:3, 3], precision=_HIGHEST)
    light, gleam = light_vertices(scene, vertices, normals, eye)
    seen = jnp.matmul(vertices, view[:3, :3].T, precision=_HIGHEST) + view[:3, 3]
    fine = (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE)
    pixels = project_camera(seen, K) * SUPERSAMPLE
    face, weights, depth = rasterise(pixels, seen[:, 2], scene.faces, fine, cull="back")
    attributes = jnp.concatenate([light, gleam, scene.uv], -1)
    values = interpolate(attributes, scene.faces, face, weights)
    colour = _texel(scene.texture, values[..., 6:]) * values[..., :3] + values[..., 3:6]
    torso = scene.torso_faces[jnp.maximum(face, 0)]
    covered = face >= 0
    masks = jnp.stack([covered, covered & ~torso, covered & torso], -1).astype(jnp.float32)
    person = _pool(jnp.where(covered[..., None], jnp.clip(colour, 0, 1), 0.0))
    masks = _pool(masks)
    behind = (background.astype(jnp.float32) / 255.0) ** 2.2
    linear = person + (1 - masks[..., :1]) * behind
    height, width = size
    near = jnp.where(covered, depth, jnp.inf).reshape(height, SUPERSAMPLE, width, SUPERSAMPLE)
    first = near.min((1, 3), keepdims=True)
    near = near.mean((1, 3), where=near < first + _ONE_SURFACE)
    return Picture(
        frame=_bytes(linear ** (1 / 2.2)),
        masks=_bytes(masks),
        depth=jnp.where(jnp.isfinite(first[:, 0, :, 0]), near, 0.0),
    )


def paint_background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Returns a (H, W, 3) uint8 room behind the person: wall, panels, a picture, a lamp's glow."""
    height, width = size
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
    )
    wall = np.array([0.42, 0.45, 0.44]) + rng.uniform(-0.06, 0.06, 3)
    wood = np.array([0.36, 0.24, 0.15]) + rng.uniform(-0.04, 0.04, 3)
    glow = np.exp(-((x - 0.15) ** 2 + (y - 0.1) ** 2) / 0.25)
    picture = wall * (0.72 + 0.35 * glow)[..., None] * np.ones((height, width, 3))
    edge = rng.uniform(0.70, 0.78)
    grain = ndimage.gaussian_filter(rng.normal(0, 1, size), (height / 25, width / 500 + 0.4))
    grain = grain / grain.std()
    planks = 0.85 + 0.15 * (np.abs(((x * 9) % 1) - 0.5) < 0.47)
    panel = wood * ((0.9 + 0.10 * grain) * planks)[..., None]
    picture = np.where((x > edge)[..., None], panel, picture)
    left, top = rng.uniform(0.02, 0.06), rng.uniform(0.06, 0.14)
    inside = (x > left) & (x < left + 0.2) & (y > top) & (y < top + 0.28)
    canvas = ndimage.gaussian_filter(rng.normal(0, 1, (*size, 3)), (height / 30, width / 30, 0))
    canvas = canvas.mean(-1, keepdims=True) * [0.9, 0.8, 0.6] + 0.35 * canvas
    canvas = 0.42 + 0.16 * canvas / canvas.std()
    frame = (x > left - 0.012) & (x < left + 0.212) & (y > top - 0.012) & (y < top + 0.292)
    picture = np.where(frame[..., None], 0.16, picture)
    picture = np.where(inside[..., None], canvas, picture)
    speckle = ndimage.gaussian_filter(rng.normal(0, 1, size), 0.7)
    picture = picture + 0.02 * speckle[..., None]
    blurred = ndimage.gaussian_filter(picture, (height / 220, width / 220, 0))
    return (np.clip(blurred, 0, 1) * 255 + 0.5).astype(np.uint8)


def _texel(texture: Array, at: jax.Array) -> jax.Array:
    """Returns (..., 3) of a texture (R, C, 3) between its texels, at (..., 2) columns and rows."""

    def channel(values):
        return jax.scipy.ndimage.map_coordinates(
            values, [at[..., 1], at[..., 0]], order=1, mode="nearest"
        )

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(jnp.asarray(texture))


def _pool(values: jax.Array) -> jax.Array:
    """Returns the mean (H, W, C) over the samples of each pixel."""
    height, width, channels = values.shape
    cells = (height // SUPERSAMPLE, SUPERSAMPLE, width // SUPERSAMPLE, SUPERSAMPLE, channels)
    return values.reshape(cells).mean((1, 3))


def _bytes(values: jax.Array) -> jax.Array:
    return (jnp.clip(values, 0, 1) * 255 + 0.5).astype(jnp.uint8)
