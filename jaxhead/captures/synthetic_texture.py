"""The synthetic person's texture: tiles of linear colour, painted by formulas and seeded noise."""

import numpy as np
from scipy import ndimage

from jaxhead.captures.synthetic_hair import hair_share
from jaxhead.heads.distance import smoothstep
from jaxhead.heads.sculpture import EYE_CENTRE, MOUTH_HALF_WIDTH, lip_line
from jaxhead.heads.surface import (
    EYE_HEIGHT,
    EYE_INNER,
    EYE_OUTER,
    Grid,
    grid_parameters,
    surface_points,
)

TILES = {
    # name: (row, column, rows, columns) in the texture
    "skin": (0, 0, 768, 768),
    "hair": (0, 768, 256, 512),
    "cloth": (256, 768, 512, 512),
    "eye": (768, 0, 256, 256),
    "ear": (768, 256, 128, 128),
    "teeth": (768, 384, 128, 256),
    "collar": (896, 256, 64, 128),
    "mouth": (960, 256, 16, 16),
    "tongue": (960, 272, 16, 16),
    "white": (960, 288, 16, 16),
}
SIZE = (1024, 1280)


class Palette:
    """Colours (linear RGB) of one person, drawn from a seed."""

    def __init__(self, rng: np.random.Generator):
        tone = rng.uniform(0.35, 1.0)
        self.skin = np.array([0.58, 0.36, 0.26]) * tone ** np.array([0.55, 0.75, 0.95])
        self.lips = np.array([0.46, 0.17, 0.15]) * (0.55 + 0.45 * tone)
        hair = np.array(
            [
                [0.030, 0.019, 0.013],
                [0.085, 0.045, 0.023],
                [0.20, 0.115, 0.055],
                [0.16, 0.06, 0.025],
            ]
        )
        self.hair = hair[rng.integers(len(hair))] * rng.uniform(0.8, 1.2)
        iris = np.array([[0.10, 0.17, 0.24], [0.12, 0.17, 0.08], [0.16, 0.08, 0.03]])
        self.iris = iris[rng.integers(len(iris))]
        cloth = np.array(
            [[0.05, 0.11, 0.22], [0.20, 0.05, 0.06], [0.05, 0.13, 0.09], [0.13, 0.12, 0.15]]
        )
        self.cloth = cloth[rng.integers(len(cloth))]


def paint(rng: np.random.Generator) -> np.ndarray:
    """Returns the (1024, 1280, 3) float32 texture, linear colour in [0, 1]."""
    palette = Palette(rng)
    texture = np.full((*SIZE, 3), 0.5)
    painters = {
        "skin": lambda shape: _skin(shape, palette, rng),
        "hair": lambda shape: _hair(shape, palette, rng),
        "cloth": lambda shape: _cloth(shape, palette, rng),
        "eye": lambda shape: _eye(shape, palette, rng),
        "ear": lambda shape: (
            palette.skin * [1.08, 0.85, 0.82] * (1 + 0.05 * _grain(shape, rng))[..., None]
        ),
        "teeth": lambda shape: _teeth(shape, rng),
        "collar": lambda shape: _collar(shape),
        "mouth": lambda shape: np.broadcast_to([0.30, 0.075, 0.07], (*shape, 3)),
        "tongue": lambda shape: np.broadcast_to([0.42, 0.13, 0.13], (*shape, 3)),
        "white": lambda shape: np.ones((*shape, 3)),
    }
    for name, (row, column, rows, columns) in TILES.items():
        texture[row : row + rows, column : column + columns] = painters[name]((rows, columns))
    return np.clip(texture, 0, 1).astype(np.float32)


def tile_uv(uv: np.ndarray, tile: str) -> np.ndarray:
    """Returns texture pixels (N, 2) as (column, row) of coordinates in [0, 1] within a tile."""
    row, column, rows, columns = TILES[tile]
    inside = np.clip(uv, 0, 1) * [columns - 1, rows - 1]
    return inside + [column, row]


