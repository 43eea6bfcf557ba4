"""FLAME (Li et al. 2017): a head with 300 shape and 100 expression components and five joints.

Joints, in this order everywhere: global, neck, jaw, left eye, right eye. Left is the subject's.
Axes are the head's (y up, +z out of the face), lengths metres. `flame_files.read_flame` reads one.
"""

from collections.abc import Mapping

import chex
import flax.struct
import jax
import jax.numpy as jnp

from jaxhead.geometry.transforms import axis_angle_to_matrix, matmul
from jaxhead.heads.model import Array, HeadModel, embedded_points, head_vertices

JOINTS = ("global", "neck", "jaw", "left eye", "right eye")
PARENTS = (-1, 0, 1, 1, 1)
SHAPE_COMPONENTS = 300
CONTOUR_ROWS = 79
CONTOUR_POINTS = 17
_LARGEST_YAW = 39
_HIGHEST = jax.lax.Precision.HIGHEST


@flax.struct.dataclass
class Embedding:
    """Points that lie on faces of a mesh.

    Attributes:
      faces: (..., L) int32 face of each point.
      weights: (..., L, 3) barycentric weights on that face.
    """

    faces: Array
    weights: Array


@flax.struct.dataclass
class Flame:
    """FLAME with what belongs to it; a file that is not there leaves its part None or empty.

    Attributes:
      model: shape as identity, expression, skeleton; its landmarks are the full 68 or 70 (17 of the
        contour as seen from the front, 51 inside, two irises), or none.
      inner: the 51 or 53 landmarks that are fixed on the skin.
      contour: (79, 17) the contour by yaw, see `contour_row`.
      mediapipe: (105,) points that MediaPipe's face mesh has as well.
      mediapipe_indices: (105,) int32 their numbers there.
      eyelids: (2, V, 3) metres that close the left and the right eye, added after skinning.
      masks: vertex numbers of named parts, as FLAME_masks.pkl has them.
    """

    model: HeadModel
    inner: Embedding | None = None
    contour: Embedding | None = None
    mediapipe: Embedding | None = None
    mediapipe_indices: Array | None = None
    eyelids: Array | None = None
    masks: Mapping[str, Array] = flax.struct.field(default_factory=dict)


def flame_rotations(pose: Array) -> jax.Array:
    """Returns the joint rotations (..., 5, 3, 3) of a pose (..., 15), radians.

    The pose is axis times angle of global, neck, jaw, left eye, right eye. The published code takes
    |v + 1e-8| as the angle; this is its limit, whose gradient exists at zero as well.
    """
    pose = jnp.asarray(pose)
    chex.assert_axis_dimension(pose, -1, 3 * len(JOINTS))
    return axis_angle_to_matrix(pose.reshape(*pose.shape[:-1], len(JOINTS), 3))


def flame_vertices(
    flame: Flame,
    identity: Array | None,
    expression: Array | None,
    pose: Array | None = None,
    eyelids: Array | None = None,
    translation: Array | None = None,
) -> Array:
    """Returns the vertices (..., V, 3) in metres; batch axes of the arguments broadcast.

    Args:
      flame: the head.
      identity: (..., S) shape coefficients, S <= 300, or None for zeros.
      expression: (..., E) expression coefficients, E <= 100, or None for zeros.
      pose: (..., 15) radians, see `flame_rotations`, or None for the rest pose.
      eyelids: (..., 2) how far the left and the right eye are closed, 0 to 1, or None.
      translation: (..., 3) metres, added last, or None.

    Raises:
      ValueError: eyelids are given and the head has none, or too many coefficients.
    """
    rotations = None if pose is None else flame_rotations(pose)
    vertices = head_vertices(flame.model, identity, expression, rotations)
    if eyelids is not None:
        if flame.eyelids is None:
            raise ValueError("eyelids given, but the head has no l_eyelid.npy and r_eyelid.npy")
        closed = jnp.einsum("...k,kvi->...vi", eyelids, flame.eyelids, precision=_HIGHEST)
        vertices = vertices + closed
    return vertices if translation is None else vertices + translation[..., None, :]


def contour_row(rotation: Array, *, sign: int = 1) -> jax.Array:
    """Returns the row (...) int32 of the contour embedding for a head's rotation (..., 3, 3).

    Rows 0 to 39 are degrees of yaw, 40 to 78 are -1 to -39. Not differentiable.

    Args:
      rotation: that of the head: the global one times the neck's; before them the camera's, where
        the program that fits asks for it.
      sign: +1 takes the yaw as it is (DECA's FLAME class, Neural Head Avatars), -1 negates it
        (DECA's lbs helper, metrical-tracker).
    """
    rotation = jnp.asarray(rotation)
    level = jnp.sqrt(rotation[..., 0, 0] ** 2 + rotation[..., 1, 0] ** 2)
    yaw = sign * jnp.degrees(jnp.arctan2(-rotation[..., 2, 0], level))
    degrees = jnp.round(jnp.clip(yaw, -_LARGEST_YAW, _LARGEST_YAW)).astype(jnp.int32)
    return jnp.where(degrees < 0, _LARGEST_YAW - degrees, degrees)


def head_rotation(rotations: Array) -> jax.Array:
    """Returns the head's rotation (..., 3, 3): global times neck, of (..., 5, 3, 3)."""
    return matmul(rotations[..., 0, :, :], rotations[..., 1, :, :])


def contour_landmarks(
    flame: Flame, vertices: Array, rotation: Array, *, sign: int = 1
) -> jax.Array:
    """Returns the (..., 68 or 70, 3) landmarks whose contour is the one seen from the front.

    The first 17 are points of the contour row, which slide over the mesh as the head turns; the
    others are fixed. Differentiable in the vertices, not in the rotation.

    Args:
      flame: a head with both embeddings.
      vertices: (..., V, 3) posed vertices.
      rotation: (..., 3, 3) that of the head, see `contour_row`.
      sign: see `contour_row`.

    Raises:
      ValueError: the head has no landmark embedding.
    """
    if flame.contour is None or flame.inner is None:
        raise ValueError("the head has no landmark_embedding.npy, which the contour comes from")
    row = contour_row(rotation, sign=sign)
    corners = jnp.asarray(flame.model.faces)[jnp.asarray(flame.contour.faces)[row]]
    flat = corners.reshape(*corners.shape[:-2], -1, 1)
    points = jnp.take_along_axis(vertices, flat, axis=-2).reshape(*corners.shape, 3)
    weights = jnp.asarray(flame.contour.weights)[row]
    contour = jnp.einsum("...lc,...lck->...lk", weights, points, precision=_HIGHEST)
    inner = embedded_points(vertices, flame.model.faces, flame.inner.faces, flame.inner.weights)
    return jnp.concatenate([contour, inner], axis=-2)


def with_landmarks(model: HeadModel, embedding: Embedding) -> HeadModel:
    """Returns the model with the points of an embedding (L,) as its landmarks."""
    return model.replace(  # pyright: ignore[reportAttributeAccessIssue]
        landmark_faces=embedding.faces, landmark_weights=embedding.weights
    )
