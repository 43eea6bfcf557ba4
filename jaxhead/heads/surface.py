"""A grid of rays that covers the sculpted head, with slits at the mouth and the eyes.

A point of the grid has an angle around the head's axis (0 in front, positive to the subject's left)
and a height in cm; the ray of a height runs level over the face, bends down under the chin and up
over the crown. Moving the parameters moves a point along the sculpted surface: so lids slide.
"""

from typing import NamedTuple

import numpy as np

from jaxhead.heads.distance import smoothstep
from jaxhead.heads.sculpture import MOUTH_HEIGHT, head_distance, lip_line

EYE_HEIGHT = 2.45
# Angles (degrees) of the corners: inner and outer eye, mouth.
EYE_INNER, EYE_OUTER, MOUTH_CORNER = 12.3, 34.5, 17.2
UPPER_OPENING, LOWER_OPENING = 0.62, 0.36

_COLUMN_NODES = (0.0, EYE_INNER, MOUTH_CORNER, EYE_OUTER, 52.0, 105.0, 180.0)
_ROW_NODES = (-20.5, -12.0, -9.5, -8.3, -6.3, MOUTH_HEIGHT, -2.2, 1.2, EYE_HEIGHT, 3.9, 8.0, 17.0)
# Shares of the texture that end at these nodes: from the middle to the back, from neck to crown.
_COLUMN_SHARE = (0.0, 0.2, 0.28, 0.56, 0.76, 0.92, 1.0)
_ROW_SHARE = (1.0, 0.9, 0.85, 0.81, 0.74, 0.64, 0.54, 0.4, 0.34, 0.27, 0.12, 0.0)
# Per height: the ray's origin (y, z in cm) and its elevation in front (degrees).
_HEIGHTS = (-20.5, -12.0, -9.5, -8.3, -6.3, 4.0, 17.0)
_ORIGIN_Y = (-20.5, -12.5, -8.6, -7.4, -6.3, 4.0, 4.0)
_ORIGIN_Z = (-7.6, -6.0, -4.2, -3.6, -3.5, -3.5, -4.6)
_ELEVATION = (0.0, -12.0, -40.0, -11.0, 0.0, 0.0, 90.0)


class Detail(NamedTuple):
    """How many columns (per half) and rows lie between the nodes of the grid."""

    columns: tuple[int, ...]
    rows: tuple[int, ...]


COARSE = Detail((5, 2, 8, 4, 6, 5), (4, 3, 4, 3, 5, 4, 5, 3, 3, 5, 7))
FINE = Detail((11, 5, 20, 10, 14, 8), (10, 6, 9, 7, 14, 10, 15, 9, 9, 11, 18))


class Grid(NamedTuple):
    """Parameters and topology of the skin.

    Attributes:
      angle: (N,) radians; height: (N,) cm; of every vertex, the last one is the crown.
      side: (N,) +1 for the upper, -1 for the lower edge of a slit, 0 elsewhere.
      faces: (F, 3) int32 outward; the slits and the neck's bottom are open.
      mouth: loop of the mouth slit, right corner, upper edge, left corner, lower edge.
      eyes: the same for the left and the right eye, from the corner with smaller angle.
    """

    angle: np.ndarray
    height: np.ndarray
    side: np.ndarray
    faces: np.ndarray
    mouth: np.ndarray
    eyes: tuple[np.ndarray, np.ndarray]


def head_grid(detail: Detail) -> Grid:
    """Returns the grid; the number of rows and columns follows `detail`."""
    half = _subdivide(_COLUMN_NODES, detail.columns)
    angles = np.concatenate([-half[:0:-1], half[:-1]])
    heights = _subdivide(_ROW_NODES, detail.rows)[:-1]
    rows, columns = len(heights), len(angles)
    above = np.arange(rows * columns).reshape(rows, columns)
    below = above.copy()
    angle = np.tile(angles, rows)
    height = np.repeat(heights, columns)
    side = np.zeros(rows * columns)
    loops = []
    for low, high, level in (
        (-MOUTH_CORNER, MOUTH_CORNER, MOUTH_HEIGHT),
        (EYE_INNER, EYE_OUTER, EYE_HEIGHT),
        (-EYE_OUTER, -EYE_INNER, EYE_HEIGHT),
    ):
        row = int(np.argmin(np.abs(heights - level)))
        first, last = (int(np.argmin(np.abs(angles - corner))) for corner in (low, high))
        inside = np.arange(first + 1, last)
        side[above[row, inside]] = 1.0
        below[row, inside] = len(angle) + np.arange(len(inside))
        angle = np.concatenate([angle, angles[inside]])
        height = np.concatenate([height, np.full(len(inside), heights[row])])
        side = np.concatenate([side, np.full(len(inside), -1.0)])
        loops.append(np.concatenate([above[row, first : last + 1], below[row, inside[::-1]]]))
    crown = len(angle)
    faces = _faces(above, below, crown)
    return Grid(
        np.radians(np.append(angle, 0.0)),
        np.append(height, _ROW_NODES[-1]),
        np.append(side, 0.0),
        faces,
        loops[0],
        (loops[1], loops[2]),
    )