def _texel_points(shape: tuple[int, int]) -> np.ndarray:
    """Returns the (rows, columns, 3) points in cm of the skin's texels."""
    coarse = 8
    v, u = np.meshgrid(
        np.linspace(0, 1, shape[0] // coarse + 1),
        np.linspace(0, 1, shape[1] // coarse + 1),
        indexing="ij",
    )
    angle, height = grid_parameters(np.stack([u, v], -1).reshape(-1, 2))
    side = np.where(np.abs(height - EYE_HEIGHT) < 1e-6, 1.0, 0.0)
    empty = np.zeros((0, 3), np.int32)
    loop = np.zeros(0, np.int64)
    points = surface_points(Grid(angle, height, side, empty, loop, (loop, loop)))
    points = points.reshape(*v.shape, 3)
    rows = np.linspace(0, v.shape[0] - 1, shape[0])
    columns = np.linspace(0, v.shape[1] - 1, shape[1])
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([ndimage.map_coordinates(points[..., k], grid, order=1) for k in range(3)], -1)


def _skin(shape: tuple[int, int], palette: Palette, rng: np.random.Generator) -> np.ndarray:
    p = _texel_points(shape)
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    side = np.abs(x)
    colour = np.broadcast_to(palette.skin, p.shape).copy()
    blotch = _noise(p, 1.6, rng) + 0.6 * _noise(p, 0.6, rng)
    colour *= 1 + blotch[..., None] * np.array([0.03, 0.055, 0.06])
    face = smoothstep((z - 0.5) / 2.0)
    for centre, radius, strength in (
        ([3.9, -0.6, 3.6], 1.7, 0.5),
        ([0.0, -0.9, 7.0], 1.0, 0.4),
        ([0.0, -8.4, 4.2], 1.3, 0.22),
        ([3.1, 3.9, 4.0], 0.9, 0.15),
    ):
        offset = np.stack([side, y, z], -1) - centre
        red = strength * np.exp(-(offset**2).sum(-1) / (2 * radius**2)) * (1 + 0.5 * blotch)
        colour *= 1 + red[..., None] * np.array([0.10, -0.26, -0.24])
    colour *= (1 + 0.045 * _grain(shape, rng) * face)[..., None]
    colour = _freckles(colour, p, rng)
    v, u = np.meshgrid(np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1]), indexing="ij")
    colour = _eye_area(colour, p, grid_parameters(np.stack([u, v], -1)))
    colour = _stubble(colour, p, palette, rng)
    colour = _lips(colour, p, palette, rng)
    colour = _brows(colour, p, palette, rng)
    for sign in (-1, 1):
        hole = ((x - sign * 0.62) / 0.34) ** 2 + ((y + 1.95) / 0.30) ** 2 + ((z - 5.75) / 0.6) ** 2
        colour *= (1 - 0.8 * np.exp(-hole))[..., None]
    scalp = smoothstep(
        (hair_share(p.reshape(-1, 3)).reshape(shape) - 0.1 * rng.random(shape)) / 0.7
    )
    strand = 0.8 + 0.5 * rng.random(shape)
    return (
        colour * (1 - 0.9 * scalp[..., None])
        + 0.9 * scalp[..., None] * palette.hair * strand[..., None]
    )


