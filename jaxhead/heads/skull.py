"""The part of a head that a face tracker does not see: skull, nape and neck behind a face's border.

Lengths here are centimetres in head space, as in anthropometric tables: head breadth 15 to 16, head
length 19 to 20.5, height from chin to crown 22 to 24, neck circumference 36 to 40 (Gordon et al.
2014, 2012 Anthropometric Survey). The generous end is taken, because hair lies on top.
"""

import numpy as np

from jaxhead.heads.distance import cone, ellipsoid, mirrored, smooth_minimum

NECK_BOTTOM = np.array([0.0, -20.5, -7.9])
NECK_RADIUS = 5.5
_SKULL_CENTRE = np.array([0.0, 4.5, -4.8])
_SKULL_RADII = np.array([8.25, 9.9, 10.3])
_JAW_CENTRE = np.array([0.0, -5.0, -2.0])
_JAW_RADII = np.array([6.5, 4.8, 5.3])
_EAR_CENTRE = np.array([7.7, 0.6, -4.7])
_EAR_RADII = np.array([1.3, 3.2, 1.8])


def skull_distance(points: np.ndarray) -> np.ndarray:
    """Returns the approximate signed distance (...,) in cm to skull, ears' bulge and neck.

    Args:
      points: (..., 3) in cm; the distance is negative inside.
    """
    both = mirrored(points)
    skull = ellipsoid(points, _SKULL_CENTRE, _SKULL_RADII)
    neck = cone(points, np.array([0.0, -2.0, -6.2]), np.array([0.0, -22.0, -8.1]), 5.7, 5.4)
    jaw = ellipsoid(points, _JAW_CENTRE, _JAW_RADII)
    ear = ellipsoid(both, _EAR_CENTRE, _EAR_RADII)
    trunk = smooth_minimum(smooth_minimum(skull, neck, 3.0), jaw, 3.0)
    return smooth_minimum(trunk, ear, 1.0)


def skull_rings(border: np.ndarray, rings: int = 16) -> np.ndarray:
    """Returns rings of points from a face's border over the skull down to the bottom of the neck.

    Every column starts at a border point, runs over its side of the head and ends on the neck: the
    top columns go over the crown and the nape, the chin's go under the jaw and down the throat.
    Relaxation spreads the points evenly while they are drawn to the surface of `skull_distance`,
    less so beside the border, where the surface bends from the face into the skull.

    Args:
      border: (B, 3) closed border of the face in cm, its lowest point is the chin.
      rings: number of rings after the border.

    Returns:
      (rings + 1, B, 3) in cm; ring 0 is the border itself.
    """
    points = _first_guess(border, rings)
    pull = np.clip(np.arange(rings + 1) / 4.0, 0.0, 1.0)[:, None, None] ** 1.5
    for _ in range(120):
        inner = points[1:-1]
        across = 0.5 * (np.roll(inner, 1, 1) + np.roll(inner, -1, 1))
        along = 0.5 * (points[:-2] + points[2:])
        moved = inner + 0.5 * (0.6 * along + 0.4 * across - inner)
        points[1:-1] = moved + pull[1:-1] * (_project(moved) - moved)
        # Smoothing alone would crowd the rings on the thin neck and leave the crown coarse.
        points = _even_columns(points)
    return points


def _even_columns(points: np.ndarray) -> np.ndarray:
    """Returns the columns (R, B, 3) with points at equal arc lengths."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    places = np.concatenate([np.zeros((1, points.shape[1])), np.cumsum(lengths, 0)])
    wanted = np.linspace(0, 1, len(points))[:, None] * places[-1]
    even = np.empty_like(points)
    for column in range(points.shape[1]):
        for axis in range(3):
            even[:, column, axis] = np.interp(
                wanted[:, column], places[:, column], points[:, column, axis]
            )
    return even


def _first_guess(border: np.ndarray, rings: int) -> np.ndarray:
    count = len(border)
    chin = int(border[:, 1].argmin())
    side = np.sign(border[(chin + count // 4) % count, 0])
    angle = side * (np.arange(count) - chin) * 2 * np.pi / count
    sine, cosine = np.sin(angle), np.cos(angle)
    # Two waypoints: a ring through crown, ears and throat, and one through occiput and throat.
    crown = np.stack([8.3 * sine, 2.0 - 12.3 * cosine, -2.4 + 2.6 * cosine - 3.1 * sine**2], 1)
    occiput = np.stack([6.3 * sine, -4.7 - 8.8 * cosine, -8.0 + 7.2 * cosine], 1)
    bottom = NECK_BOTTOM + NECK_RADIUS * np.stack([sine, 0 * sine, cosine], 1)
    stations = np.stack([border, crown, occiput, bottom])
    place = np.interp(np.arange(rings + 1) / rings, [0, 0.35, 0.7, 1], [0, 1, 2, 3])
    lower = np.minimum(place.astype(int), 2)
    part = (place - lower)[:, None, None]
    return (1 - part) * stations[lower] + part * stations[lower + 1]


def _project(points: np.ndarray) -> np.ndarray:
    """Returns points one Newton step nearer to the surface of `skull_distance`."""
    step = 1e-3
    value = skull_distance(points)
    gradient = np.stack([skull_distance(points + step * axis) - value for axis in np.eye(3)], -1)
    gradient /= np.linalg.norm(gradient, axis=-1, keepdims=True)
    return points - value[..., None] * gradient
