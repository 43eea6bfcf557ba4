"""Expressions of the procedural head: displacement fields named as in ARKit.

A field takes points in cm and returns displacements in cm at score 1, for any part of the head:
skin, bag of the mouth, teeth, tongue. `side` says on which side of the mouth's line a point
belongs: +1 above, -1 below. Left and right are the subject's; +x is the left.
"""

from collections.abc import Callable

import numpy as np

from jaxhead.heads.distance import smoothstep
from jaxhead.heads.sculpture import MOUTH_HALF_WIDTH

HINGE = np.array([0.0, 0.4, -3.4])
JAW_DEGREES = 13.0
GAZE_DEGREES = 25.0
# The jaw bone on one side: hinge, angle, chin.
_JAW_LINE = np.array([[6.0, -0.5, -3.2], [5.2, -5.8, -2.4], [3.0, -8.2, 2.2], [0.0, -8.8, 4.2]])

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fields() -> dict[str, Field]:
    """Returns the displacement fields by name; lids and eyeballs are handled by their own parts."""
    table: dict[str, Field] = {
        "jawOpen": _jaw_open,
        "jawLeft": lambda p, side: jaw_share(p, side)[:, None] * [0.7, 0.0, -0.1],
        "jawRight": lambda p, side: jaw_share(p, side)[:, None] * [-0.7, 0.0, -0.1],
        "mouthPucker": _pucker,
        "mouthFunnel": _funnel,
        "cheekPuff": _cheek_puff,
        "browInnerUp": _brow_inner,
    }
    for name, field in (
        ("mouthSmile", _smile),
        ("mouthFrown", _frown),
        ("mouthStretch", _stretch),
        ("mouthUpperUp", _upper_up),
        ("mouthLowerDown", _lower_down),
        ("browOuterUp", _brow_outer),
        ("browDown", _brow_down),
        ("noseSneer", _sneer),
    ):
        table[name + "Left"] = field
        table[name + "Right"] = _mirror(field)
    return table


LID_SHAPES = {
    # name without side: (upper opening, lower opening), 1 is neutral
    "eyeBlink": (0.0, 0.75),
    "eyeSquint": (0.8, 0.35),
    "eyeWide": (1.3, 1.05),
    "eyeLookUp": (1.15, 0.95),
    "eyeLookDown": (0.6, 1.15),
}
GAZE = {
    # name: (yaw to the subject's left, pitch up) in units of GAZE_DEGREES
    "eyeLookInLeft": (-1.0, 0.0),
    "eyeLookOutLeft": (1.0, 0.0),
    "eyeLookUpLeft": (0.0, 0.8),
    "eyeLookDownLeft": (0.0, -0.9),
    "eyeLookInRight": (1.0, 0.0),
    "eyeLookOutRight": (-1.0, 0.0),
    "eyeLookUpRight": (0.0, 0.8),
    "eyeLookDownRight": (0.0, -0.9),
}


def expression_names() -> tuple[str, ...]:
    """Returns the names of all expressions in alphabetical order, as MediaPipe lists its scores."""
    lids = [name + side for name in LID_SHAPES for side in ("Left", "Right")]
    return tuple(sorted({*fields(), *lids, *GAZE}))


