"""The Basel Face Model in the form of Deep3DFaceReconstruction (Deng et al. 2019), with GeneFace's
conventions.

One frame is 257 numbers: identity 80, expression 64, texture 80, angles 3, light 27, translation 3.
Lengths are the file's: decimetres, y up, +z out of the face; the camera stands at z = 10 and looks
along -z. Colours are RGB in [0, 1]. `bfm_files.read_bfm` reads one.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.geometry.safe import safe_normalize
from jaxhead.geometry.transforms import matmul
from jaxhead.heads.model import REGIONS, Array, HeadModel
from jaxhead.heads.uv import around_uv

METRES_PER_UNIT = 0.1
CAMERA_DISTANCE = 10.0
FOCAL = 1015.0
CENTRE = 112.0
LANDMARKS = 68
_SIZES = (80, 64, 80, 3, 27, 3)
_HIGHEST = jax.lax.Precision.HIGHEST


class Coefficients(NamedTuple):
    """The parts of (..., 257): their sizes are 80, 64, 80, 3, 27 and 3."""

    identity: Array
    expression: Array
    texture: Array
    angles: Array
    light: Array
    translation: Array


@flax.struct.dataclass
class Bfm:
    """The face model; N vertices, F faces.

    Attributes:
      mean_shape: (N, 3) decimetres, as in the file: not centred.
      identity_basis: (80, N, 3) decimetres per unit; expression_basis: (64, N, 3).
      mean_texture: (N, 3) in 0 to 255; texture_basis: (80, N, 3).
      faces: (F, 3) int32.
      vertex_faces: (N, 8) int32 faces around each vertex; F where there are fewer.
      keypoints: (68,) int32 vertices of iBUG's landmarks.
    """

    mean_shape: Array
    identity_basis: Array
    expression_basis: Array
    mean_texture: Array
    texture_basis: Array
    faces: Array
    vertex_faces: Array
    keypoints: Array


def split_coefficients(coefficients: Array) -> Coefficients:
    """Returns the parts of (..., 257)."""
    if coefficients.shape[-1] != sum(_SIZES):
        raise ValueError(f"coefficients {coefficients.shape}, expected (..., {sum(_SIZES)})")
    ends = np.cumsum(_SIZES)[:-1]
    return Coefficients(*jnp.split(jnp.asarray(coefficients), ends, axis=-1))


def _combine(coefficients: Array, basis: Array) -> jax.Array:
    return jnp.einsum(
        "...i,ivk->...vk", coefficients, basis[: coefficients.shape[-1]], precision=_HIGHEST
    )


def bfm_shape(bfm: Bfm, identity: Array, expression: Array) -> jax.Array:
    """Returns vertices (..., N, 3) in decimetres about the mean of the mean shape.

    Args:
      bfm: the model.
      identity: (..., 80), or fewer.
      expression: (..., 64), or fewer.
    """
    centred = bfm.mean_shape - bfm.mean_shape.mean(0)
    return jnp.add(centred, _combine(identity, bfm.identity_basis)) + _combine(
        expression, bfm.expression_basis
    )


def bfm_texture(bfm: Bfm, texture: Array) -> jax.Array:
    """Returns vertex albedo (..., N, 3), RGB, about [0, 1], for texture coefficients (..., 80)."""
    return jnp.add(bfm.mean_texture, _combine(texture, bfm.texture_basis)) / 255.0


def bfm_normals(bfm: Bfm, vertices: Array) -> jax.Array:
    """Returns unit normals (..., N, 3): the mean of the faces around, each counting alike."""
    a, b, c = (vertices[..., bfm.faces[:, k], :] for k in range(3))
    normals = safe_normalize(jnp.cross(a - b, b - c))
    none = jnp.zeros((*normals.shape[:-2], 1, 3), normals.dtype)
    around = jnp.concatenate([normals, none], axis=-2)[..., bfm.vertex_faces, :]
    return safe_normalize(around.sum(-2))


def bfm_rotation(angles: Array) -> jax.Array:
    """Returns R = Rz Ry Rx (..., 3, 3) of angles (..., 3) about x, y and z, in radians.

    It turns column vectors. The published code keeps the transpose, for rows.
    """
    (sx, sy, sz), (cx, cy, cz) = (
        (f(angles[..., 0]), f(angles[..., 1]), f(angles[..., 2])) for f in (jnp.sin, jnp.cos)
    )
    zero, one = jnp.zeros_like(sx), jnp.ones_like(sx)

    def matrix(*entries: jax.Array) -> jax.Array:
        return jnp.stack(entries, -1).reshape(*sx.shape, 3, 3)

    about_x = matrix(one, zero, zero, zero, cx, -sx, zero, sx, cx)
    about_y = matrix(cy, zero, sy, zero, one, zero, -sy, zero, cy)
    about_z = matrix(cz, -sz, zero, sz, cz, zero, zero, zero, one)
    return matmul(about_z, matmul(about_y, about_x))


def _turned(vectors: Array, rotation: Array) -> jax.Array:
    return jnp.einsum("...ij,...vj->...vi", rotation, vectors, precision=_HIGHEST)


def bfm_camera(vertices: Array, angles: Array, translation: Array) -> jax.Array:
    """Returns vertices (..., N, 3) in camera space: x right, y up, z the distance from the camera.

    Args:
      vertices: (..., N, 3) decimetres.
      angles: (..., 3) radians, see `bfm_rotation`.
      translation: (..., 3) decimetres.
    """
    moved = _turned(vertices, bfm_rotation(angles)) + translation[..., None, :]
    return moved * jnp.array([1.0, 1.0, -1.0]) + jnp.array([0.0, 0.0, CAMERA_DISTANCE])


def bfm_image(camera: Array) -> Array:
    """Returns (..., 2) pixels of a picture of 224 x 224, y upwards, for points in camera space."""
    return FOCAL * camera[..., :2] / camera[..., 2:] + CENTRE


def bfm_landmarks(bfm: Bfm, coefficients: Array) -> Array:
    """Returns iBUG's landmarks (..., 68, 2) in pixels of 224 x 224, y upwards, for (..., 257)."""
    parts = split_coefficients(coefficients)
    vertices = bfm_shape(bfm, parts.identity, parts.expression)
    camera = bfm_camera(vertices, parts.angles, parts.translation)
    return bfm_image(camera[..., bfm.keypoints, :])


