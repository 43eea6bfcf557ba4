"""The parts of the synthetic person that no expression moves: ears and clothes.

Lengths are centimetres in head space.
"""

import numpy as np

from jaxhead.captures.synthetic_parts import Part, sheet
from jaxhead.heads.distance import smoothstep

# The torso below is laid out around a collar at -15 cm; a shorter neck suits the head better.
LIFT = 2.2


def ears() -> list[Part]:
    """Returns both ears: bowls with a rolled rim, tilted out from the side of the head."""
    around, out = np.meshgrid(
        np.linspace(0, 2 * np.pi, 37)[:-1], np.linspace(0, 1, 12), indexing="ij"
    )
    up, back = np.sin(around), -np.cos(around)
    # An egg: wide and round above, a narrow lobe below.
    wide = np.where(up > 0, 1.0, 1.0 - 0.45 * up**2)
    height = np.where(up > 0, 3.05, 3.3)
    plane_back = 1.75 * wide * back * out + 0.25 * out * np.maximum(up, 0)
    plane_up = height * up * out
    front = np.clip(-back, 0, 1)
    rim = 0.42 * np.exp(-(((out - 0.86) / 0.11) ** 2)) * (1 - 0.75 * front)
    fold = 0.24 * np.exp(-(((out - 0.58) / 0.10) ** 2)) * (up > -0.9) * (1 - front)
    bowl = -0.55 * np.exp(-((out / 0.42) ** 2))
    lobe = 0.25 * np.exp(-((plane_up + 2.7) ** 2) / 0.5)
    raised = 0.35 + rim + fold + bowl + lobe - 0.55 * smoothstep((out - 0.9) / 0.1)
    tilt = np.radians(24)
    outward = raised + plane_back * np.sin(tilt) * (plane_back > -1.8)
    points = np.stack(
        [7.05 + outward, 0.55 + plane_up, -4.35 - plane_back * np.cos(tilt)], -1
    ).reshape(-1, 3)
    points[:, 2] -= 0.18 * (points[:, 1] - 0.55)
    cave = 1 - 0.6 * np.exp(-((out / 0.35) ** 2)) - 0.25 * np.exp(-(((out - 0.73) / 0.08) ** 2))
    tint = (cave[..., None] * np.array([1.0, 0.96, 0.95])).reshape(-1, 3)
    uv = np.stack([around / (2 * np.pi), out], -1).reshape(-1, 2)
    faces = sheet(36, 12, wrap=True)
    still = np.zeros(len(points))
    left = Part(points, faces, uv, "ear", None, still, np.zeros(len(faces), bool), 0.2, tint)
    return [left, left._replace(points=points * [-1, 1, 1], faces=faces[:, ::-1])]


def torso_parts() -> list[Part]:
    """Returns sweater and collar: closed rings from the neck over the shoulders to the chest."""
    # Height, half width, half depth, middle in z.
    rings = np.array(
        [
            [-14.2, 5.9, 6.0, -6.9],
            [-15.6, 6.6, 6.7, -7.0],
            [-16.4, 8.4, 7.4, -7.3],
            [-17.6, 12.0, 8.2, -7.8],
            [-19.2, 15.8, 9.0, -8.0],
            [-21.2, 18.4, 9.8, -8.0],
            [-24.0, 20.3, 10.6, -7.8],
            [-28.0, 21.3, 11.4, -7.4],
            [-34.0, 21.8, 12.2, -7.0],
            [-44.0, 22.0, 12.6, -6.8],
        ]
    )
    height = np.concatenate([np.linspace(-14.2, -22, 26), np.linspace(-22.8, -44, 24)])
    wide, deep, middle = (np.interp(-height, -rings[:, 0], rings[:, k]) for k in (1, 2, 3))
    angle = np.linspace(-np.pi, np.pi, 73)[:-1]
    sine, cosine = np.sin(angle), np.cos(angle)
    power = 0.85
    x = wide[:, None] * np.sign(sine) * np.abs(sine) ** power
    z = middle[:, None] + deep[:, None] * np.sign(cosine) * np.abs(cosine) ** power
    # The neckline hangs lower in front.
    drop = 2.4 * np.clip(cosine, 0, 1) ** 2 * smoothstep((height[:, None] + 30) / 14)
    y = height[:, None] - drop
    folds = 0.18 * np.sin(7 * sine + 0.9 * y) * smoothstep((-19 - y) / 5)
    points = np.stack([x, y, z + folds], -1).reshape(-1, 3)
    index = np.arange(points.shape[0]).reshape(len(height), -1)
    faces = _grid_faces(index)
    uv = np.stack(
        np.broadcast_arrays(
            (angle[None, :] / (2 * np.pi) + 0.5), ((-14.2 - height) / 30.0)[:, None]
        ),
        -1,
    ).reshape(-1, 2)
    under_chin = 1 - 0.45 * np.exp(-((points[:, 1] + 16.5) ** 2) / 6) * np.clip(
        np.tile(cosine, len(height)), 0, 1
    )
    tint = under_chin[:, None] * np.ones(3)
    points[:, 1] += LIFT
    whole = np.ones(len(points))
    sweater = Part(points, faces, uv, "cloth", None, whole, np.ones(len(faces), bool), 0.02, tint)
    return [sweater, _collar(angle)]


def _collar(angle: np.ndarray) -> Part:
    round_ = np.linspace(0, 2 * np.pi, 11)[:-1]
    sine, cosine = np.sin(angle)[:, None], np.cos(angle)[:, None]
    swell_out, swell_up = 0.55 * np.cos(round_), 0.95 * np.sin(round_)
    x = (6.15 + swell_out) * sine
    z = -6.95 + (6.25 + swell_out) * cosine
    y = -14.6 - 2.4 * np.clip(cosine, 0, 1) ** 2 + swell_up + 0 * sine
    points = np.stack([x, y + LIFT, z], -1).reshape(-1, 3)
    ring = np.linspace(0, 1, 11)[:-1]
    uv = np.stack(
        np.broadcast_arrays((angle / (2 * np.pi) + 0.5)[:, None], ring[None, :]), -1
    ).reshape(-1, 2)
    index = np.arange(len(points)).reshape(len(angle), -1)
    faces = _grid_faces(np.concatenate([index, index[:1]]))
    tint = (0.75 + 0.25 * np.tile(np.clip(np.sin(round_) + 0.6, 0, 1), len(angle)))[:, None]
    return Part(
        points,
        faces,
        uv,
        "collar",
        None,
        np.ones(len(points)),
        np.ones(len(faces), bool),
        0.02,
        tint * np.ones(3),
    )


def _grid_faces(index: np.ndarray) -> np.ndarray:
    """Returns the faces between rows (R, C) of rings, facing outward for rows that go down."""
    a, b = index[:-1], np.roll(index[:-1], -1, 1)
    c, d = index[1:], np.roll(index[1:], -1, 1)
    return np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    )
