"""Who the synthetic person is: the head's proportions, as a smooth bend of the space around it.

The bend carries skin, eyes, teeth, hair and the head model alike, so that they keep fitting one
another. It fades out towards the shoulders.
"""

from __future__ import annotations

import numpy as np

from jaxhead.heads.model import Array, HeadModel

# One standard deviation of each proportion, no more than that of adults (the head-and-face survey
# of Zhuang and Bradtmiller, 2005): share of the width, or metres.
DEVIATIONS = {
    "width": 0.035,
    "jaw_width": 0.05,
    "cranium_height": 0.006,
    "face_length": 0.005,
    "nose_length": 0.003,
    "nose_width": 0.08,
    "mouth_width": 0.07,
    "cheeks": 0.003,
    "eye_distance": 0.0015,
    "forehead": 0.003,
}
_MOST = 1.6


def proportions(seed: int) -> dict[str, float]:
    """The person of a seed: departures from the mean head; seed 0 is the mean head itself.

    Args:
      seed: not negative.

    Returns:
      {name: departure} in the units of `DEVIATIONS`, within 1.6 deviations.
    """
    rng = np.random.default_rng([seed, 7])
    draws = np.clip(rng.normal(size=len(DEVIATIONS)), -_MOST, _MOST)
    if seed == 0:
        draws = np.zeros(len(draws))
    return {name: float(draw) * DEVIATIONS[name] for name, draw in zip(DEVIATIONS, draws)}


def bend(points: np.ndarray, person: dict[str, float]) -> np.ndarray:
    """Points of the mean head where this person has them.

    Args:
      points: (..., 3) metres in head space.
      person: from `proportions`.
    """
    points = np.asarray(points, np.float64)
    x, y, z = np.moveaxis(points, -1, 0)
    # Neck and shoulders below stay as they are.
    head = _rise(y, -0.145, -0.075)
    front = _rise(z, -0.02, 0.035)
    nose = _bump(x, 0.0, 0.018) * _bump(y, -0.008, 0.016) * front
    mouth = _bump(y, -0.044, 0.02) * front
    across = (
        person["width"] * head
        + person["jaw_width"] * _bump(y, -0.075, 0.028) * head
        + person["nose_width"] * nose
        + person["mouth_width"] * mouth * _bump(x, 0.0, 0.04)
    )
    apart = person["eye_distance"] * np.tanh(x / 0.02) * _bump(y, 0.026, 0.02) * front
    # From the nose down to the chin the face grows; the neck takes up the difference.
    below = _rise(-y, 0.015, 0.085) * _rise(y, -0.19, -0.1)
    above = _rise(y, 0.04, 0.13)
    return np.stack(
        [
            x * (1 + across) + apart,
            y + person["cranium_height"] * above - person["face_length"] * below,
            z
            + person["nose_length"] * nose
            + person["cheeks"] * _bump(np.abs(x), 0.045, 0.018) * _bump(y, -0.01, 0.022) * front
            + person["forehead"] * _bump(y, 0.065, 0.03) * front,
        ],
        -1,
    )


def bent_head(head: HeadModel, person: dict[str, float]) -> HeadModel:
    """A head model whose neutral shape and displacements are this person's.

    Args:
      head: the mean head.
      person: from `proportions`.
    """
    template = np.asarray(head.template)
    return head.replace(  # pyright: ignore[reportAttributeAccessIssue]
        template=bend(template, person).astype(np.float32),
        expression_basis=bent_basis(template, head.expression_basis, person).astype(np.float32),
    )


def identity_basis(head: HeadModel) -> np.ndarray:
    """(I, V, 3) displacement in metres per deviation of each of the proportions, at the mean head.

    Args:
      head: the mean head.
    """
    template = np.asarray(head.template, np.float64)
    single = (
        {name: DEVIATIONS[other] * (name == other) for name in DEVIATIONS} for other in DEVIATIONS
    )
    return np.stack([bend(template, person) - template for person in single]).astype(np.float32)


def bent_basis(points: np.ndarray, basis: Array, person: dict[str, float]) -> np.ndarray:
    """(E, V, 3) displacements per unit score of bent points, from those of points (V, 3)."""
    points, basis = np.asarray(points, np.float64), np.asarray(basis, np.float64)
    return bend(points + basis, person) - bend(points, person)


def _bump(value: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((value - centre) / width) ** 2)


def _rise(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high` on, smooth between."""
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return share * share * (3 - 2 * share)