def bfm_colours(albedo: Array, normals: Array, light: Array) -> jax.Array:
    """Returns lit colours (..., N, 3): albedo times light of 9 spherical harmonics per channel.

    Args:
      albedo: (..., N, 3), see `bfm_texture`.
      normals: (..., N, 3) unit, turned by the pose.
      light: (..., 27) R, G and B after each other; 0.8 is added to the constant ones.
    """
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    a0, a1, a2 = np.pi, 2 * np.pi / np.sqrt(3.0), 2 * np.pi / np.sqrt(8.0)
    c0, c1 = 1 / np.sqrt(4 * np.pi), np.sqrt(3.0) / np.sqrt(4 * np.pi)
    c2 = 3 * np.sqrt(5.0) / np.sqrt(12 * np.pi)
    bands = jnp.stack(
        [
            jnp.full_like(x, a0 * c0),
            -a1 * c1 * y,
            a1 * c1 * z,
            -a1 * c1 * x,
            a2 * c2 * x * y,
            -a2 * c2 * y * z,
            0.5 * a2 * c2 / np.sqrt(3.0) * (3 * z**2 - 1),
            -a2 * c2 * x * z,
            0.5 * a2 * c2 * (x**2 - y**2),
        ],
        axis=-1,
    )
    channels = light.reshape(*light.shape[:-1], 3, 9) + 0.8 * jnp.eye(1, 9)
    shade = jnp.einsum("...vb,...cb->...vc", bands, channels, precision=_HIGHEST)
    return jnp.multiply(albedo, shade)


def geneface_landmarks(bfm: Bfm, identity: Array, expression: Array) -> jax.Array:
    """Returns GeneFace's landmarks (..., 68, 3) in decimetres, about their own mean at rest.

    GeneFace takes the file's vertex numbers, which start from 1, as if they started from 0: its
    landmarks lie on the vertex behind the one meant. So do these.
    """
    index = _geneface_index(bfm)
    mean = bfm.mean_shape[index]
    return mean - mean.mean(0) + _offsets(bfm, index, identity, expression)


def geneface_motion(bfm: Bfm, identity: Array, expression: Array) -> jax.Array:
    """Returns GeneFace's target of motion (..., 68, 3): 10 times the landmarks' offsets, which are
    those of identity and expression alone.
    """
    return 10.0 * _offsets(bfm, _geneface_index(bfm), identity, expression)


def _geneface_index(bfm: Bfm) -> Array:
    # The last vertex has none behind it; PyTorch would fail there.
    return jnp.minimum(bfm.keypoints + 1, len(bfm.mean_shape) - 1)


def _offsets(bfm: Bfm, index: Array, identity: Array, expression: Array) -> jax.Array:
    return _combine(identity, bfm.identity_basis[:, index]) + _combine(
        expression, bfm.expression_basis[:, index]
    )


def bfm_head(bfm: Bfm) -> HeadModel:
    """Returns the face as a head model in metres, centred, with iBUG's 68 landmarks (host)."""
    faces = np.asarray(bfm.faces)
    template = np.asarray(bfm.mean_shape) - np.asarray(bfm.mean_shape).mean(0)
    a, b, c = (template[faces[:, k]] for k in range(3))
    if np.cross(b - a, c - a)[:, 2].sum() < 0:  # the face looks along +z
        faces = faces[:, ::-1]
    order, corner = np.zeros(len(template), np.int32), np.zeros(len(template), np.int32)
    for column in (2, 1, 0):
        order[faces[:, column]] = np.arange(len(faces))
        corner[faces[:, column]] = column
    keypoints = np.asarray(bfm.keypoints)
    if not np.isin(keypoints, faces).all():
        raise InputError("'keypoints' has vertices that no face of 'tri' has")
    return HeadModel(
        template=(METRES_PER_UNIT * template).astype(np.float32),
        faces=np.ascontiguousarray(faces, np.int32),
        identity_basis=METRES_PER_UNIT * np.asarray(bfm.identity_basis),
        expression_basis=METRES_PER_UNIT * np.asarray(bfm.expression_basis),
        uv=around_uv(template),
        regions=np.full(len(template), REGIONS.index("face"), np.int32),
        landmark_faces=order[keypoints],
        landmark_weights=np.eye(3, dtype=np.float32)[corner[keypoints]],
        name="bfm",
        expression_names=tuple(f"bfm_expression_{k:02d}" for k in range(len(bfm.expression_basis))),
    )
