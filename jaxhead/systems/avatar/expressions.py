"""What of scores and meshes becomes a frame's condition."""

from __future__ import annotations

import numpy as np

LIDS = 0.3
"""Variance of the surroundings of the eyes by themselves, all skin having 1. More of it takes from
the lips, which follow what is left of the components."""
STILL = 1e-4
"""Metres: lids that move less are noise, which is not to be made as large as all else."""


def expression_components(
    scores: np.ndarray, shapes: np.ndarray, dims: int, lids: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What turns scores and measured shapes into a frame's condition, from training frames.

    Scores tell what a mesh cannot (a squint, a gaze), the mesh tells how far lips and lids really
    are apart. Lids move by millimetres where a jaw moves by centimetres, and a score calls the same
    closed lids 0.5 or 0.8 as the head turns, so they count once more by themselves. Scores and skin
    get one total variance, lids `LIDS` of it, before the principal components are taken.

    Args:
      scores: (n, E) in units that are alike (shares in [0, 1], or deviations).
      shapes: (n, S) coordinates of the skin in metres.
      dims: components wanted; fewer where the frames span fewer.
      lids: (S,) bool, the coordinates of the eyes' surroundings; None for none.

    Returns:
      {"expression_mean" (E + S,), "expression_components" (k, E + S), "expression_scale" (k,)}: a
      condition is (features - mean) @ components.T / scale.
    """
    features = np.concatenate([scores, shapes], -1).astype(np.float64)
    count = scores.shape[1]
    mean, variance = features.mean(0), features.var(0)
    around = np.concatenate([np.zeros(count), np.zeros(shapes.shape[1]) if lids is None else lids])
    blocks = np.stack([np.arange(len(mean)) < count, np.arange(len(mean)) >= count, around])
    least = np.array([1e-12, 1e-12, max(around.sum() * STILL**2, 1e-12)])
    shares = np.array([1.0, 1.0, LIDS]) / np.maximum(blocks @ variance, least)
    weights = np.sqrt(shares @ blocks)
    _, deviation, directions = np.linalg.svd((features - mean) * weights, full_matrices=False)
    deviation = deviation / np.sqrt(max(1, len(scores) - 1))
    keep = min(dims, int(np.sum(deviation > 1e-3)))
    return {
        "expression_mean": mean.astype(np.float32),
        "expression_components": (directions[:keep] * weights).astype(np.float32),
        "expression_scale": deviation[:keep].astype(np.float32),
    }


def expression_coefficients(scores: np.ndarray, shapes: int, dims: int) -> dict[str, np.ndarray]:
    """The arrays of `expression_components` for which a condition is the first scores as they are.

    Args:
      scores: (n, E); shapes: S, coordinates that follow them; dims: scores wanted, fewer where
        there are fewer.
    """
    keep = min(dims, scores.shape[1])
    return {
        "expression_mean": np.zeros(scores.shape[1] + shapes, np.float32),
        "expression_components": np.eye(keep, scores.shape[1] + shapes, dtype=np.float32),
        "expression_scale": np.ones(keep, np.float32),
    }
