"""A picture unwrapped onto a tracked mesh: its values at points that stay on the skin."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

_HIGHEST = jax.lax.Precision.HIGHEST
POINTS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """Points that stay on the skin: corners (P, 3) int32, barycentric (P, 3), weights (P,)."""

    corners: np.ndarray
    barycentric: np.ndarray
    weights: np.ndarray


def surface_points(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> Surface:
    """Points spread evenly over a mesh (V, 3), weighted by how rigid their corners (V,) are.

    Args:
      vertices: (V, 3) metres; faces: (F, 3) int32, front-facing side counter-clockwise.
      weights: (V,) not negative; a face counts as its least rigid corner.
    """
    edges = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    least = weights[faces].min(1)
    area = area * (least > 0)
    # One stratified draw along the cumulated area; the golden ratio spreads points inside
    # triangles.
    where = (np.arange(POINTS) + 0.5) / POINTS * area.sum()
    chosen = np.searchsorted(np.cumsum(area), where).clip(0, len(faces) - 1)
    u = np.arange(POINTS) * 0.7548776662466927 % 1.0
    v = np.arange(POINTS) * 0.5698402909980532 % 1.0
    root = np.sqrt(u)
    barycentric = np.stack([1 - root, root * (1 - v), root * v], 1)
    return Surface(
        corners=faces[chosen].astype(np.int32),
        barycentric=barycentric.astype(np.float32),
        weights=(least[chosen] / least.max()).astype(np.float32),
    )


def surface_at(surface: Surface, vertices: np.ndarray) -> np.ndarray:
    """(B, P, 6) float32 positions and unit normals of the surface points on (B, V, 3) vertices."""
    corners = np.asarray(vertices, np.float32)[:, surface.corners]
    places = np.einsum("pk,bpki->bpi", surface.barycentric, corners)
    normals = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return np.concatenate([places, normals], -1)


def look_up(picture, points, weights, K, pose):
    """Values (P,) of a picture at the surface points and their weights."""
    place = jnp.matmul(points[:, :3], pose[:3, :3].T, precision=_HIGHEST) + pose[:3, 3]
    value, _ = sample_with_slope(picture, to_pixels(place, K))
    return value, weights * facing(points, place, pose)


def facing(points: jax.Array, place: jax.Array, pose: jax.Array) -> jax.Array:
    """(P,) cosine between the normal and the way to the camera, 0 where it is seen at a slant."""
    normals = jnp.matmul(points[:, 3:], pose[:3, :3].T, precision=_HIGHEST)
    view = -place / jnp.linalg.norm(place, axis=1, keepdims=True)
    return jnp.clip(((normals * view).sum(1) - 0.3) / 0.7, 0.0, 1.0)


def to_pixels(place: jax.Array, K: jax.Array) -> jax.Array:
    """(P, 2) pixels of camera points (P, 3)."""
    return place[:, :2] / place[:, 2:] * jnp.stack([K[0, 0], K[1, 1]]) + K[:2, 2]


def sample_with_slope(picture: jax.Array, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bilinear values (P,) at pixel positions (centres at +0.5) and their slopes (P, 2)."""
    height, width = picture.shape
    at = pixels - 0.5
    corner = jnp.clip(jnp.floor(at), 0, jnp.array([width - 2, height - 2]))
    part = jnp.clip(at - corner, 0.0, 1.0)
    x, y = corner[:, 0].astype(jnp.int32), corner[:, 1].astype(jnp.int32)
    flat = picture.reshape(-1)
    a, b = flat[y * width + x], flat[y * width + x + 1]
    c, d = flat[(y + 1) * width + x], flat[(y + 1) * width + x + 1]
    u, v = part[:, 0], part[:, 1]
    value = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
    slope_x = (1 - v) * (b - a) + v * (d - c)
    slope_y = (1 - u) * (c - a) + u * (d - b)
    return value, jnp.stack([slope_x, slope_y], 1)


def scaled_camera(K: jax.Array, level: int) -> jax.Array:
    """K of a picture halved `level` times."""
    return jnp.asarray(K).at[:2].multiply(0.5**level)
