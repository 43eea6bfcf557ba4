"""The sculpted form of the procedural head, as a signed distance in centimetres of head space.

Proportions follow adult averages (Farkas 1994): pupils 6.3 apart, mouth 5 wide, nose 3.5 wide, 18
from hairline to chin. Everything is symmetric.
"""

import numpy as np

from jaxhead.heads.distance import (
    cone,
    ellipsoid,
    mirrored,
    smooth_difference,
    smooth_minimum,
    smoothstep,
)

EYE_CENTRE = np.array([3.15, 2.6, 2.62])
EYE_RADIUS = 1.22
LID_RADIUS = 1.37
MOUTH_HEIGHT = -4.2
MOUTH_HALF_WIDTH = 2.5


def head_distance(points: np.ndarray) -> np.ndarray:
    """Returns the signed distance (...,) of points (..., 3), both in cm, to the skin."""
    p = mirrored(points)
    body = _skull_and_jaw(p)
    body = smooth_minimum(body, _neck(p), 2.5)
    body = _cheeks(p, body)
    body = _eyes(p, body)
    body = smooth_minimum(body, _nose(p), 0.8)
    body = _mouth(p, body)
    return body


def _skull_and_jaw(p: np.ndarray) -> np.ndarray:
    skull = ellipsoid(p, [0, 4.6, -4.9], [7.55, 9.3, 9.6])
    forehead = ellipsoid(p, [0, 5.4, -1.2], [6.9, 4.9, 6.2])
    middle = ellipsoid(p, [0, -0.2, -1.6], [6.75, 7.4, 6.7])
    jaw = ellipsoid(p, [0, -4.9, -0.9], [5.0, 4.5, 5.6])
    chin = ellipsoid(p, [0, -7.9, 3.2], [2.1, 1.55, 1.75])
    angle = ellipsoid(p, [4.5, -4.2, -2.2], [1.2, 2.6, 2.2])
    body = smooth_minimum(skull, forehead, 1.5)
    body = smooth_minimum(body, middle, 1.5)
    body = smooth_minimum(body, jaw, 2.5)
    body = smooth_minimum(body, angle, 2.0)
    return smooth_minimum(body, chin, 1.6)


def _neck(p: np.ndarray) -> np.ndarray:
    column = cone(p, np.array([0, -3.0, -6.3]), np.array([0, -22.0, -7.7]), 5.6, 5.6)
    muscle = cone(p, np.array([5.4, -3.5, -6.0]), np.array([1.0, -19.0, -2.2]), 1.2, 0.8)
    larynx = ellipsoid(p, [0, -13.2, -1.9], [1.1, 1.8, 0.9])
    return smooth_minimum(smooth_minimum(column, muscle, 1.5), larynx, 1.2)


def _cheeks(p: np.ndarray, body: np.ndarray) -> np.ndarray:
    bone = ellipsoid(p, [4.2, 0.1, 2.0], [1.9, 1.5, 2.0])
    arch = cone(p, np.array([5.0, 0.5, 1.0]), np.array([6.3, 0.9, -3.0]), 0.9, 0.5)
    flesh = ellipsoid(p, [3.2, -2.2, 2.75], [2.1, 2.4, 2.0])
    body = smooth_minimum(body, bone, 1.6)
    body = smooth_minimum(body, arch, 1.8)
    return smooth_minimum(body, flesh, 1.8)


def _eyes(p: np.ndarray, body: np.ndarray) -> np.ndarray:
    inner = cone(p, np.array([0.5, 4.25, 4.2]), np.array([3.0, 4.5, 3.6]), 0.9, 0.85)
    outer = cone(p, np.array([3.0, 4.5, 3.6]), np.array([5.2, 3.5, 1.3]), 0.85, 0.8)
    body = smooth_minimum(body, np.minimum(inner, outer), 1.5)
    socket = ellipsoid(p, [3.05, 2.75, 5.1], [2.1, 1.2, 1.35])
    body = smooth_difference(body, socket, 1.2)
    corner = ellipsoid(p, [1.6, 2.6, 4.75], [0.5, 0.7, 0.7])
    body = smooth_difference(body, corner, 0.7)
    lids = np.linalg.norm(p - EYE_CENTRE, axis=-1) - LID_RADIUS
    return smooth_minimum(body, lids, 0.3)


def _nose(p: np.ndarray) -> np.ndarray:
    bridge = cone(p, np.array([0, 3.6, 4.3]), np.array([0, -0.5, 6.3]), 0.7, 0.78)
    side = cone(p, np.array([0.55, 2.4, 4.1]), np.array([0.95, -0.7, 5.0]), 0.6, 0.9)
    tip = ellipsoid(p, [0, -0.85, 6.55], [0.85, 0.75, 0.85])
    wing = ellipsoid(p, [1.2, -1.25, 5.3], [0.66, 0.72, 1.05])
    base = ellipsoid(p, [0, -1.55, 5.6], [0.45, 0.5, 1.1])
    nose = smooth_minimum(smooth_minimum(bridge, side, 1.0), tip, 0.7)
    nose = smooth_minimum(nose, wing, 0.55)
    nose = smooth_minimum(nose, base, 0.4)
    nostril = ellipsoid(p, [0.62, -1.95, 5.75], [0.34, 0.42, 0.55])
    return smooth_difference(nose, nostril, 0.25)


def _mouth(p: np.ndarray, body: np.ndarray) -> np.ndarray:
    # A rounded dental arch carries the lips.
    arch = ellipsoid(p, [0, -4.2, 1.9], [2.9, 2.3, 3.2])
    body = smooth_minimum(body, arch, 1.2)
    groove = cone(p, np.array([0, -2.3, 5.85]), np.array([0, -3.3, 5.95]), 0.3, 0.42)
    body = smooth_difference(body, groove, 0.5)
    fold = cone(p, np.array([0, -6.1, 5.75]), np.array([1.6, -5.9, 5.1]), 0.5, 0.4)
    body = smooth_difference(body, fold, 0.9)
    x, y = p[..., 0], p[..., 1] - lip_line(p[..., 0])
    # Lips are rolls that thin out towards the corners; the upper one has its bow beside the middle.
    reach = np.clip(1 - (x / (MOUTH_HALF_WIDTH + 0.15)) ** 2, 0, 1)
    bow = 1 + 0.12 * np.exp(-((x - 0.55) ** 2) / 0.2) - 0.10 * np.exp(-(x**2) / 0.06)
    tall = 0.25 + 0.75 * reach
    above = np.exp(-(((y - 0.42 * tall) / (0.46 * tall)) ** 2)) * 0.50 * bow
    below = np.exp(-(((y + 0.52 * tall) / (0.54 * tall)) ** 2)) * 0.62
    crease = np.exp(-((y / 0.12) ** 2)) * 0.20 * smoothstep((2.7 - x) / 0.9)
    corner = np.exp(-((x - 2.9) ** 2 + y**2) / 0.25) * 0.06
    front = smoothstep((p[..., 2] - 1.0) / 2.0)
    return body - front * ((above + below) * np.sqrt(reach) - crease - corner)


def lip_line(x: np.ndarray) -> np.ndarray:
    """Returns the height (cm) of the line where the closed lips meet, x cm from the middle."""
    return MOUTH_HEIGHT + 0.06 * np.exp(-((np.abs(x) - 0.8) ** 2) / 0.5) - 0.05 * (x / 2.4) ** 2
