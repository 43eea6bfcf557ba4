"""What the frames of a clip share: one focal length, the subject's neutral shape, a displacement
basis.

All of it is fitted on training frames. The focal length comes first; then poses (by reprojection,
trusting vertices that obey the model), the neutral shape and the ridge regression of displacement
on scores take turns.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxhead.captures.lifting import align, fit_pose, lift, metric_vertices, project_points

HEAD_TO_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])
# A camera for talking heads stands about this far away: 0.9 m is a 20 degree field of view for a
# head that fills half of the picture, as in television footage. Most clips show so little turning
# that they do not determine perspective; then this decides.
USUAL_DISTANCE = 0.9
DISTANCE_SPREAD = 0.5
# The landmark network errs in the same way in neighbouring frames, so that a clip counts as this
# many independent observations of the face's rigidity, however long it is.
INDEPENDENT_FRAMES = 20.0
RIDGE = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class HeadFit:
    """What the frames of a clip share.

    Attributes:
      focal: pixels of the full frame.
      neutral: (468, 3) metres, the subject's shape at scores of zero.
      basis: (52, 468, 3) metres per unit of score.
      weights: (468,) how far each vertex follows the rigid head; sums to one.
      error: rms reprojection error of the rigid part in pixels, training frames.
      explained: share of the displacement's variance that the scores explain, training frames.
    """

    focal: float
    neutral: np.ndarray
    basis: np.ndarray
    weights: np.ndarray
    error: float = 0.0
    explained: float = 0.0

    def shape(self, scores: np.ndarray) -> np.ndarray:
        """(N, 468, 3) the shapes that (N, 52) scores stand for."""
        flat = scores @ self.basis.reshape(len(self.basis), -1)
        return self.neutral + flat.reshape(len(scores), *self.neutral.shape)

    def measure(
        self,
        screen: np.ndarray,
        shape: np.ndarray,
        rotation: np.ndarray,
        translation: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Poses that reproject `shape` (N, 468, 3) best, and the metric landmarks in head space.

        Args:
          screen: (N, 468, 3) from `screen_points`.
          shape: (N, 468, 3) metres.
          rotation, translation: where to start.

        Returns:
          rotation (N, 3, 3), translation (N, 3), vertices (N, 468, 3).
        """
        rotation, translation = fit_pose(
            shape, screen[..., :2], self.focal, self.weights, rotation, translation
        )
        centre = shape.mean(1)
        depth = np.einsum("ni,ni->n", rotation[:, 2], centre) + translation[:, 2]
        vertices = metric_vertices(screen, self.focal, rotation, translation, depth)
        return rotation, translation, vertices


def choose_focal(
    screen: np.ndarray, canonical: np.ndarray, rigid: np.ndarray, size: tuple[int, int]
) -> tuple[float, tuple[float, float]]:
    """One focal length in pixels for a clip, and the fields of view that fit about as well.

    The cost of a candidate is how much the lifted face deforms over the training frames (a wrong
    focal length makes a turning or approaching face change shape), plus a prior on the distance.

    Args:
      screen: (N, 468, 3) from `screen_points`, training frames.
      canonical, rigid: as in `track`.
      size: (height, width) of the frame.

    Returns:
      focal length in pixels; lowest and highest vertical field of view in degrees whose cost is
      within two of the best.
    """
    subset = screen[np.linspace(0, len(screen) - 1, min(len(screen), 200)).astype(int)]
    angles = np.radians(np.geomspace(6.0, 90.0, 28))
    focals = size[0] / 2 / np.tan(angles / 2)
    start = canonical @ HEAD_TO_CAMERA_AXES
    rigidity, distance = zip(*(_rigidity(lift(subset, focal), start, rigid) for focal in focals))
    data = 0.5 * min(INDEPENDENT_FRAMES, len(subset)) * np.log(np.array(rigidity))
    prior = 0.5 * (np.log(np.array(distance) / USUAL_DISTANCE) / DISTANCE_SPREAD) ** 2
    cost = data + prior
    near = np.degrees(angles[cost <= cost.min() + 2])
    return float(np.exp(_minimum(np.log(focals), cost))), (float(near[0]), float(near[-1]))


