"""MediaPipe's face extended to a closed head that follows the tracked face.

The 468 tracked vertices cover the face only. Skull, ears' region, nape and neck continue its
border (`skull.py`), and a bag behind the lips replaces the triangles that cover the mouth, so that
what an open mouth shows has a surface that moves with the skull above and the jaw below. The eyes
stay covered by the face's own triangles. The surface is closed except for the bottom of the neck.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.geometry.meshes import boundary_loops
from jaxhead.heads.canonical_face import CanonicalFace, canonical_face
from jaxhead.heads.closing import mouth_bag, skull_patch
from jaxhead.heads.model import REGIONS, Array, HeadModel

__all__ = ["CanonicalFace", "Extension", "canonical_face", "closed_head", "extend_vertices"]

FACE_VERTICES = 468
# Landmark numbers of MediaPipe's face mesh; each loop starts at the subject's right corner.
# fmt: off
OUTER_LIPS = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)
INNER_LIPS = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)
BETWEEN_LIPS = (
    11, 12, 15, 16, 38, 41, 42, 62, 72, 73, 74, 76, 77, 85, 86, 89, 90, 96, 179, 180, 183, 184,
    268, 271, 272, 292, 302, 303, 304, 306, 307, 315, 316, 319, 320, 325, 403, 404, 407, 408,
)
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382)
CHIN = (152, 148, 377, 176, 400, 175, 171, 396, 199, 208, 428)
# fmt: on

_HIGHEST = jax.lax.Precision.HIGHEST


@flax.struct.dataclass
class Extension:
    """What makes a tracked face a closed head.

    Attributes:
      face: (468, 3) canonical face in metres.
      extra: (X, 3) canonical vertices that are not tracked, in metres.
      rigid_weights: (468,) weights of the fit to the upper face, which jaw and lips do not move.
      blend: (X, 468) share of each face vertex's non-rigid displacement that an extra vertex takes.
    """

    face: Array
    extra: Array
    rigid_weights: Array
    blend: Array


def closed_head(face: CanonicalFace) -> tuple[HeadModel, Extension]:
    """Returns the canonical closed head and what `extend_vertices` needs to make one per frame.

    The first 468 vertices are the face's in MediaPipe's order, and so are the 468 landmarks. The
    bases are empty: MediaPipe gives scores but no displacements, a capture fits those.

    Args:
      face: the canonical face of a landmark model file.
    """
    points = np.asarray(face.vertices, np.float64) * 100.0
    lips = np.isin(face.faces, INNER_LIPS).all(1)
    faces = face.faces[~lips]
    skull = skull_patch(points, boundary_loops(face.faces)[0], FACE_VERTICES)
    bag = mouth_bag(
        points, np.array(INNER_LIPS), np.array(CHIN), FACE_VERTICES + len(skull.vertices)
    )
    extra = np.concatenate([skull.vertices, bag.vertices]) / 100.0
    vertices = np.concatenate([face.vertices, extra]).astype(np.float32)
    all_faces = np.concatenate([faces, skull.faces, bag.faces]).astype(np.int32)
    regions = np.concatenate([_face_regions(), skull.regions, bag.regions]).astype(np.int32)
    landmark_faces, landmark_weights = _vertex_landmarks(all_faces, FACE_VERTICES)
    empty = np.zeros((0, len(vertices), 3), np.float32)
    model = HeadModel(
        template=vertices,
        faces=all_faces,
        identity_basis=empty,
        expression_basis=empty,
        uv=np.concatenate([face.uv, _around(extra)]).astype(np.float32),
        regions=regions,
        landmark_faces=landmark_faces,
        landmark_weights=landmark_weights,
        name="mediapipe",
    )
    extension = Extension(
        face=np.asarray(face.vertices, np.float32),
        extra=extra.astype(np.float32),
        rigid_weights=_rigid_weights(points),
        blend=np.concatenate([skull.blend, bag.blend]).astype(np.float32),
    )
    return model, extension


def extend_vertices(extension: Extension, face_vertices: Array) -> jax.Array:
    """Returns the closed head of tracked faces.

    Extra vertices follow the similarity (rotation, translation, one scale) that carries the
    canonical upper face to the tracked one, plus a share of what the face beside them does beyond
    it: under the chin the skin follows the jaw, the skull does not. Smooth in its input; a
    similarity of the input is the same similarity of the result.

    Args:
      extension: from `closed_head`.
      face_vertices: (..., 468, 3) tracked face vertices, any unit, rotation and position.

    Returns:
      (..., 468 + X, 3): the given vertices, then the extra ones.
    """
    face_vertices = jnp.asarray(face_vertices)
    weights = extension.rigid_weights / extension.rigid_weights.sum()
    origin = (weights[:, None] * extension.face).sum(0)
    centred = extension.face - origin
    target = jnp.einsum("v,...vk->...k", weights, face_vertices, precision=_HIGHEST)
    moved = face_vertices - target[..., None, :]
    covariance = jnp.einsum("v,...vi,vj->...ij", weights, moved, centred, precision=_HIGHEST)
    rotation = _nearest_rotation(covariance)
    variance = (weights[:, None] * centred**2).sum()
    scale = (rotation * covariance).sum((-1, -2)) / variance
    linear = scale[..., None, None] * rotation
    residual = moved - jnp.einsum("...ij,vj->...vi", linear, centred, precision=_HIGHEST)
    rigid = jnp.einsum("...ij,xj->...xi", linear, extension.extra - origin, precision=_HIGHEST)
    shared = jnp.einsum("xv,...vi->...xi", extension.blend, residual, precision=_HIGHEST)
    return jnp.concatenate([face_vertices, rigid + shared + target[..., None, :]], -2)


def _nearest_rotation(matrix: jax.Array) -> jax.Array:
    """Returns the orthogonal polar factor of (..., 3, 3) matrices with positive determinant.

    Newton's iteration X <- (X + X^-T) / 2 with Higham's scaling (Higham 1986, section 3): smooth
    wherever the factor is defined, unlike the derivative of a singular value decomposition.
    """

    def improve(current, _):
        first, second, third = (current[..., row, :] for row in range(3))
        cofactor = jnp.stack(
            [jnp.cross(second, third), jnp.cross(third, first), jnp.cross(first, second)], -2
        )
        determinant = (first * cofactor[..., 0, :]).sum(-1)[..., None, None]
        inverse = cofactor / determinant
        ratio = (inverse**2).sum((-1, -2)) / (current**2).sum((-1, -2))
        gamma = (ratio**0.25)[..., None, None]
        return 0.5 * (gamma * current + inverse / gamma), None

    norm = jnp.sqrt((matrix**2).sum((-1, -2), keepdims=True))
    return jax.lax.scan(improve, matrix / norm, None, length=12)[0]


def _rigid_weights(points: np.ndarray) -> np.ndarray:
    x, y = np.abs(points[:, 0]), points[:, 1]
    weights = (y > -0.5).astype(np.float32)
    # Brows carry the forehead's skin with them, eyelids blink, and smiles lift the cheeks.
    weights[(x < 6.5) & (y > 3.3) & (y < 7.4)] *= 0.15
    weights[(x > 1.0) & (x < 5.5) & (y < 3.3) & (y > 0.8)] *= 0.0
    weights[(x > 2.0) & (x < 6.0) & (y <= 0.8)] *= 0.1
    return weights


def _face_regions() -> np.ndarray:
    regions = np.full(FACE_VERTICES, REGIONS.index("face"))
    regions[list(OUTER_LIPS + INNER_LIPS)] = REGIONS.index("lips")
    regions[list(LEFT_EYE + RIGHT_EYE)] = REGIONS.index("eyes")
    regions[list(BETWEEN_LIPS)] = REGIONS.index("lips")
    return regions


def _vertex_landmarks(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the face and the barycentric weights that name each of the first `count` vertices."""
    order = np.full(count, -1, np.int32)
    corner = np.zeros(count, np.int32)
    for position in (2, 1, 0):
        inside = np.flatnonzero(faces[:, position] < count)
        order[faces[inside, position]] = inside
        corner[faces[inside, position]] = position
    return order, np.eye(3, dtype=np.float32)[corner]


def _around(vertices: np.ndarray) -> np.ndarray:
    """Returns cylindrical texture coordinates in [0, 1] for vertices outside the tracked face."""
    angle = np.arctan2(vertices[:, 0], vertices[:, 2] + 0.05)
    height = (0.15 - vertices[:, 1]) / 0.36
    return np.stack([0.5 + angle / (2 * np.pi), height.clip(0, 1)], 1)
