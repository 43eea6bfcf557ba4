"""The measured mouth of training frames, in a few numbers: what speech is taught to tell.

Neither is given when a run renders: the mouth then comes from speech, the rest stands still.
"""

from __future__ import annotations

import numpy as np

from jaxhead.captures.format import Capture

MOUTH = ("lips",)
MOST_DEVIATIONS = 3.0


def has_mesh(capture: Capture) -> bool:
    """Whether the capture's frames come with meshes whose regions are known."""
    names = capture.head.region_names
    return len(capture.head.faces) > 0 and capture.vertices.shape[1] > 0 and "lips" in names


def mouth_numbers(capture: Capture, dims: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Principal components of the lips' shape, in deviations over the training frames.

    Args:
      capture: of any kind.
      dims: components wanted; fewer where the training frames span fewer.

    Returns:
      (N, m) float32, zeros outside the training frames, m = 0 where no mesh was measured; and
      {"mouth_scale" (m,) metres}, the components' deviations.
    """
    train = capture.train
    if not has_mesh(capture):
        return np.zeros((len(capture), 0), np.float32), {"mouth_scale": np.zeros(0, np.float32)}
    names = capture.head.region_names
    lips = np.isin(np.asarray(capture.head.regions), [names.index(n) for n in MOUTH])
    shapes = capture.vertices[train][:, lips].reshape(len(train), -1).astype(np.float64)
    components, scale = _components(shapes - shapes.mean(0), dims)
    numbers = np.zeros((len(capture), components.shape[1]), np.float32)
    numbers[train] = components
    return numbers, {"mouth_scale": scale}


def rest_numbers(capture: Capture, mouth: np.ndarray, dims: int) -> np.ndarray:
    """(N, r) float32: components of the expression scores that the mouth does not tell.

    In deviations from the median over the training frames (a blink is rare), zeros outside them.

    Args:
      capture: of any kind; mouth: (N, m) of `mouth_numbers`.
      dims: components wanted.
    """
    train = capture.train
    scores = np.asarray(capture.expression[train], np.float64)
    numbers = np.zeros((len(capture), 0), np.float32)
    if scores.shape[1] == 0 or dims == 0:
        return numbers
    scores = scores - scores.mean(0)
    known = np.asarray(mouth[train], np.float64)
    told = known @ np.linalg.lstsq(known, scores, rcond=None)[0]
    # What is left where the mouth tells everything is rounding, which must not become a component.
    components, _ = _components(scores - told, dims, least=0.03 * float(scores.std(0).max()))
    numbers = np.zeros((len(capture), components.shape[1]), np.float32)
    held = components - np.median(components, 0)
    numbers[train] = np.clip(held, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return numbers


def _components(
    rows: np.ndarray, dims: int, *, least: float = 1e-6
) -> tuple[np.ndarray, np.ndarray]:
    """Whitened principal components (n, k) of centred rows, and their deviations (k,) float32.

    Those that deviate by less than `least` or a hundredth of the first are noise and left out.
    """
    _, deviation, directions = np.linalg.svd(rows, full_matrices=False)
    deviation = deviation / np.sqrt(max(1, len(rows) - 1))
    keep = min(dims, int(np.sum(deviation > max(least, 1e-2 * deviation[0])))) if len(rows) else 0
    scale = deviation[:keep]
    return rows @ directions[:keep].T / scale, scale.astype(np.float32)
