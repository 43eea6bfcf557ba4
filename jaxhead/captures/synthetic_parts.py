"""The parts of the synthetic person that expressions move: skin, lids, eyeballs, teeth, tongue.

Lengths are centimetres in head space. A part's texture coordinates address its own tile of the
person's texture; which tile, says `tile`.
"""

from typing import NamedTuple

import numpy as np

from jaxhead.heads.distance import smoothstep
from jaxhead.heads.expressions import GAZE, GAZE_DEGREES, expression_names
from jaxhead.heads.model import REGIONS
from jaxhead.heads.procedural import expression_displacements, procedural_head
from jaxhead.heads.sculpture import EYE_CENTRE, EYE_RADIUS, head_distance
from jaxhead.heads.surface import FINE, head_grid

# Below this height the neck counts as torso.
NECK_SPLIT = -12.0


class Part(NamedTuple):
    """One mesh of the person.

    Attributes:
      points: (N, 3) cm, neutral.
      faces: (F, 3) int.
      uv: (N, 2) in [0, 1] within the tile.
      tile: name of the tile of the texture.
      basis: (E, N, 3) cm per unit score, or None for a part without expression.
      torso: (N,) share in [0, 1] of the torso's motion; the rest is the head's.
      torso_faces: (F,) True for faces of the torso's mask, False for the head's.
      gloss: strength of the highlight.
      tint: (N, 3) factor on the texture's colour, with the light that does not reach the point.
    """

    points: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    tile: str
    basis: np.ndarray | None
    torso: np.ndarray
    torso_faces: np.ndarray
    gloss: float
    tint: np.ndarray


def neck_share(points: np.ndarray) -> np.ndarray:
    """Returns (N,): how much of the torso's motion a point of the neck follows."""
    return smoothstep((-8.0 - points[:, 1]) / 5.0) * smoothstep((-6.0 - points[:, 1]) / 3.0)


def skin_parts() -> tuple[Part, Part]:
    """Returns the skin of head and neck, and the bag behind the lips."""
    model = procedural_head(detail=FINE, eyelids=False)
    points = np.asarray(model.template, np.float64) * 100
    basis = np.asarray(model.expression_basis, np.float64) * 100
    triangles = np.asarray(model.faces)
    inside = np.any((np.asarray(model.regions) == REGIONS.index("mouth"))[triangles], 1)
    parts = []
    for chosen, tile in ((~inside, "skin"), (inside, "mouth")):
        used, faces = np.unique(triangles[chosen], return_inverse=True)
        own = points[used]
        if tile == "mouth":
            # Dark towards the throat, where no light comes.
            tint = (0.12 + 0.88 * smoothstep((own[:, 2:] - 1.5) / 3.5)) * np.ones(3)
            uv = np.full((len(own), 2), 0.5)
        else:
            tint, uv = _occlusion(own)[:, None] * np.ones(3), np.asarray(model.uv)[used]
        low = own[:, 1] < NECK_SPLIT
        parts.append(
            Part(
                own,
                faces.reshape(-1, 3),
                uv,
                tile,
                basis[:, used],
                neck_share(own),
                np.all(low[faces.reshape(-1, 3)], 1),
                0.35 if tile == "mouth" else 0.30,
                tint,
            )
        )
    return parts[0], parts[1]


