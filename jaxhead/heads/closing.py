"""Patches that close a tracked face: skull and neck behind its border, a bag behind its lips.

Lengths are centimetres in head space; vertex numbers are those of the closed mesh, whose first ones
are the face's.
"""

from typing import NamedTuple

import numpy as np

from jaxhead.heads.model import REGIONS
from jaxhead.heads.skull import skull_rings

# How far (cm) a displacement of the face's border reaches over the skin beside it.
_REACH = 4.0
_RINGS = 16


class Patch(NamedTuple):
    """Extra vertices in cm, their faces, regions and blend weights."""

    vertices: np.ndarray
    faces: np.ndarray
    regions: np.ndarray
    blend: np.ndarray


def sleeve(rings: np.ndarray) -> np.ndarray:
    """Returns the faces (2 (R - 1) B, 3) between successive rings of vertex indices (R, B).

    Ring 0 runs in the direction of the border it continues, so that the windings agree.
    """
    first, second = rings[:-1], np.roll(rings[:-1], -1, 1)
    below, below_second = rings[1:], np.roll(rings[1:], -1, 1)
    upper = np.stack([second, first, below], -1)
    lower = np.stack([second, below, below_second], -1)
    return np.concatenate([upper.reshape(-1, 3), lower.reshape(-1, 3)])


def skull_patch(points: np.ndarray, border: np.ndarray, start: int) -> Patch:
    """Returns skull, ears' region, nape and neck.

    Args:
      points: (N, 3) face vertices.
      border: (B,) the face's border loop.
      start: number of the first extra vertex.
    """
    rings = skull_rings(points[border], _RINGS)
    extra = rings[1:].reshape(-1, 3)
    index = np.concatenate([border[None], start + np.arange(len(extra)).reshape(_RINGS, -1)])
    faces = sleeve(index)
    share = _spread(np.concatenate([rings[0], extra]), faces, border, start)
    blend = np.zeros((len(extra), len(points)))
    blend[:, border] = share
    x, y, z = np.abs(extra[:, 0]), extra[:, 1], extra[:, 2]
    neck = (y < -3.5) & (y < -3.5 - 0.75 * (z + 9.0).clip(0, 8))
    neck |= (y < -4.0) & (z < -2.5)
    ears = (x > 6.9) & (np.abs(y - 0.6) < 3.6) & (np.abs(z + 4.7) < 2.6)
    regions = np.where(neck, REGIONS.index("neck"), REGIONS.index("scalp"))
    # What lies ahead of the throat, under the jaw, is face skin.
    regions = np.where((y < -3.5) & ~neck, REGIONS.index("face"), regions)
    regions = np.where(ears & ~neck, REGIONS.index("ears"), regions)
    return Patch(extra, faces, regions, blend)


def _spread(points: np.ndarray, faces: np.ndarray, border: np.ndarray, start: int) -> np.ndarray:
    """Returns (X, B): how much of each border vertex's displacement reaches an extra vertex.

    Solves laplace(w) = w / reach^2 on the mesh with w = 1 at one border vertex and 0 at the others,
    so that a displacement fades like exp(-distance / reach).
    """
    local = np.full(faces.max() + 1, -1)
    local[border] = np.arange(len(border))
    local[start:] = len(border) + np.arange(len(local) - start)
    triangles = local[faces]
    matrix = np.zeros((len(points), len(points)))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        i, j = triangles[:, a], triangles[:, b]
        # Six neighbours at distance h approximate the Laplacian with the factor 2 / (3 h^2).
        stiffness = 2.0 / 3.0 / ((points[i] - points[j]) ** 2).sum(1)
        matrix[i, j] = matrix[j, i] = stiffness
    system = np.diag(matrix.sum(1) + _REACH**-2) - matrix
    fixed = len(border)
    return np.linalg.solve(system[fixed:, fixed:], -system[fixed:, :fixed])


def mouth_bag(points: np.ndarray, loop: np.ndarray, chin: np.ndarray, start: int) -> Patch:
    """Returns the bag behind the lips: rings that widen around the teeth, closed at the throat.

    Args:
      points: (N, 3) face vertices.
      loop: (B,) inner lip contour from the right corner over the upper lip and back below, as
        many points below as above.
      chin: (C,) vertices whose mean displacement stands for the jaw's.
      start: number of the first extra vertex.
    """
    lips = points[loop]
    # The corners belong to neither jaw; between them `side` is +1 above and -1 below.
    middle = points[loop[[0, len(loop) // 2]]].mean(0)
    half = len(loop) // 2
    place = np.arange(len(loop))
    side = np.sign(half - place) * (place > 0)
    across = np.clip(lips[:, 0] / lips[:, 0].max(), -1, 1)
    height = side * np.sqrt(np.maximum(1 - across**2, 0.0))
    rings = []
    for width, back, opening in (
        (1.0, 0.7, 0.55),
        (1.05, 1.7, 1.1),
        (0.95, 3.0, 1.3),
        (0.55, 4.2, 0.8),
    ):
        ring = lips.copy()
        ring[:, 0] = lips[:, 0] * width
        ring[:, 1] = np.where(side == 0, middle[1], middle[1] + opening * height)
        ring[:, 2] = np.minimum(lips[:, 2], lips[:, 2].max() - 0.3) - back
        rings.append(ring)
    end = rings[-1].mean(0) - [0, 0, 0.6]
    extra = np.concatenate([*rings, end[None]])
    count = len(loop)
    index = np.concatenate([loop[None], start + np.arange(4 * count).reshape(4, count)])
    last, tip = index[-1], np.full(count, start + 4 * count)
    cap = np.stack([np.roll(last, -1), last, tip], -1)
    regions = np.full(len(extra), REGIONS.index("mouth"))
    blend = np.zeros((len(extra), len(points)))
    jaw = np.concatenate([np.tile((1 - side) / 2, 4), [0.5]])
    blend[:, chin] = jaw[:, None] / len(chin)
    for ring, share in enumerate((0.6, 0.15)):
        rows = slice(ring * count, (ring + 1) * count)
        blend[rows] *= 1 - share
        blend[rows, loop] += share * np.eye(count)
    return Patch(extra, np.concatenate([sleeve(index), cap]), regions, blend)
