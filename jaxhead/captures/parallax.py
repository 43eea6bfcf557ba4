"""How far before or behind its sheet hair is: what of its sway follows the camera's side.

The sheet runs along the mesh, and beside it at the outline's depth; hair stands off both by
centimetres. What lies h before the sheet seems to shift on it by -h times the slope of the line of
sight (its x and y per z in head space): that share of the measured sway is depth, no motion.
Without it a turn beyond the training frames' meets hair that its field put at any depth.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from jaxhead.captures.sheet import NODES

_LARGEST = 0.06
_STEEPEST = 2.0
_SMOOTH = 0.7  # nodes
_PRIOR = 0.02
"""Heights are drawn to zero as by so much of the mean information about them."""


def sight_slopes(nodes: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """(N, n, 2) x and y per z of the lines of sight from N cameras to nodes.

    Args:
      nodes: (n, 3) head space, metres; poses: (N, 4, 4) head to camera.
    """
    sight = nodes - np.linalg.inv(poses)[:, None, :3, 3]
    # Cameras are before the head, where z is positive: sight runs towards -z.
    ahead = np.minimum(sight[..., 2:], -1e-6)
    return np.clip(sight[..., :2] / ahead, -_STEEPEST, _STEEPEST)


def heights_of(shifts: np.ndarray, slopes: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(n,) metres by which least squares find nodes before the sheet, at most 6 cm either way.

    Args:
      shifts: (N, n, 2) metres of training frames; slopes: (N, n, 2) of `sight_slopes`; both are
        taken from their means over frames.
      free: (n,) in [0, 1], 0 where the sheet is known to be right (tracked skin).
    """
    shifts, slopes = shifts - shifts.mean(0), slopes - slopes.mean(0)
    product = -(shifts * slopes).sum((0, -1)) * free
    square = (slopes**2).sum((0, -1))

    def smoothed(values):
        return ndimage.gaussian_filter(values.reshape(NODES, NODES), _SMOOTH).reshape(-1)

    known = smoothed(square) + _PRIOR * square.mean() + 1e-9
    return np.clip(smoothed(product) / known, -_LARGEST, _LARGEST)