def _occlusion(points: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: how open the space above the skin is (Evans 2006)."""
    value = head_distance(points)
    gradient = np.stack([head_distance(points + 0.05 * axis) - value for axis in np.eye(3)], -1)
    normal = gradient / (np.linalg.norm(gradient, axis=1, keepdims=True) + 1e-9)
    openness = np.ones(len(points))
    for reach, strength in ((0.3, 0.35), (0.8, 0.45), (2.0, 0.5), (4.5, 0.4)):
        openness *= 1 - strength * (
            1 - np.clip(head_distance(points + reach * normal) / reach, 0, 1)
        )
    return openness


def lid_rims() -> list[Part]:
    """Returns the wet edges of the lids: they join the skin's slit to the eyeball."""
    model = procedural_head(detail=FINE, eyelids=False)
    grid = head_grid(FINE)
    points = model.template.astype(np.float64) * 100
    basis = model.expression_basis.astype(np.float64) * 100
    rims = []
    for loop, sign in zip(grid.eyes, (1.0, -1.0)):
        edge, count = points[loop], len(loop)
        centre = EYE_CENTRE * [sign, 1, 1]
        moving = basis[:, loop]
        outward = edge - centre
        length = np.linalg.norm(outward, axis=1, keepdims=True)
        inner = centre + outward / length * (EYE_RADIUS - 0.02)
        ring = np.arange(count)
        after = np.roll(ring, -1)
        faces = np.concatenate(
            [
                np.stack([ring, after + count, after], 1),
                np.stack([ring, ring + count, after + count], 1),
            ]
        )
        upper = np.r_[np.ones(count // 2 + 1), np.zeros(count - count // 2 - 1)][:, None]
        # Lashes: the upper rim is dark, the lower one is flesh.
        colour = upper * [0.10, 0.07, 0.06] + (1 - upper) * [0.62, 0.36, 0.30]
        rims.append(
            Part(
                np.concatenate([edge, inner]),
                faces,
                np.full((2 * count, 2), 0.5),
                "white",
                np.concatenate([moving, moving], 1),
                np.zeros(2 * count),
                np.zeros(len(faces), bool),
                0.3,
                np.concatenate([colour, colour * 1.15]),
            )
        )
    return rims


def eyeballs() -> list[Part]:
    """Returns both eyeballs with corneas; their basis turns them with the gaze."""
    names = expression_names()
    around, out = np.meshgrid(
        np.linspace(0, 2 * np.pi, 33)[:-1], np.linspace(0, 0.55 * np.pi, 23), indexing="ij"
    )
    normal = np.stack([np.sin(out) * np.cos(around), np.sin(out) * np.sin(around), np.cos(out)], -1)
    bulge = 0.06 * (1 - smoothstep(out / np.radians(31)))
    offset = (normal * (EYE_RADIUS + bulge[..., None])).reshape(-1, 3)
    uv = 0.5 + 0.5 * (out / (0.55 * np.pi))[..., None] * np.stack(
        [np.cos(around), -np.sin(around)], -1
    )
    faces = sheet(32, 23, wrap=True)[:, ::-1]
    parts = []
    for sign, word in ((1.0, "Left"), (-1.0, "Right")):
        basis = np.zeros((len(names), len(offset), 3))
        for name, (yaw, pitch) in GAZE.items():
            if name.endswith(word):
                basis[names.index(name)] = _turned(offset, yaw, pitch) - offset
        # Lids and lashes shade the top of the eye.
        shade = 1 - 0.45 * smoothstep((offset[:, 1] - 0.05) / 0.55)
        shade *= 1 - 0.35 * smoothstep((np.abs(offset[:, 0]) - 0.6) / 0.6)
        parts.append(
            Part(
                offset + EYE_CENTRE * [sign, 1, 1],
                faces,
                uv.reshape(-1, 2),
                "eye",
                basis,
                np.zeros(len(offset)),
                np.zeros(len(faces), bool),
                1.6,
                shade[:, None] * np.ones(3),
            )
        )
    return parts


def _turned(offset: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    yaw, pitch = np.radians(GAZE_DEGREES) * yaw, np.radians(GAZE_DEGREES) * pitch
    x, y, z = offset.T
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, z = y * np.cos(pitch) + z * np.sin(pitch), z * np.cos(pitch) - y * np.sin(pitch)
    return np.stack([x, y, z], 1)


def teeth_and_tongue() -> list[Part]:
    """Returns upper teeth (fixed), lower teeth and tongue (of the jaw)."""
    parts = []
    for side, top, bottom, front in ((1.0, -3.35, -4.42, 4.55), (-1.0, -4.42, -5.4, 4.35)):
        angle, down = np.meshgrid(
            np.radians(np.linspace(-78, 78, 79)), np.linspace(0, 1, 7), indexing="ij"
        )
        # Sixteen teeth to an arch: shallow grooves and a scalloped edge between them.
        phase = np.abs(np.sin(angle / np.radians(78) * 4 * np.pi))
        ridge = 0.07 * phase**0.5
        edge = 0.10 * (1 - phase**0.5) * (down if side > 0 else 1 - down) ** 4
        reach = 1 - 0.10 * np.abs(2 * down - 1) ** 3
        x = (2.15 + ridge) * np.sin(angle) * reach
        z = front - 2.6 + (2.55 + ridge) * np.cos(angle) * reach
        y = top + (bottom - top) * down + side * edge
        points = np.stack([x, y, z], -1).reshape(-1, 3)
        gum = down if side > 0 else 1 - down
        uv = np.stack([0.5 + angle / np.radians(160), gum], -1).reshape(-1, 2)
        dark = smoothstep((points[:, 2] - 1.8) / 2.6)[:, None]
        faces = sheet(79, 7)[:, ::-1]
        parts.append(_jaw_part(points, faces, uv, "teeth", side, 0.8, 0.35 + 0.65 * dark))
    around, along = np.meshgrid(
        np.linspace(0, 2 * np.pi, 21)[:-1], np.linspace(0, np.pi, 13), indexing="ij"
    )
    tongue = np.stack(
        [
            1.6 * np.sin(along) * np.cos(around),
            -5.0 + 0.5 * np.sin(along) * np.sin(around),
            1.4 + 2.4 * np.cos(along),
        ],
        -1,
    ).reshape(-1, 3)
    tint = 0.25 + 0.75 * smoothstep((tongue[:, 2:] - 0.5) / 3.0) * np.ones(3)
    faces = sheet(20, 13, wrap=True)
    uv = np.full((len(tongue), 2), 0.5)
    parts.append(_jaw_part(tongue, faces, uv, "tongue", -1.0, 0.6, tint))
    return parts


def _jaw_part(
    points: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    tile: str,
    side: float,
    gloss: float,
    tint: np.ndarray,
) -> Part:
    """Returns a rigid part of the upper (`side` 1) or lower (-1) jaw."""
    names = expression_names()
    basis = np.zeros((len(names), len(points), 3))
    if side < 0:
        # Bone does not bend: the motion of the jaw alone, without the lips'.
        jaw = tuple(name for name in names if name.startswith("jaw"))
        probe = expression_displacements(
            np.concatenate([[[0, -6.5, 4.0], [0, -6.5, 0.5]]]), np.full(2, -1.0), jaw
        )
        share = ((4.0 - points[:, 2]) / 3.5)[:, None]
        for row, name in enumerate(jaw):
            basis[names.index(name)] = (1 - share) * probe[row, 0] + share * probe[row, 1]
    tint = np.broadcast_to(tint, (len(points), 3))
    return Part(
        points,
        faces,
        uv,
        tile,
        basis,
        np.zeros(len(points)),
        np.zeros(len(faces), bool),
        gloss,
        tint,
    )


def sheet(first: int, second: int, *, wrap: bool = False) -> np.ndarray:
    """Returns the faces of a grid (first, second) of vertices; `wrap` closes the first axis."""
    index = np.arange(first * second).reshape(first, second)
    if wrap:
        index = np.concatenate([index, index[:1]])
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    return np.concatenate(
        [np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)]
    )
