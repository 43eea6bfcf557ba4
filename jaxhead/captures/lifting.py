"""From MediaPipe's screen landmarks to metres, for a camera of any field of view.

MediaPipe's landmarks are weak-perspective: x and y in the picture, z relative to the face in the
same pixels. Scaled so that the near plane lies at the focal length, a landmark sits at (x (1 + z /
f), y (1 + z / f), f + z) pixels from the camera, up to one scale per frame, which the weighted
Procrustes alignment with a metric face fixes. With f of a 63 degree camera this is MediaPipe's own
geometry pipeline; another f costs nothing. Camera coordinates here are OpenCV's (x right, y down, z
forward); faces are in head space (y up, +z out of the face). Everything is float64 on the host.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

_BLOCK = 64


def screen_points(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Landmarks in pixels around the picture's centre, z around the face's mean.

    Args:
      landmarks: (N, L, 3) shares of width, height, width.
      size: (height, width) in pixels.

    Returns:
      (N, L, 3) float64: x right and y down from the centre, z away from the camera, in pixels.
    """
    height, width = size
    points = np.asarray(landmarks, np.float64) * (width, height, width)
    points[..., :2] -= (width / 2, height / 2)
    points[..., 2] -= points[..., :468, 2].mean(-1, keepdims=True)
    return points


def lift(screen: np.ndarray, focal: float) -> np.ndarray:
    """(N, L, 3) camera points up to one scale per frame, from `screen_points` and f in pixels."""
    z = screen[..., 2:]
    return np.concatenate([screen[..., :2] * (1 + z / focal), focal + z], -1)


def align(
    shape: np.ndarray, points: np.ndarray, weights: np.ndarray, *, scaled: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted Procrustes (Umeyama 1991): `points` = scale R shape + translation, in least squares.

    Args:
      shape: (L, 3) or (N, L, 3).
      points: (N, L, 3).
      weights: (L,) not negative.
      scaled: estimate the scale, else it is one.

    Returns:
      scale (N,), R (N, 3, 3), translation (N, 3).
    """
    weights = weights / weights.sum()
    shape = np.broadcast_to(shape, points.shape)
    shape_mean = np.einsum("l,nli->ni", weights, shape)
    points_mean = np.einsum("l,nli->ni", weights, points)
    centred = shape - shape_mean[:, None]
    moment = np.einsum("l,nli,nlj->nij", weights, points - points_mean[:, None], centred)
    left, singular, right = np.linalg.svd(moment)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * sign[:, None]) @ right
    scale = np.ones(len(points))
    if scaled:
        scale = (singular * sign).sum(-1) / np.einsum("l,nli,nli->n", weights, centred, centred)
    return scale, rotation, points_mean - scale[:, None] * _rotate(rotation, shape_mean)


def fit_pose(
    shape: np.ndarray,
    pixels: np.ndarray,
    focal: float,
    weights: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    *,
    steps: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Rigid poses that minimise the weighted reprojection error (Gauss-Newton on SE(3)).

    Args:
      shape: (L, 3) or (N, L, 3) head space, metres.
      pixels: (N, L, 2) pixels around the principal point.
      focal: pixels.
      weights: (L,) or (N, L), not negative.
      rotation: (N, 3, 3) start; translation: (N, 3) start, metres.
      steps: Gauss-Newton steps.

    Returns:
      rotation (N, 3, 3), translation (N, 3) from head space to the camera.
    """
    weights = np.broadcast_to(weights, pixels.shape[:2])
    shape = np.broadcast_to(shape, (*pixels.shape[:2], 3))
    # Jacobians are large: a block of frames at a time keeps them small.
    cuts = range(_BLOCK, len(pixels), _BLOCK)
    blocks = (np.split(x, cuts) for x in (shape, pixels, weights, rotation, translation))
    parts = [_fit_block(*block, focal=focal, steps=steps) for block in zip(*blocks)]
    return np.concatenate([r for r, _ in parts]), np.concatenate([t for _, t in parts])


def _fit_block(
    shape: np.ndarray,
    pixels: np.ndarray,
    weights: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    *,
    focal: float,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    for _ in range(steps):
        turned = np.einsum("nij,nlj->nli", rotation, shape)
        points = turned + translation[:, None]
        jacobian = np.zeros((*points.shape[:2], 2, 6))
        depth = points[..., 2]
        jacobian[..., 0, 3] = jacobian[..., 1, 4] = focal / depth
        jacobian[..., 0, 5] = -focal * points[..., 0] / depth**2
        jacobian[..., 1, 5] = -focal * points[..., 1] / depth**2
        jacobian[..., :3] = jacobian[..., 3:] @ _cross_matrix(-turned)
        error = pixels - focal * points[..., :2] / depth[..., None]
        normal = np.einsum("nl,nlai,nlaj->nij", weights, jacobian, jacobian)
        right = np.einsum("nl,nlai,nla->ni", weights, jacobian, error)
        # Scale-free damping: rotation and translation have different units.
        diagonal = np.einsum("nii->ni", normal)
        normal = normal + 1e-9 * np.eye(6) * diagonal[:, None]
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        rotation = Rotation.from_rotvec(step[:, :3]).as_matrix() @ rotation
        translation = translation + step[:, 3:]
    return rotation, translation


def project_points(
    shape: np.ndarray, focal: float, rotation: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """(N, L, 2) pixels around the principal point of `shape` (L, 3) or (N, L, 3) in head space."""
    shape = np.broadcast_to(shape, (len(rotation), *shape.shape[-2:]))
    points = np.einsum("nij,nlj->nli", rotation, shape) + translation[:, None]
    return focal * points[..., :2] / points[..., 2:]


def metric_vertices(
    screen: np.ndarray,
    focal: float,
    rotation: np.ndarray,
    translation: np.ndarray,
    depth: np.ndarray,
) -> np.ndarray:
    """Landmarks in head space that reproject exactly onto the picture.

    Args:
      screen: (N, L, 3) from `screen_points`.
      focal: pixels.
      rotation, translation: head to camera, (N, 3, 3) and (N, 3).
      depth: (N,) mean depth of the face in metres, which fixes the scale of the frame.

    Returns:
      (N, L, 3) metres.
    """
    points = lift(screen, focal) * (depth / focal)[:, None, None]
    return np.einsum("nji,nlj->nli", rotation, points - translation[:, None])


def _rotate(rotation: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("nij,nj->ni", rotation, vectors)


def _cross_matrix(vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) matrices M with M w = v x w."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return np.stack(rows, -1).reshape(*vectors.shape, 3)
