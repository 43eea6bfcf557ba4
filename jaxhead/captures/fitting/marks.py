"""Which points of a head model the landmarks of a picture are.

What is observed are MediaPipe's 478 landmarks. Models with the 68 landmarks of iBUG (Sagonas et
al. 2013) are met through the fixed list of the MediaPipe landmarks that stand where those do.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.captures.fitting.posing import Body, part_of
from jaxhead.files.errors import InputError
from jaxhead.heads.model import Array, HeadModel

_HIGHEST = jax.lax.Precision.HIGHEST
# fmt: off
MEDIAPIPE_68 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)
"""MediaPipe's number of each of the 68: jaw line, brows, nose, eyes, outer and inner lips."""
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
"""MediaPipe's landmarks on the border of the face."""
# fmt: on
CONTOUR = 17
IRISES = (468, 473)
"""MediaPipe's iris centres of the subject's right and left eye."""
_FLAME_TREE = (-1, 0, 1, 1, 1)
_LARGEST_YAW = 39


@flax.struct.dataclass
class Marks:
    """M points on a mesh, and the landmarks that show them.

    Attributes:
      corners: (R, M, 3) int32 vertices of the triangle that carries each point. R is 1, or 79 where
        contour points move with the head's yaw, as FLAME's do.
      weights: (R, M, 3) barycentric.
      observed: (M,) int32 MediaPipe's landmark numbers.
      trust: (M,) weight of each, 1 for a place on the skin.
      side: +1 where the rows 1 to 39 are for a head turned to its left, -1 to its right.
    """

    corners: Array
    weights: Array
    observed: Array
    trust: Array
    side: float = 1.0


def marks_of(
    head: HeadModel,
    body: Body,
    *,
    observed: np.ndarray | None = None,
    contour: float = 0.3,
    dynamic: tuple[Array, Array] | None = None,
) -> Marks:
    """Returns the marks of a head model by its own landmarks.

    Args:
      head: with 468 or 478 (MediaPipe's), 68 or 70 (iBUG's, with irises), or 51 or 53 landmarks
        (those without the jaw line).
      body: the model's vertices, for the irises of a FLAME skeleton.
      observed: (L,) MediaPipe's number of each landmark where the head has others than those.
      contour: trust in landmarks on the face's border.
      dynamic: faces (79, 17) and weights (79, 17, 3) of the jaw line by yaw, for 68 landmarks.

    Raises:
      InputError: no known correspondence.
    """
    index, weights = np.asarray(head.landmark_faces), np.asarray(head.landmark_weights, np.float32)
    numbers = _numbers(head) if observed is None else np.asarray(observed, np.int32).reshape(-1)
    if len(numbers) != len(index) or numbers.min(initial=0) < 0 or numbers.max(initial=0) > 477:
        raise InputError(
            f"head {head.name!r}: {len(numbers)} landmark numbers up to {numbers.max(initial=0)}, "
            f"expected {len(index)} within 0 to 477"
        )
    corners = np.asarray(head.faces, np.int32)[index]
    border = np.isin(numbers, FACE_OVAL)
    eyes = [] if np.isin(IRISES, numbers).any() else _irises(body)
    if eyes:
        ids = np.array([[vertex] * 3 for _, vertex in eyes], np.int32)
        corners = np.concatenate([corners, ids])
        first = np.array([[1, 0, 0]], np.float32)
        weights = np.concatenate([weights, np.tile(first, (len(eyes), 1))])
        numbers = np.concatenate([numbers, np.array([n for n, _ in eyes], np.int32)])
        border = np.concatenate([border, np.zeros(len(eyes), bool)])
    side = 1.0
    corners, weights = corners[None], weights[None]
    if dynamic is not None:
        corners, weights, side = _with_contour(head, corners[0], weights[0], numbers, dynamic)
    return Marks(
        corners=corners.astype(np.int32),
        weights=weights,
        observed=numbers.astype(np.int32),
        trust=np.where(border, contour, 1.0).astype(np.float32),
        side=side,
    )


def marked_part(body: Body, marks: Marks) -> tuple[Body, Marks]:
    """Returns the few vertices that carry marks, and the marks on them."""
    vertices, corners = np.unique(np.asarray(marks.corners), return_inverse=True)
    corners = corners.reshape(np.shape(marks.corners)).astype(np.int32)
    return part_of(body, vertices), marks.replace(corners=corners)  # pyright: ignore[reportAttributeAccessIssue]


def marks_seen(body: Body, marks: Marks, rotation: Array) -> tuple[Body, Marks]:
    """Returns the marks of a head that `rotation` (3, 3) turns, and the vertices that carry them.

    Where contour points move with the yaw, most vertices of `marked_part` carry other rows' points.
    """
    if len(marks.corners) == 1:
        return body, marks
    row = yaw_row(rotation, marks.side)
    corners = jnp.asarray(marks.corners)[row]
    own = jnp.arange(corners.size, dtype=jnp.int32).reshape(1, *corners.shape)
    changed = {"corners": own, "weights": jnp.asarray(marks.weights)[row][None]}
    body = part_of(jax.tree.map(jnp.asarray, body), corners.reshape(-1))
    return body, marks.replace(**changed)  # pyright: ignore[reportAttributeAccessIssue]


