"""A head of our own that needs no asset: closed skin with neck, mouth bag and named expressions."""

import numpy as np

from jaxhead.heads.closing import mouth_bag
from jaxhead.heads.expressions import LID_SHAPES, expression_names, fields
from jaxhead.heads.model import REGIONS, HeadModel
from jaxhead.heads.sculpture import LID_RADIUS, MOUTH_HEIGHT, lip_line
from jaxhead.heads.surface import (
    COARSE,
    EYE_HEIGHT,
    EYE_OUTER,
    Detail,
    Grid,
    grid_uv,
    head_grid,
    surface_points,
)


def procedural_head(*, detail: Detail = COARSE, eyelids: bool = True) -> HeadModel:
    """Returns the procedural head.

    The skin is one closed surface but for the bottom of the neck: a bag lies behind the lips. It
    carries 37 expressions with ARKit's names (jaw, mouth, brows, nose, lids, gaze; sideways gaze
    moves nothing here, but the eyeballs of whoever draws them).

    Args:
      detail: rows and columns of the surface's grid.
      eyelids: True closes the eyes' slits by the faces between the lids, as a tracker sees an eye;
        False leaves the slits open for separate eyeballs.
    """
    grid = head_grid(detail)
    skin = surface_points(grid)
    bag = mouth_bag(skin, grid.mouth, np.array([0]), len(skin))
    points = np.concatenate([skin, bag.vertices])
    faces = [grid.faces, bag.faces]
    if eyelids:
        faces += [_between(loop) for loop in grid.eyes]
    faces = np.concatenate(faces).astype(np.int32)
    names = expression_names()
    basis = expression_displacements(points, mouth_side(points, grid), names)
    basis[:, : len(skin)] += _lids(grid, skin, names)
    landmarks = _landmarks(grid)
    landmark_faces, landmark_weights = _on_faces(faces, landmarks)
    return HeadModel(
        template=(points / 100).astype(np.float32),
        faces=faces,
        identity_basis=np.zeros((0, len(points), 3), np.float32),
        expression_basis=(basis / 100).astype(np.float32),
        uv=np.concatenate(
            [grid_uv(grid.angle, grid.height), np.zeros((len(bag.vertices), 2))]
        ).astype(np.float32),
        regions=np.concatenate([_skin_regions(grid, skin), bag.regions]).astype(np.int32),
        landmark_faces=landmark_faces,
        landmark_weights=landmark_weights,
        name="procedural",
        expression_names=names,
    )


def expression_displacements(
    points: np.ndarray, side: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """Returns (E, N, 3) displacements in cm of points in cm; zero for names without a field."""
    table = fields()
    basis = np.zeros((len(names), len(points), 3))
    for row, name in enumerate(names):
        if name in table:
            basis[row] = table[name](points, side)
    return basis


def mouth_side(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns (N,) +1 above and -1 below the mouth's line, for the grid's skin and its bag."""
    side = np.sign(points[:, 1] - lip_line(points[:, 0]) + 1e-9)
    side[: len(grid.side)] = np.where(
        (grid.side != 0) & (grid.height == MOUTH_HEIGHT), grid.side, side[: len(grid.side)]
    )
    # The corners belong to both lips; the bag's rings repeat the loop of the lips.
    corners = grid.mouth[[0, len(grid.mouth) // 2]]
    side[corners] = 0.0
    rest = len(points) - len(grid.side)
    side[len(grid.side) :] = np.resize(side[grid.mouth], rest)
    if rest:
        side[-1] = 0.0
    return side


def _lids(grid: Grid, skin: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Returns (E, N, 3): lids slide over the surface to their shape at score 1."""
    basis = np.zeros((len(names), len(skin), 3))
    near = np.flatnonzero(
        (np.abs(grid.height - EYE_HEIGHT) < 2.1) & (np.abs(grid.angle) < np.radians(EYE_OUTER))
    )
    part = grid._replace(angle=grid.angle[near], height=grid.height[near], side=grid.side[near])
    for name, (upper, lower) in LID_SHAPES.items():
        moved = surface_points(part, upper, lower) - skin[near]
        for word, own in (("Right", part.angle < 0), ("Left", part.angle > 0)):
            basis[names.index(name + word), near[own]] = moved[own]
    return basis


def _between(loop: np.ndarray) -> np.ndarray:
    """Returns faces that close a slit from its upper to its lower edge, facing outwards."""
    half = len(loop) // 2
    upper = loop[: half + 1]
    lower = np.concatenate([loop[:1], loop[:half:-1], loop[half : half + 1]])
    a, b, c, d = lower[:-1], lower[1:], upper[:-1], upper[1:]
    quads = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)])
    distinct = (
        (quads[:, 0] != quads[:, 1]) & (quads[:, 1] != quads[:, 2]) & (quads[:, 2] != quads[:, 0])
    )
    return quads[distinct]