def jaw_share(points: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: how much of the jaw's motion a point follows.

    Between the lips the share jumps from the upper to the lower lip; towards the corners and on the
    cheeks it becomes a smooth ramp. It fades away from the jaw bone.

    Args:
      points: (N, 3) cm.
      side: (N,) +1 above the mouth's line, -1 below.
    """
    x = np.abs(points[:, 0])
    above = points[:, 1] + 4.2
    ramp = smoothstep((x - 0.2) / MOUTH_HALF_WIDTH) * smoothstep((x + 1.5) / 4.0)
    signed = side * (1 - ramp) + ramp * np.tanh(above / 2.2)
    return 0.5 * (1 - signed) * _near_jaw(points)


def _near_jaw(points: np.ndarray) -> np.ndarray:
    mirrored = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], 1)
    nearest = np.full(len(points), np.inf)
    for start, end in zip(_JAW_LINE[:-1], _JAW_LINE[1:]):
        axis = end - start
        along = np.clip((mirrored - start) @ axis / (axis @ axis), 0, 1)
        nearest = np.minimum(
            nearest, np.linalg.norm(mirrored - start - along[:, None] * axis, axis=1)
        )
    # What lies inside the horseshoe of the jaw (mouth floor, tongue) follows it as well.
    floor = np.abs(mirrored - [0.0, -5.5, 2.0]) - [2.0, 1.5, 2.0]
    nearest = np.minimum(nearest, 0.8 + np.linalg.norm(np.maximum(floor, 0), axis=1))
    return 1 - smoothstep((nearest - 2.2) / 4.3)


def _jaw_open(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    angle = np.radians(JAW_DEGREES)
    y, z = (p - HINGE)[:, 1], (p - HINGE)[:, 2]
    turned = np.stack(
        [
            0 * y,
            y * (np.cos(angle) - 1) - z * np.sin(angle),
            y * np.sin(angle) + z * (np.cos(angle) - 1),
        ],
        1,
    )
    share = jaw_share(p, side)[:, None]
    # Corners draw together when the mouth opens.
    inward = _bump(p, [2.5, -4.4, 4.4], [1.0, 1.2, 1.5])[:, None] * [-0.25, 0, 0] * _sign(p)
    return share * turned + inward


def _smile(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    corner = _lips(p, [2.4, -4.2, 4.4], [1.25, 1.0, 1.6])
    cheek = _bump(p, [3.9, -0.9, 3.6], [1.3, 1.3, 1.6], left=True)
    fold = _bump(p, [3.3, -2.6, 4.2], [1.0, 1.4, 1.5], left=True)
    return (
        corner[:, None] * [0.95, 0.75, -0.75]
        + cheek[:, None] * [0.12, 0.35, 0.3]
        + fold[:, None] * [0.25, 0.25, 0.05]
    )


def _frown(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    corner = _lips(p, [2.4, -4.3, 4.4], [1.0, 0.9, 1.6])
    return corner[:, None] * [0.15, -0.75, -0.15]


def _stretch(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    corner = _lips(p, [2.4, -4.4, 4.4], [1.4, 1.2, 1.8])
    return corner[:, None] * [0.85, -0.2, -0.65]


def _upper_up(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    lip = _lips(p, [1.0, -3.9, 5.2], [1.1, 0.8, 1.3]) * _soft_side(p, side, 1.0)
    return lip[:, None] * [0.03, 0.62, -0.05]


def _lower_down(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    lip = _lips(p, [1.0, -4.7, 5.0], [1.1, 0.9, 1.3]) * _soft_side(p, side, -1.0)
    return lip[:, None] * [0.05, -0.62, -0.05]


def _pucker(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    lips = _bump(p, [0, -4.2, 5.0], [2.6, 1.3, 1.8])
    rim = _bump(p, [0, -4.2, 5.2], [1.4, 1.0, 1.4])
    inward = -0.42 * p[:, 0] * lips
    return np.stack([inward, -0.12 * (p[:, 1] + 4.2) * lips, 0.25 * lips + 0.65 * rim], 1)


def _funnel(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    lips = _bump(p, [0, -4.2, 5.0], [2.2, 1.2, 1.6])
    rim = _bump(p, [0, -4.2, 5.2], [1.3, 1.0, 1.4])
    middle = np.clip(1 - (p[:, 0] / 2.6) ** 2, 0, 1)
    apart = np.where(side > 0, 0.38, -0.42) * rim * middle
    return np.stack([-0.3 * p[:, 0] * lips, apart, 0.2 * lips + 0.55 * rim], 1)


def _cheek_puff(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    cheek = _bump(p, [4.1, -3.4, 3.0], [1.5, 1.8, 2.0])[:, None]
    return cheek * np.array([0.75, 0.0, 0.5]) * np.where([True, False, False], _sign(p), 1)


def _brow_inner(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    brow = _bump(p, [1.4, 4.7, 4.8], [1.5, 1.2, 2.0]) + 0.35 * _bump(p, [0, 6.5, 4.8], [3, 1.6, 2])
    return brow[:, None] * [0.0, 0.75, 0.05]


def _brow_outer(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    brow = _bump(p, [4.4, 4.6, 3.3], [1.5, 1.2, 2.0], left=True)
    return brow[:, None] * [0.05, 0.7, 0.0]


def _brow_down(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    brow = _bump(p, [2.2, 4.4, 4.4], [1.7, 1.0, 2.0], left=True)
    return brow[:, None] * [-0.2, -0.5, 0.1]


def _sneer(p: np.ndarray, side: np.ndarray) -> np.ndarray:
    wing = _bump(p, [1.3, -1.1, 5.3], [0.8, 1.1, 1.2], left=True)
    return wing[:, None] * [0.08, 0.4, 0.0]


def _bump(
    p: np.ndarray, centre: list[float], radii: list[float], *, left: bool = False
) -> np.ndarray:
    """Returns a Gaussian (N,) around a centre: on both sides, or on the left one only."""
    x = p[:, 0] if left else np.abs(p[:, 0])
    offset = np.stack([x, p[:, 1], p[:, 2]], 1) - centre
    return np.exp(-0.5 * ((offset / radii) ** 2).sum(1))


def _lips(p: np.ndarray, centre: list[float], radii: list[float]) -> np.ndarray:
    """Returns a left bump that vanishes on the teeth's side of the mouth's inside."""
    return _bump(p, centre, radii, left=True) * smoothstep((p[:, 2] - 1.0) / 2.5)


def _soft_side(p: np.ndarray, side: np.ndarray, wanted: float) -> np.ndarray:
    """Returns 1 on the wanted side of the mouth's line, 0 on the other, one half at the corners."""
    ramp = smoothstep((np.abs(p[:, 0]) - 1.2) / (MOUTH_HALF_WIDTH - 1.2))
    signed = side * (1 - ramp) + ramp * np.tanh((p[:, 1] + 4.2) / 0.8)
    return 0.5 * (1 + wanted * signed)


def _sign(p: np.ndarray) -> np.ndarray:
    # Soft in the middle, where a mirrored field must not jump.
    return np.tanh(p[:, :1] / 0.3)


def _mirror(field: Field) -> Field:
    flip = np.array([-1.0, 1.0, 1.0])
    return lambda p, side: field(p * flip, side) * flip