def _rigidity(points: np.ndarray, shape: np.ndarray, rigid: np.ndarray) -> tuple[float, float]:
    """How much lifted faces (N, 468, 3) deform, in square metres, and their median distance."""
    for _ in range(3):
        scale, rotation, translation = align(shape, points, rigid)
        local = np.einsum("nji,nlj->nli", rotation, points - translation[:, None])
        local = local / scale[:, None, None]
        deviation = np.einsum("l,nli->n", rigid / rigid.sum(), (local - local.mean(0)) ** 2)
        shape = local.mean(0)
    return max(float(deviation.mean()), 1e-12), float(np.median(translation[:, 2] / scale))


def fit_head(
    screen: np.ndarray,
    scores: np.ndarray,
    focal: float,
    canonical: np.ndarray,
    rigid: np.ndarray,
) -> HeadFit:
    """Neutral shape, displacement basis and trust in vertices, from training frames.

    Args:
      screen: (M, 468, 3); scores: (M, 52).
      focal: pixels; canonical, rigid: as in `choose_focal`.
    """
    fit = HeadFit(
        focal=focal,
        neutral=canonical,
        basis=np.zeros((scores.shape[1], *canonical.shape)),
        weights=rigid / rigid.sum(),
    )
    rotation, translation = start_poses(fit, screen)
    shape = vertices = np.zeros((len(screen), *canonical.shape))
    squares = np.zeros(screen.shape[:2])
    for turn in range(6):
        shape = fit.shape(scores)
        rotation, translation, vertices = fit.measure(screen, shape, rotation, translation)
        if turn < 2:
            # The canonical face's proportions are not the subject's: first the mean shape, kept at
            # the canonical size and place, which no monocular camera could tell.
            neutral, _ = _normalised(vertices.mean(0), fit.basis, canonical, fit.weights)
            fit = dataclasses.replace(fit, neutral=neutral)
            continue
        neutral, basis = _normalised(*fit_basis(vertices, scores), canonical, rigid)
        fit = dataclasses.replace(fit, neutral=neutral, basis=basis)
        shape = fit.shape(scores)
        error = screen[..., :2] - project_points(shape, focal, rotation, translation)
        squares = (error**2).sum(-1)
        fit = dataclasses.replace(fit, weights=_trust(squares.mean(0), rigid))
    spread = ((vertices - vertices.mean(0)) ** 2).sum()
    return dataclasses.replace(
        fit,
        error=float(np.sqrt((squares @ fit.weights).mean())),
        explained=float(1 - ((vertices - shape) ** 2).sum() / max(spread, 1e-12)),
    )


def start_poses(fit: HeadFit, screen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (N, 3, 3) and translation (N, 3) of the neutral shape by Procrustes alignment."""
    scale, rotation, translation = align(fit.neutral, lift(screen, fit.focal), fit.weights)
    return rotation, translation / scale[:, None]


def fit_basis(vertices: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neutral shape (468, 3) and displacement basis (52, 468, 3) by ridge regression.

    The penalty is on centred scores in units of their overall spread, so that a score that never
    moves gets no displacement instead of an arbitrary one.

    Args:
      vertices: (M, 468, 3) metric landmarks in head space; scores: (M, 52).
    """
    mean, shape = scores.mean(0), vertices.mean(0)
    centred = scores - mean
    target = (vertices - shape).reshape(len(vertices), -1)
    gram = centred.T @ centred
    penalty = RIDGE**2 * max(np.trace(gram) / len(gram), 1e-9)
    basis = np.linalg.solve(gram + penalty * np.eye(len(gram)), centred.T @ target)
    basis = basis.reshape(-1, *shape.shape)
    return shape - np.einsum("e,elk->lk", mean, basis), basis


def _normalised(
    shape: np.ndarray, basis: np.ndarray, canonical: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`shape` moved, turned and scaled onto the canonical face, and its `basis` with it."""
    scale, rotation, translation = align(canonical, shape[None], weights)
    return (shape - translation[0]) @ rotation[0] / scale[0], basis @ rotation[0] / scale[0]


def _trust(variance: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    """Vertex weights: inverse to what the model leaves unexplained, half of it MediaPipe's own."""
    inverse = 1 / (variance + np.median(variance))
    return 0.5 * inverse / inverse.sum() + 0.5 * rigid / rigid.sum()


def _minimum(x: np.ndarray, y: np.ndarray) -> float:
    """Where a parabola through the smallest sample and its neighbours has its minimum."""
    k = int(np.argmin(y))
    if k in (0, len(x) - 1):
        return float(x[k])
    a, b, _ = np.polyfit(x[k - 1 : k + 2] - x[k], y[k - 1 : k + 2], 2)
    return float(x[k] - b / (2 * a)) if a > 0 else float(x[k])
