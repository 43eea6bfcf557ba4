"""A picture of the tracking for a person to judge: mesh, landmarks and masks over the frame."""

from __future__ import annotations

import numpy as np

_MESH = (90, 255, 120)
_MARKS = (255, 230, 60)
_HEAD = np.array([80, 130, 255], np.float32)
_TORSO = np.array([255, 110, 80], np.float32)


def mesh_edges(faces: np.ndarray) -> np.ndarray:
    """(E, 2) int32 the edges of (F, 3) `faces`, each once."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(pairs, axis=1), axis=0).astype(np.int32)


def front_edges(faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(E, 2) edges of the faces that turn towards the camera.

    Args:
      faces: (F, 3) counter-clockwise from outside; points: (V, 2) pixels, y down.
    """
    a, b, c = (points[faces[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    return mesh_edges(faces[area < 0])


def draw_overlay(
    frame: np.ndarray,
    masks: np.ndarray,
    points: np.ndarray,
    edges: np.ndarray,
    marks: np.ndarray,
    *,
    side: int = 512,
    note: str = "",
) -> np.ndarray:
    """(side, 2 side, 3) uint8: mesh and landmarks on the left, masks on the right.

    Args:
      frame: (S, S, 3) uint8; masks: (S, S, 3) uint8 person, head, torso.
      points: (V, 2) projected mesh vertices in stored pixels; edges: (E, 2) int32.
      marks: (L, 2) landmarks in stored pixels.
      side: of each half in pixels.
      note: written into a corner.
    """
    from PIL import Image, ImageDraw

    scale = side / frame.shape[0]
    base = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC)
    mesh = base.copy()
    draw = ImageDraw.Draw(mesh)
    scaled = np.clip(points * scale, -side, 2 * side)
    for start, end in edges:
        draw.line([*scaled[start], *scaled[end]], fill=_MESH, width=1)
    for x, y in marks * scale:
        draw.point([x, y], fill=_MARKS)
    if note:
        draw.text((6, 4), note, fill=(255, 255, 255))
    return np.concatenate([np.asarray(mesh), _tinted(np.asarray(base), masks, side)], 1)


def _tinted(base: np.ndarray, masks: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    large = np.asarray(Image.fromarray(masks).resize((side, side), Image.Resampling.BILINEAR))
    share = large.astype(np.float32)[..., 1:] / 255
    picture = base.astype(np.float32) * (0.55 + 0.45 * (1 - large[..., :1] / 255.0))
    picture = picture + 0.45 * (share[..., :1] * _HEAD + share[..., 1:] * _TORSO)
    return np.clip(picture, 0, 255).astype(np.uint8)
