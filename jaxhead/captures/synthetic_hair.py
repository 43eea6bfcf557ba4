"""Hair of the synthetic person: a dark cap under some two thousand combed ribbons.

Lengths are centimetres in head space. Strands start on the scalp, follow a combing direction along
the head and keep a height above it that swells and sinks; each is a ribbon that faces outwards.
"""

import numpy as np

from jaxhead.captures.synthetic_parts import Part
from jaxhead.heads.distance import smoothstep
from jaxhead.heads.sculpture import head_distance

_STEPS = 7
PARTING = 2.3


def hair_share(points: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: how much hair grows at points (N, 3) of the skin."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    # Forehead with a slight widow's peak and receding temples, then down in front of the ear.
    front = 8.3 - 0.2 * np.exp(-(x**2) / 1.5) + 0.75 * np.exp(-((x - 4.0) ** 2) / 3.0)
    front -= 0.9 * smoothstep((x - 4.6) / 1.6)
    crown = smoothstep((y - front) / 0.7)
    temple = smoothstep((0.1 - z) / 0.8) * smoothstep((y - 3.0) / 1.5)
    sideburn = smoothstep((-1.6 - z) / 0.7) * smoothstep((z + 4.6) / 0.7)
    sideburn *= smoothstep((y + 0.9) / 0.8)
    behind = smoothstep((-6.0 - z) / 0.8) * smoothstep((y + 5.4) / 1.6)
    over = smoothstep((-2.5 - z) / 1.0) * smoothstep((y - 2.4) / 1.0)
    return np.max([crown, temple, sideburn, behind, over], axis=0)


def hair_parts(skin: Part, rng: np.random.Generator, *, strands: int = 1900) -> list[Part]:
    """Returns the cap and the ribbons that grow on `skin`.

    Args:
      skin: the head's skin.
      rng: source of randomness.
      strands: number of ribbons.
    """
    return [_cap(skin), _ribbons(skin, rng, strands)]


def _cap(skin: Part) -> Part:
    share = hair_share(skin.points)
    kept = (share > 0.45)[skin.faces].all(1)
    used, faces = np.unique(skin.faces[kept], return_inverse=True)
    faces = faces.reshape(-1, 3)
    points = skin.points[used]
    normal = _normals(points)
    lift = 0.5 * _thickness(points) * smoothstep(2.4 * (share[used] - 0.45))
    points = points + (lift + 0.02)[:, None] * normal
    tint = np.full((len(points), 3), 0.30)
    still = np.zeros(len(points))
    uv = np.stack([points[:, 0] / 9 + points[:, 1] / 30, points[:, 2] / 20], 1) % 1.0
    return Part(points, faces, uv, "hair", None, still, np.zeros(len(faces), bool), 0.1, tint)


def _thickness(points: np.ndarray) -> np.ndarray:
    """Returns (N,) cm of hair above the scalp: high on the crown, close at the sides."""
    y = points[:, 1]
    return 0.7 + 1.5 * smoothstep((y - 4.0) / 8.0) - 0.35 * smoothstep((1.0 - y) / 4.0)


def _combing(points: np.ndarray) -> np.ndarray:
    """Returns (N, 3) directions before they are laid along the scalp."""
    x, y, z = points.T
    # Strands of both sides interlace along the parting.
    away = np.tanh((x - PARTING + 0.8 * np.sin(7.1 * y + 5.3 * z)) / 0.15)
    top = smoothstep((y - 5.5) / 5.0)
    front = smoothstep((z - 0.5) / 3.5)
    sideways = away * (0.25 + 0.6 * top)
    back = -0.55 - 0.35 * (1 - top) + 0.15 * front
    down = -0.9 * (1 - top) - 0.1 + 0.35 * front * top
    return np.stack([sideways, down, back], 1)


def _ribbons(skin: Part, rng: np.random.Generator, strands: int) -> Part:
    roots = _roots(skin, rng, strands)
    normal = _normals(roots)
    thickness = _thickness(roots) * rng.uniform(0.35, 1.15, strands)
    thickness *= 0.4 + 0.6 * hair_share(roots)
    top = smoothstep((roots[:, 1] - 4.0) / 6.0)
    length = (2.2 + 5.0 * top) * rng.uniform(0.7, 1.2, strands)
    # Neighbouring strands hold together: the jitter of the comb is smooth over the scalp.
    clump = np.stack(
        [np.sin(roots @ axis + k) for k, axis in enumerate(rng.normal(0, 0.9, (3, 3)))], 1
    )
    comb = _combing(roots) + 0.22 * clump + rng.normal(0, 0.10, (strands, 3))
    positions, current = [roots + 0.05 * normal], roots
    for step in range(1, _STEPS):
        share = step / (_STEPS - 1)
        along = comb - (comb * normal).sum(1, keepdims=True) * normal
        along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
        current = current + along * (length / (_STEPS - 1))[:, None]
        normal = _normals(current)
        swell = 0.25 + np.sin(np.pi * min(0.12 + 0.68 * share, 1.0))
        wanted = thickness * swell / 1.25
        current = current + (wanted - head_distance(current))[:, None] * normal
        comb = comb + [0, -0.12, 0]
        positions.append(current)
    return _as_part(np.stack(positions, 1), rng)


def _as_part(lines: np.ndarray, rng: np.random.Generator) -> Part:
    """Returns ribbons along lines (S, K, 3)."""
    strands, steps = lines.shape[:2]
    tangent = np.gradient(lines, axis=1)
    normal = _normals(lines.reshape(-1, 3)).reshape(lines.shape)
    wide = np.cross(normal, tangent)
    wide /= np.linalg.norm(wide, axis=-1, keepdims=True) + 1e-9
    roll = rng.normal(0, 0.35, (strands, 1, 1))
    wide = np.cos(roll) * wide + np.sin(roll) * normal
    share = np.linspace(0, 1, steps)
    taper = np.sqrt(np.clip(1.05 - share**2.5, 0, 1))
    half = 0.17 * rng.uniform(0.6, 1.3, (strands, 1)) * taper
    left, right = lines - half[..., None] * wide, lines + half[..., None] * wide
    points = np.stack([left, right], 2).reshape(-1, 3)
    index = np.arange(len(points)).reshape(strands, steps, 2)
    a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
    faces = np.concatenate(
        [np.stack([a, d, b], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    )
    # Roots lie in the shade of the hair above them; tips are bleached a little.
    deep = 0.45 + 0.55 * smoothstep(share * 2.2)
    shade = rng.uniform(0.7, 1.25, (strands, 1)) * deep
    warm = rng.normal(0, 0.04, (strands, 1, 1)) * np.array([1.0, 0.2, -0.6])
    tint = np.repeat((shade[..., None] * (1 + warm))[:, :, None], 2, 2).reshape(-1, 3)
    column = rng.uniform(0, 0.92, (strands, 1))
    u = np.stack([column + 0 * share, column + 0.07 + 0 * share], -1)
    v = np.broadcast_to(share[None, :, None], u.shape)
    uv = np.stack([u, v], -1).reshape(-1, 2)
    return Part(
        points,
        faces,
        uv,
        "hair",
        None,
        np.zeros(len(points)),
        np.zeros(len(faces), bool),
        0.5,
        tint,
    )


def _roots(skin: Part, rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns (count, 3) points on the scalp, evenly spread where hair grows."""
    corners = skin.points[skin.faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    weight = area * hair_share(corners.mean(1)) ** 1.5
    chosen = rng.choice(len(area), count, p=weight / weight.sum())
    share = rng.dirichlet(np.ones(3), count)
    return np.einsum("nc,nck->nk", share, corners[chosen])


def _normals(points: np.ndarray) -> np.ndarray:
    """Returns (N, 3) unit gradients of the head's distance, which point outwards."""
    value = head_distance(points)
    gradient = np.stack([head_distance(points + 0.05 * axis) - value for axis in np.eye(3)], -1)
    return gradient / (np.linalg.norm(gradient, axis=-1, keepdims=True) + 1e-9)