def marked_points(marks: Marks, vertices: Array) -> jax.Array:
    """Returns the (M, 3) marks of one row on vertices (V, 3), both from `marks_seen`."""
    corners, weights = jnp.asarray(marks.corners)[0], jnp.asarray(marks.weights)[0]
    return jnp.einsum("mc,mck->mk", weights, vertices[corners], precision=_HIGHEST)


def yaw_row(rotation: Array, side: float = 1.0) -> jax.Array:
    """Returns the row (int32) of a contour by yaw: 0 to 39 degrees to one side, 40 to 78 the other.

    Args:
      rotation: (3, 3) head to camera; the camera looks along z, the head's y is up.
      side: +1 where rows 1 to 39 are for a head turned to its own left.
    """
    # The head's +z axis in a frame with x to the picture's right and z towards the camera.
    yaw = side * jnp.degrees(jnp.arctan2(rotation[0, 2], -rotation[2, 2]))
    yaw = jnp.clip(jnp.round(yaw), -_LARGEST_YAW, _LARGEST_YAW).astype(jnp.int32)
    return jnp.where(yaw < 0, _LARGEST_YAW - yaw, yaw)


def skull_joint(head: HeadModel) -> int:
    """Returns the joint that carries most of the landmarks: the skull's; 0 without joints."""
    if head.skeleton is None or not len(head.landmark_faces):
        return 0
    corners = np.asarray(head.faces)[np.asarray(head.landmark_faces)]
    return int(np.asarray(head.skeleton.weights)[corners].sum((0, 1)).argmax())


def _numbers(head: HeadModel) -> np.ndarray:
    """MediaPipe's numbers of a head's landmarks, told by how many there are."""
    count = len(np.asarray(head.landmark_faces))
    if count in (468, 478):
        return np.arange(count, dtype=np.int32)
    sixty_eight = np.array(MEDIAPIPE_68, np.int32)
    known = {68: sixty_eight, 51: sixty_eight[CONTOUR:]}
    if count in known:
        return known[count]
    if count - 2 in known:
        corners = np.asarray(head.faces)[np.asarray(head.landmark_faces)[-2:]]
        places = (
            np.asarray(head.template)[corners] * np.asarray(head.landmark_weights)[-2:, :, None]
        ).sum(1)
        irises = np.array(IRISES, np.int32)
        irises = irises if places[0, 0] < places[1, 0] else irises[::-1]
        return np.concatenate([known[count - 2], irises])
    raise InputError(
        f"head {head.name!r} has {count} landmarks, expected 468 or 478 (MediaPipe), 68 or 70 "
        "(iBUG), 51 or 53 (without jaw line), or their MediaPipe numbers as landmark_indices"
    )


def _irises(body: Body) -> list[tuple[int, int]]:
    """(MediaPipe's number, vertex) of the foremost vertex of each eyeball of a FLAME skeleton."""
    if body.parents != _FLAME_TREE:
        return []
    found = []
    for joint in (3, 4):
        ball = np.flatnonzero(np.asarray(body.weights)[:, joint] > 0.9)
        if len(ball):
            foremost = ball[np.asarray(body.template)[ball, 2].argmax()]
            found.append((IRISES[int(body.joints[joint][0] > 0)], int(foremost)))
    return found


def _with_contour(
    head: HeadModel,
    corners: np.ndarray,
    weights: np.ndarray,
    numbers: np.ndarray,
    dynamic: tuple[Array, Array],
) -> tuple[np.ndarray, np.ndarray, float]:
    """Corners, weights and side of marks whose first 17 have a row per degree of yaw."""
    index, barycentric = (np.asarray(part) for part in dynamic)
    rows = 2 * _LARGEST_YAW + 1
    if index.shape != (rows, CONTOUR) or barycentric.shape != (rows, CONTOUR, 3):
        raise InputError(
            f"head {head.name!r}: a contour by yaw of shape {index.shape}, expected {rows} x 17"
        )
    if not np.array_equal(numbers[:CONTOUR], MEDIAPIPE_68[:CONTOUR]):
        raise InputError(f"head {head.name!r}: a contour by yaw needs iBUG's 68 landmarks")
    all_corners, all_weights = np.tile(corners, (rows, 1, 1)), np.tile(weights, (rows, 1, 1))
    all_corners[:, :CONTOUR] = np.asarray(head.faces)[index]
    all_weights[:, :CONTOUR] = barycentric
    places = (np.asarray(head.template)[all_corners[:, :CONTOUR]]
              * all_weights[:, :CONTOUR, :, None]).sum(2)
    # The contour of the cheek that turns away comes nearer to the nose. Published programs disagree
    # on the sign of the yaw; the model's own points do not.
    left = (CONTOUR // 2) + 1
    one, other = (np.abs(places[row, left:, 0]).mean() for row in (_LARGEST_YAW, rows - 1))
    return all_corners, all_weights, 1.0 if one <= other else -1.0