def _freckles(colour: np.ndarray, p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the colour with a few hundred freckles and some moles on face and neck."""
    rows, columns = colour.shape[:2]
    dark = np.zeros((rows, columns))
    count = 420
    where = np.stack(
        [rng.uniform(0.1, 0.78, count) * rows, rng.uniform(0.18, 0.82, count) * columns]
    )
    for row, column in where.T.astype(int):
        centre = p[row, column]
        if centre[2] < 0 or rng.random() > 0.35 + 0.65 * np.exp(-((centre[1] - 0.2) ** 2) / 8):
            continue
        radius = rng.uniform(0.04, 0.10) if rng.random() < 0.97 else rng.uniform(0.10, 0.17)
        strength = rng.uniform(0.12, 0.42) if radius < 0.1 else 0.6
        window = (slice(max(row - 14, 0), row + 15), slice(max(column - 14, 0), column + 15))
        distance = ((p[window] - centre) ** 2).sum(-1)
        dark[window] = np.maximum(dark[window], strength * np.exp(-distance / radius**2))
    return colour * (1 - dark[..., None] * np.array([0.55, 0.75, 0.85]))


def _eye_area(colour: np.ndarray, p: np.ndarray, rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    under = np.exp(-((x - 2.8) ** 2) / 1.6 - ((y - 1.45) ** 2) / 0.16) * smoothstep((z - 2) / 1)
    colour = colour * (1 - under[..., None] * np.array([0.12, 0.22, 0.20]))
    offset = np.linalg.norm(np.stack([x, y, z], -1) - EYE_CENTRE, axis=-1)
    lid = np.exp(-(((offset - 1.37) / 0.10) ** 2)) * smoothstep((z - 2.8) / 0.6)
    colour = colour * (1 - lid[..., None] * np.array([0.10, 0.24, 0.24]))
    # Lashes darken the edge of the upper lid.
    angle, height = rows
    s = np.clip((np.degrees(np.abs(angle)) - EYE_INNER) / (EYE_OUTER - EYE_INNER) * 2 - 1, -1, 1)
    lash = np.exp(-(((height - EYE_HEIGHT) / 0.13) ** 2)) * (height >= EYE_HEIGHT)
    lash *= (1 - s**6) * (0.75 + 0.25 * s)
    colour = colour * (1 - 0.85 * lash[..., None])
    crease = np.exp(-(((y - 3.42 + 0.10 * (x - 3.1) ** 2) / 0.09) ** 2))
    crease *= np.exp(-((x - 3.1) ** 2) / 2.2) * smoothstep((z - 2.0) / 1.0)
    return colour * (1 - 0.4 * crease[..., None])


def _stubble(
    colour: np.ndarray, p: np.ndarray, palette: Palette, rng: np.random.Generator
) -> np.ndarray:
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    beard = smoothstep((-2.6 - y) / 1.4) * smoothstep((y + 11.5) / 2.0) * smoothstep((z + 2.5) / 2)
    cheek = 1 - smoothstep((1.6 - np.abs(y + 3.0)) / 1.0) * smoothstep((3.4 - x) / 1.0) * (y > -3.4)
    hair = 0.20 * beard * cheek * (0.5 + rng.random(x.shape) * (rng.random(x.shape) > 0.4))
    return colour * (1 - hair[..., None]) + hair[..., None] * palette.hair


def _lips(
    colour: np.ndarray, p: np.ndarray, palette: Palette, rng: np.random.Generator
) -> np.ndarray:
    x, y, z = np.abs(p[..., 0]), p[..., 1] - lip_line(p[..., 0]), p[..., 2]
    reach = np.clip(1 - (x / (MOUTH_HALF_WIDTH + 0.1)) ** 2, 0, 1)
    top = 0.86 * reach**0.75 * (1 - 0.14 * np.exp(-(x**2) / 0.05))
    bottom = 1.02 * reach**0.7
    inside = smoothstep((top - y) / 0.14) * smoothstep((y + bottom) / 0.18)
    inside *= smoothstep((z - 2.8) / 0.5)
    wrinkle = 1 + 0.12 * np.sin(p[..., 0] * 26 + 2.5 * _noise(p, 0.5, rng)) * np.abs(y)
    lips = palette.lips * wrinkle[..., None] * (1 + 0.06 * _noise(p, 0.25, rng))[..., None]
    upper = np.where(y > 0, 0.86, 1.08)[..., None]
    seam = np.exp(-((y / 0.06) ** 2)) * smoothstep((2.75 - x) / 0.3) * smoothstep((z - 2.8) / 0.5)
    colour = colour * (1 - 0.9 * inside[..., None]) + 0.9 * inside[..., None] * lips * upper
    return colour * (1 - 0.65 * seam[..., None] * (np.abs(y) < 0.3)[..., None])


def _brows(
    colour: np.ndarray, p: np.ndarray, palette: Palette, rng: np.random.Generator
) -> np.ndarray:
    """Returns the colour with brows: some hundred hairs each, drawn as short curved strokes."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    box = (x > 0.7) & (x < 6.2) & (y > 3.2) & (y < 5.9) & (z > -1)
    index = np.flatnonzero(box)
    points = np.stack([x.ravel()[index], y.ravel()[index]], 1)
    cover = np.zeros(len(index))
    for _ in range(190):
        t = rng.random()
        root = np.array([1.15 + 4.2 * t, _brow_height(t) + rng.normal(0, 0.16) * (1.15 - t)])
        lean = np.radians(78 - 75 * min(t * 1.5, 1.0) - 22 * max(t - 0.6, 0) + rng.normal(0, 9))
        tip = root + rng.uniform(0.45, 0.75) * np.array([np.cos(lean), np.sin(lean) * 0.8])
        axis = tip - root
        near = np.abs(points - root).max(1) < 1.0
        along = np.clip((points[near] - root) @ axis / (axis @ axis), 0, 1)
        distance = np.linalg.norm(points[near] - root - along[:, None] * axis, axis=1)
        ink = 0.85 * np.exp(-((distance / (0.045 * (1.2 - along))) ** 2))
        cover[near] = 1 - (1 - cover[near]) * (1 - ink)
    under = np.exp(
        -(((points[:, 1] - _brow_height((points[:, 0] - 1.15) / 4.2) - 0.12) / 0.24) ** 2)
    )
    under *= smoothstep((points[:, 0] - 1.0) / 0.5) * smoothstep((5.7 - points[:, 0]) / 1.2)
    cover = np.clip(cover + 0.35 * under * (1 - cover), 0, 1)[:, None]
    flat = colour.reshape(-1, 3)
    flat[index] = flat[index] * (1 - cover) + cover * palette.hair * 0.7
    return flat.reshape(colour.shape)


def _brow_height(t: np.ndarray | float) -> np.ndarray:
    """Returns the height (cm) of the brow's middle, t from 0 (inner) to 1 (outer end)."""
    return 4.22 + 0.75 * np.sin(np.pi * np.clip(np.asarray(t) * 0.72, 0, 1)) - 0.35 * np.asarray(t)


def _eye(shape: tuple[int, int], palette: Palette, rng: np.random.Generator) -> np.ndarray:
    v, u = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    out, around = np.hypot(u, v) * 99.0, np.arctan2(v, u)  # degrees from the pole
    flat = np.stack([u * 9, v * 9, 0 * u], -1)
    white = np.array([0.62, 0.58, 0.54]) * (1 + 0.05 * _noise(flat, 1.5, rng))[..., None]
    vein = np.exp(-(_noise(flat, 0.9, rng) ** 2) / 0.004) * smoothstep((out - 38) / 30)
    white = white * (1 - vein[..., None] * np.array([0.05, 0.35, 0.32]))
    fibres = np.interp(around, np.linspace(-np.pi, np.pi, 90), rng.uniform(0.55, 1.5, 90))
    iris = palette.iris * (fibres * (0.75 + 0.5 * np.exp(-((out - 15) ** 2) / 40)))[..., None]
    iris = iris * (1 - 0.75 * smoothstep((out - 23) / 5))[..., None]
    colour = white + (iris - white) * smoothstep((29.5 - out) / 2.5)[..., None]
    return colour * (1 - 0.97 * smoothstep((12.0 - out) / 1.5))[..., None]


def _hair(shape: tuple[int, int], palette: Palette, rng: np.random.Generator) -> np.ndarray:
    fine = rng.normal(0, 1, (1, shape[1])) + 0.6 * ndimage.gaussian_filter1d(
        rng.normal(0, 2.0, (1, shape[1])), 2.0
    )
    along = ndimage.gaussian_filter(rng.normal(0, 1, shape), (18, 0.6))
    value = np.exp(0.33 * fine + 0.9 * along)
    return palette.hair * value[..., None]


def _cloth(shape: tuple[int, int], palette: Palette, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    knit = 0.5 + 0.5 * np.sin(rows * 2 * np.pi / 8) * np.cos(columns * 2 * np.pi / 8)
    heather = ndimage.gaussian_filter(rng.normal(0, 1, shape), (0.8, 2.2)) * 1.6
    stripe = (rows // 28) % 4 == 2
    colour = palette.cloth * (0.72 + 0.4 * knit + 0.22 * heather)[..., None]
    return np.where(stripe[..., None], 0.35 * colour + 0.65 * np.array([0.42, 0.40, 0.36]), colour)


def _teeth(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    down, across = np.meshgrid(
        np.linspace(0, 1, shape[0]), np.linspace(-0.5, 0.5, shape[1]), indexing="ij"
    )
    phase = np.abs(np.sin(np.radians(across * 160) / np.radians(78) * 4 * np.pi))
    enamel = np.array([0.72, 0.68, 0.58]) * (0.55 + 0.45 * smoothstep(phase / 0.35))[..., None]
    enamel = enamel * (0.85 + 0.15 * down)[..., None]
    gum_line = 0.30 - 0.14 * (1 - phase)
    gum = smoothstep((gum_line - down) / 0.05)[..., None]
    return enamel * (1 - gum) + gum * np.array([0.45, 0.16, 0.15])


def _collar(shape: tuple[int, int]) -> np.ndarray:
    ribs = 0.55 + 0.2 * np.sin(np.arange(shape[1]) * 2 * np.pi / 4)
    return np.broadcast_to(ribs[None, :, None] * np.array([1.0, 0.98, 0.94]), (*shape, 3))


def _noise(points: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Returns smooth noise of unit strength over points (..., 3), features of `scale` cm."""
    lattice = rng.normal(0, 1.4, (24, 24, 24))
    place = np.moveaxis(points / scale, -1, 0)
    return ndimage.map_coordinates(lattice, place, order=1, mode="grid-wrap")


def _grain(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    grain = ndimage.gaussian_filter(rng.normal(0, 1, shape), 1.1)
    return grain / grain.std()
