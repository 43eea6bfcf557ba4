"""Texture coordinates per vertex, for meshes that have none or have them per corner."""

import numpy as np


def around_uv(vertices: np.ndarray) -> np.ndarray:
    """Returns cylindrical coordinates (V, 2) in [0, 1] about the mesh's vertical axis.

    u is 0.5 in front and grows to the subject's left, v is 0 at the top and grows downwards.

    Args:
      vertices: (V, 3) with y up and +z out of the face.
    """
    vertices = np.asarray(vertices, np.float64)
    low, high = vertices.min(0), vertices.max(0)
    x, y, z = (vertices - (low + high) / 2).T
    angle = np.arctan2(x, z)
    height = max(high[1] - low[1], np.finfo(np.float32).tiny)
    return np.stack([0.5 + angle / (2 * np.pi), 0.5 - y / height], 1).clip(0, 1).astype(np.float32)


def corner_uv(
    faces: np.ndarray, corners: np.ndarray, coordinates: np.ndarray, count: int
) -> np.ndarray:
    """Returns one coordinate (V, 2) per vertex of those its faces give it; zero without a face.

    On a seam, where faces disagree, the first face's is kept.

    Args:
      faces: (F, 3) vertices.
      corners: (F, 3) coordinates of the same corners.
      coordinates: (T, 2) in [0, 1].
      count: V.
    """
    result = np.zeros((count, 2), np.float32)
    vertices, first = np.unique(faces.reshape(-1), return_index=True)
    result[vertices] = coordinates[corners.reshape(-1)[first]]
    return result
