"""Where the head's field may be: the visual hull of the training silhouettes around the mesh."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

MOST_FRAMES = 100
_AGREE = 0.95
"""Share of frames in which a cell must lie inside the silhouette: hair moves, masks err."""


def occupancy_prior(
    box: np.ndarray,
    resolution: int,
    K: np.ndarray,
    head_to_camera: np.ndarray,
    regions: list[np.ndarray],
    size: tuple[int, int],
) -> np.ndarray:
    """(r, r, r) bool, z y x: cells of the box that (nearly) all silhouettes allow.

    Args:
      box: (2, 3) metres.
      resolution: r, cells per side.
      K: (3, 3) pixels; head_to_camera: (n, 4, 4).
      regions: n pictures (H, W) bool in which the head's field may show.
      size: (H, W) of the pictures.

    A cell that a frame does not see counts as allowed by it.
    """
    axis = (np.arange(resolution) + 0.5) / resolution
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    points = box[0] + np.stack([x, y, z], -1).reshape(-1, 3) * (box[1] - box[0])
    votes = np.zeros(len(points), np.float32)
    height, width = size
    for pose, region in zip(head_to_camera, regions):
        camera = points @ pose[:3, :3].T + pose[:3, 3]
        depth = np.maximum(camera[:, 2], 1e-6)
        u = K[0, 0] * camera[:, 0] / depth + K[0, 2]
        v = K[1, 1] * camera[:, 1] / depth + K[1, 2]
        seen = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        column = np.clip(u.astype(np.int64), 0, width - 1)
        row = np.clip(v.astype(np.int64), 0, height - 1)
        votes += np.where(seen, region[row, column], True)
    allowed = votes >= _AGREE * len(regions)
    # A cell's corners reach farther than its middle.
    return ndimage.binary_dilation(allowed.reshape((resolution,) * 3))
