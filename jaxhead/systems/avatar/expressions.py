"""What of scores and meshes becomes a frame's condition."""

from __future__ import annotations

import numpy as np


def expression_components(
    scores: np.ndarray, shapes: np.ndarray, dims: int
) -> dict[str, np.ndarray]:
    """What turns scores and measured shapes into a frame's condition, from training frames.

    Scores tell what a mesh cannot (a squint, a gaze), the mesh tells how far lips and lids really
    are apart; both blocks get one total variance before their principal components are taken.

    Args:
      scores: (n, E) in units that are alike (shares in [0, 1], or deviations).
      shapes: (n, S) coordinates of the skin in metres.
      dims: components wanted; fewer where the frames span fewer.

    Returns:
      {"expression_mean" (E + S,), "expression_components" (k, E + S), "expression_scale" (k,)}: a
      condition is (features - mean) @ components.T / scale.
    """
    features = np.concatenate([scores, shapes], -1).astype(np.float64)
    mean = features.mean(0)
    weights = np.concatenate([
        np.full(block.shape[1], 1 / np.sqrt(max(block.var(0).sum(), 1e-12)))
        for block in (scores, shapes)
    ])
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