def _skin_regions(grid: Grid, skin: np.ndarray) -> np.ndarray:
    x, y, z = np.abs(skin[:, 0]), skin[:, 1], skin[:, 2]
    regions = np.full(len(skin), REGIONS.index("face"))
    hairline = 8.6 - 0.055 * x**2
    regions[(y > hairline) | ((z < -3.2) & (y > -3.0))] = REGIONS.index("scalp")
    regions[(y > 3.0 - 1.2 * (z + 3.2)) & (z < 0.6) & (y > -0.5)] = REGIONS.index("scalp")
    regions[(grid.height < -9.6) | ((z < -3.4) & (y <= -3.0))] = REGIONS.index("neck")
    regions[(np.hypot(y - 0.6, z + 4.4) < 2.6) & (x > 5.0)] = REGIONS.index("ears")
    lips = (x < 2.7) & (np.abs(y - lip_line(skin[:, 0])) < 0.85 * (1.05 - x / 2.8)) & (z > 3)
    lips[grid.mouth] = True
    regions[lips] = REGIONS.index("lips")
    eye = np.array([3.15, 2.6, 2.62])
    lids = np.linalg.norm(np.stack([x, y, z], 1) - eye, axis=1) < LID_RADIUS + 0.06
    lids[np.concatenate(grid.eyes)] = True
    regions[lids & (z > 3.0)] = REGIONS.index("eyes")
    return regions


def _landmarks(grid: Grid) -> np.ndarray:
    """Returns vertices that a landmark detector would name: eyes, mouth, nose, chin, contour."""
    wanted = [
        (0.0, 6.0),
        (0.0, 3.4),
        (0.0, 1.2),
        (0.0, -0.7),
        (0.0, -2.0),
        (0.0, -6.2),
        (0.0, -8.3),
    ]
    wanted += [(sign * 14.0, -1.2) for sign in (-1, 1)]
    for sign in (-1, 1):
        wanted += [(sign * angle, 4.4) for angle in (8.0, 20.0, 32.0)]
        wanted += [(sign * 52.0, height) for height in (4.0, 1.2, -2.2, -5.0)]
    angle, height = np.degrees(grid.angle), grid.height
    usual = [np.argmin((angle - a) ** 2 + 25 * (height - h) ** 2) for a, h in wanted]
    loops = [loop[np.linspace(0, len(loop), 8, endpoint=False).astype(int)] for loop in grid.eyes]
    mouth = grid.mouth[np.linspace(0, len(grid.mouth), 12, endpoint=False).astype(int)]
    return np.concatenate([np.array(usual), *loops, mouth])


def _on_faces(faces: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index = np.array([np.flatnonzero((faces == v).any(1))[0] for v in vertices], np.int32)
    corner = np.array([np.flatnonzero(faces[f] == v)[0] for f, v in zip(index, vertices)])
    return index, np.eye(3, dtype=np.float32)[corner]
