"""Points on the skin of a head, and what a picture shows of them."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.marks import Marks
from jaxhead.captures.fitting.posing import Body, part_of, posed
from jaxhead.captures.fitting.problem import frame_parts, frame_translation
from jaxhead.captures.unwrap import Surface
from jaxhead.geometry.rasterise import rasterise
from jaxhead.geometry.transforms import axis_angle_to_matrix
from jaxhead.heads.model import Array

_HIGHEST = jax.lax.Precision.HIGHEST
_BEHIND = 0.004
"""Metres behind the nearest surface at which a point counts as hidden."""


@flax.struct.dataclass
class Skin:
    """Points on the skin of a head.

    Attributes:
      body: the vertices that carry them and the marks; corners: (P, 3) int32; barycentric: (P, 3).
      near: (P, P), how much of a point's surroundings another one is; None where none count.
      whole: all vertices; faces: (F, 3), what may hide a point.
    """

    body: Body
    corners: Array
    barycentric: Array
    near: Array | None
    whole: Body
    faces: Array


@flax.struct.dataclass
class Window:
    """Where the pictures lie in the full frame: pixel = scale * centred + shift.

    Attributes:
      scale: (); shift: (2,) pixels, of pixels around the full frame's principal point.
    """

    scale: Array
    shift: Array


def skin_of(
    body: Body, marks: Marks, surface: Surface, faces: np.ndarray, local: float = 0.0
) -> tuple[Skin, Marks]:
    """Returns the points of a surface on a body, and its marks on the same vertices.

    Args:
      body: all vertices; marks: on them.
      surface: the points; faces: (F, 3) of the mesh.
      local: metres, deviation of a point's surroundings on the mean head; 0 for none.
    """
    near = None
    if local > 0:
        corner = np.asarray(body.template)[surface.corners]
        points = np.einsum("pc,pck->pk", surface.barycentric, corner)
        apart = ((points[:, None] - points) ** 2).sum(-1)
        near = np.exp(-0.5 * apart / local**2).astype(np.float32)
    all_corners = [np.asarray(marks.corners).reshape(-1), surface.corners.reshape(-1)]
    vertices, places = np.unique(np.concatenate(all_corners), return_inverse=True)
    split = all_corners[0].size
    own = places[:split].reshape(np.shape(marks.corners)).astype(np.int32)
    corners = places[split:].reshape(-1, 3).astype(np.int32)
    skin = Skin(part_of(body, vertices), corners, surface.barycentric, near, body, faces)
    return skin, marks.replace(corners=own)  # pyright: ignore[reportAttributeAccessIssue]


def placed(
    skin: Skin, shared: Array, rotation: Array, frame: Array
) -> tuple[jax.Array, jax.Array]:
    """Returns points (P, 3) and unit normals (P, 3) in the camera.

    Args:
      skin: the points.
      shared: (1 + I,), rotation: (3, 3) and frame: (D,) as in `problem.State`.
    """
    expression, lids, turns = frame_parts(skin.body, frame)
    still = jnp.zeros(3, frame.dtype)
    vertices = posed(skin.body, shared[1:], expression, lids, turns, still)
    turn = jnp.matmul(axis_angle_to_matrix(frame[:3]), rotation, precision=_HIGHEST)
    corner = vertices[skin.corners]
    points = jnp.einsum("pc,pck->pk", skin.barycentric, corner, precision=_HIGHEST)
    normals = jnp.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = normals / jnp.sqrt((normals**2).sum(-1, keepdims=True) + 1e-20)
    points = jnp.matmul(points, turn.T, precision=_HIGHEST) + frame_translation(frame)
    return points, jnp.matmul(normals, turn.T, precision=_HIGHEST)


def in_picture(window: Window, shared: Array, points: Array) -> jax.Array:
    """Returns the pixels (P, 2) in the window of camera points (P, 3); `shared` has log f first."""
    centred = jnp.exp(shared[0]) * points[:, :2] / points[:, 2:]
    return jnp.multiply(window.scale, centred) + window.shift


def look_up(picture: Array, pixels: Array) -> jax.Array:
    """Returns colours (P, 3) of a picture (S, S, 3), bilinear; differentiable in the pixels."""
    size = picture.shape[0]
    at = pixels - 0.5
    corner = jnp.clip(jnp.floor(jax.lax.stop_gradient(at)), 0, size - 2)
    part = jnp.clip(at - corner, 0.0, 1.0)
    column, row = corner[:, 0].astype(jnp.int32), corner[:, 1].astype(jnp.int32)
    flat = picture.reshape(-1, 3)
    a, b = flat[row * size + column], flat[row * size + column + 1]
    c, d = flat[(row + 1) * size + column], flat[(row + 1) * size + column + 1]
    u, v = part[:, :1], part[:, 1:]
    return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)


def visible(
    skin: Skin, window: Window, shared: Array, size: int, rotation: Array, frame: Array
) -> jax.Array:
    """Returns (P,) how well each point is seen: from its slant, 0 where something hides it.

    Not differentiable: the rasteriser decides.

    Args:
      skin, window, shared: see `placed` and `in_picture`; size: pixels of the picture.
      rotation, frame: of the frame.
    """
    points, normals = placed(skin, shared, rotation, frame)
    expression, lids, turns = frame_parts(skin.whole, frame)
    still = jnp.zeros(3, frame.dtype)
    vertices = posed(skin.whole, shared[1:], expression, lids, turns, still)
    turn = jnp.matmul(axis_angle_to_matrix(frame[:3]), rotation, precision=_HIGHEST)
    vertices = jnp.matmul(vertices, turn.T, precision=_HIGHEST) + frame_translation(frame)
    place = in_picture(window, shared, vertices)
    depth = rasterise(place, vertices[:, 2], skin.faces, (size, size), cull="back")[2]
    pixels = in_picture(window, shared, points)
    cell = jnp.floor(pixels).astype(jnp.int32)
    inside = jnp.all((cell >= 1) & (cell < size - 1), -1)
    cell = jnp.clip(cell, 0, size - 1)
    nearest = depth[cell[:, 1], cell[:, 0]]
    seen = inside & (nearest > 0) & (points[:, 2] < nearest + _BEHIND)
    view = -points / jnp.linalg.norm(points, axis=-1, keepdims=True)
    slant = jnp.clip(((normals * view).sum(-1) - 0.3) / 0.7, 0.0, 1.0)
    return jnp.where(seen, slant, 0.0)
