"""The light on a head, as far as the brightness of what is seen tells it."""

from __future__ import annotations

import numpy as np

DARKEST = 0.02
"""Brightness below which a camera tells no light."""
RIDGE = 1e-3
"""How far each seen place pulls towards no light, in squares of the logarithm."""
_ROUNDS = 10


def light_gradient(
    colors: np.ndarray, normals: np.ndarray, parts: tuple[np.ndarray, ...]
) -> np.ndarray:
    """(3,) by which the logarithm of brightness grows with the normal's components.

    The first order of light (Ramamoorthi and Hanrahan 2001) as a factor, so that it stays positive
    where it is extrapolated: parts of like colour have a brightness of their own and share the
    light. Fitted with Huber's weights; nothing seen tells of no light.

    Args:
      colors: (n, 3) in [0, 1]; normals: (n, 3); parts: masks (n,) bool.
    """
    part = np.concatenate([np.full(mask.sum(), k) for k, mask in enumerate(parts)])
    at = np.concatenate([np.flatnonzero(mask) for mask in parts])
    if len(at) == 0:
        return np.zeros(3)
    terms = np.concatenate([np.eye(len(parts))[part], normals[at]], -1)
    level = np.log(np.maximum(colors[at].mean(-1), DARKEST))
    # Light that the seen normals do not tell is none; a part that nothing shows has no brightness.
    ridge = RIDGE * len(at) * np.diag(np.repeat([1e-6, 1.0], [len(parts), 3]))
    weight = np.ones(len(at))
    for _ in range(_ROUNDS):
        weighed = weight[:, None] * terms
        solved = np.linalg.solve(weighed.T @ terms + ridge, weighed.T @ level)
        off = np.abs(level - terms @ solved)
        weight = np.minimum(1.0, 2.0 * np.median(off) / np.maximum(off, 1e-9))
    return solved[-3:]