def surface_points(grid: Grid, upper: float = 1.0, lower: float = 1.0) -> np.ndarray:
    """Returns the (N, 3) points of the grid on the sculpted head, in cm.

    Args:
      grid: the grid.
      upper: opening of the upper lids: 1 neutral, 0 closed, more is wide.
      lower: the same for the lower lids; 0 meets the closed upper lid.
    """
    height = grid.height + _lid_shift(grid, upper, lower)
    across = 8.1 * np.tan(np.clip(grid.angle, -0.6, 0.6))
    beside = 1 - smoothstep(np.abs(grid.height - MOUTH_HEIGHT) / 1.6)
    height = height + (lip_line(across) - MOUTH_HEIGHT) * beside
    elevation = np.radians(np.interp(height, _HEIGHTS, _ELEVATION))
    # Behind the head the rows stay apart: only the front dips under the chin.
    front = 0.3 + 0.7 * (1 + np.cos(grid.angle)) / 2
    elevation = np.where(elevation < 0, elevation * front, elevation)
    zero = np.zeros_like(height)
    origin = np.stack(
        [zero, np.interp(height, _HEIGHTS, _ORIGIN_Y), np.interp(height, _HEIGHTS, _ORIGIN_Z)], 1
    )
    direction = np.stack(
        [
            np.cos(elevation) * np.sin(grid.angle),
            np.sin(elevation),
            np.cos(elevation) * np.cos(grid.angle),
        ],
        1,
    )
    return _cast(origin, direction)


def _lid_shift(grid: Grid, upper: float, lower: float) -> np.ndarray:
    """Returns (N,) cm that lids and the skin beside them move up along the surface."""
    place = np.degrees(np.abs(grid.angle))
    s = np.clip((place - EYE_INNER) / (EYE_OUTER - EYE_INNER) * 2 - 1, -1, 1)
    # Where closed lids meet: below the middle, since the upper lid does most of the way.
    meeting = -0.8 * LOWER_OPENING * (1 - s**2)
    top = (1 - s**2) ** 0.7 * (1 + 0.08 * s) * UPPER_OPENING
    bottom = -((1 - s**2) ** 0.9) * LOWER_OPENING
    edge_above = meeting + upper * (top - meeting)
    edge_below = meeting + lower * (bottom - meeting)
    offset = grid.height - EYE_HEIGHT
    is_above = (offset > 0) | ((grid.side > 0) & (offset == 0))
    fade = np.where(is_above, 1 - smoothstep(offset / 2.0), 1 - smoothstep(-offset / 1.5))
    shift = np.where(is_above, edge_above, edge_below) * fade
    tilt = 0.10 * s * (1 - smoothstep(np.abs(offset) / 2.0))
    inside = (place > EYE_INNER - 8) & (place < EYE_OUTER + 10)
    # Beyond the corners the tilt fades, so that the columns stay smooth.
    soft = smoothstep((place - EYE_INNER + 8) / 8) * (1 - smoothstep((place - EYE_OUTER) / 10))
    return shift + np.where(inside, tilt * soft, 0.0)


def _cast(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Returns where rays from inside leave the head, by sphere tracing."""
    reach = np.full(len(origin), 2.0)
    active = np.arange(len(origin))
    for _ in range(40):
        value = head_distance(origin[active] + reach[active, None] * direction[active])
        reach[active] -= 0.85 * value
        active = active[np.abs(value) > 1e-3]
        if not len(active):
            break
    return origin + reach[:, None] * direction


def grid_uv(angle: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Returns texture coordinates (N, 2) in [0, 1] of angles (radians) and heights (cm).

    Linear between the nodes of every grid, so that a texture does not depend on the detail. The
    face takes most of it. v grows downwards.
    """
    place = np.interp(np.degrees(np.abs(angle)), _COLUMN_NODES, _COLUMN_SHARE)
    u = 0.5 + 0.5 * np.sign(angle) * place
    return np.stack([u, np.interp(height, _ROW_NODES, _ROW_SHARE)], -1)


def grid_parameters(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns angle (radians) and height (cm) of texture coordinates: the inverse of `grid_uv`."""
    side = 2 * uv[..., 0] - 1
    angle = np.sign(side) * np.interp(np.abs(side), _COLUMN_SHARE, _COLUMN_NODES)
    return np.radians(angle), np.interp(uv[..., 1], _ROW_SHARE[::-1], _ROW_NODES[::-1])


def _subdivide(nodes: tuple[float, ...], counts: tuple[int, ...]) -> np.ndarray:
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(nodes[:-1], nodes[1:], counts)]
    return np.concatenate([*parts, nodes[-1:]])


def _faces(above: np.ndarray, below: np.ndarray, crown: int) -> np.ndarray:
    lower, upper = above[:-1], below[1:]
    a, b = lower, np.roll(lower, -1, 1)
    c, d = upper, np.roll(upper, -1, 1)
    quads = [np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)]
    top = above[-1]
    cap = np.stack([top, np.roll(top, -1), np.full_like(top, crown)], -1)
    return np.concatenate([*quads, cap]).astype(np.int32)
