"""A head model: identity, expression and joint rotations become a mesh with landmarks.

One structure carries every statistical head: our own procedural one, the MediaPipe face extended to
a closed head, FLAME, or any other linear model with or without linear blend skinning. Shapes: V
vertices, F faces, I identity and E expression components, J joints, L landmarks. Lengths are in
metres, axes are the head's: y up, +z out of the face, x to the subject's left.
"""

from collections.abc import Mapping, Sequence

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxhead.files.errors import InputError
from jaxhead.heads.arrays import ARRAYS, model_arrays, skeleton_arrays

Array = jax.Array | np.ndarray

REGIONS = ("face", "lips", "eyes", "ears", "scalp", "neck", "mouth", "teeth", "hair", "torso")
"""Region names; `HeadModel.regions` holds indices into the model's `region_names`."""

_HIGHEST = jax.lax.Precision.HIGHEST


@flax.struct.dataclass
class Skeleton:
    """Joints of linear blend skinning.

    Attributes:
      joint_regressor: (J, V) joint positions as combinations of the unposed vertices.
      weights: (V, J) skinning weights, each row sums to one.
      pose_basis: (9 (J - 1), V, 3) displacement per entry of `R_j - I`, row-major, joints from 1.
      parents: length J, the parent of each joint, -1 for the root; parents before children.
    """

    joint_regressor: Array
    weights: Array
    pose_basis: Array
    parents: tuple[int, ...] = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class HeadModel:
    """A linear head model with fixed topology.

    Attributes:
      template: (V, 3) neutral mesh in metres: this is the canonical space of a field.
      faces: (F, 3) int32 vertex indices, counter-clockwise seen from outside.
      identity_basis: (I, V, 3) displacement in metres per unit identity coefficient.
      expression_basis: (E, V, 3) displacement in metres per unit expression coefficient.
      uv: (V, 2) texture coordinates in [0, 1].
      regions: (V,) int32 index into `region_names`.
      landmark_faces: (L,) int32 face that carries each landmark.
      landmark_weights: (L, 3) barycentric weights on that face.
      skeleton: joints, or None for a model without them.
      name: what the model is called.
      expression_names: E names, ARKit's where the meaning agrees.
      region_names: names of the regions.
    """

    template: Array
    faces: Array
    identity_basis: Array
    expression_basis: Array
    uv: Array
    regions: Array
    landmark_faces: Array
    landmark_weights: Array
    skeleton: Skeleton | None = None
    name: str = flax.struct.field(pytree_node=False, default="head")
    expression_names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    region_names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=REGIONS)


def head_vertices(
    model: HeadModel,
    identity: Array | None,
    expression: Array | None,
    joint_rotations: Array | None = None,
    translation: Array | None = None,
) -> Array:
    """Returns the vertices of a head in head space.

    With a skeleton this is SMPL's linear blend skinning (Loper et al. 2015, equations 2 to 10) as
    FLAME uses it (Li et al. 2017): shape = template + identity + expression, joints from the shape,
    pose correctives, skinning.

    Args:
      model: the head model.
      identity: (..., I') coefficients of the first I' <= I components, or None for zeros.
      expression: (..., E') coefficients of the first E' <= E components, or None for zeros.
      joint_rotations: (..., J, 3, 3) rotations relative to the parent; None is the rest pose.
      translation: (..., 3) metres, added last; None for none.

    Returns:
      (..., V, 3) float32 vertices in metres; the batch axes of the arguments broadcast.

    Raises:
      ValueError: more coefficients than the basis holds, or rotations without a skeleton.
    """
    vertices = shaped_vertices(model, identity, expression)
    if joint_rotations is not None:
        if model.skeleton is None:
            raise ValueError(
                f"joint_rotations given, but head model {model.name!r} has no skeleton"
            )
        corrected = pose_corrected(model.skeleton, vertices, joint_rotations)
        vertices = skinned(model.skeleton, vertices, corrected, joint_rotations)
    if translation is not None:
        vertices = vertices + translation[..., None, :]
    return vertices


def shaped_vertices(model: HeadModel, identity: Array | None, expression: Array | None) -> Array:
    """Returns the unposed vertices (..., V, 3) of a head; see `head_vertices`."""
    vertices = model.template
    for coefficients, basis, what in (
        (identity, model.identity_basis, "identity"),
        (expression, model.expression_basis, "expression"),
    ):
        if coefficients is not None:
            vertices = vertices + _combine(coefficients, basis, what)
    return vertices


def head_joints(model: HeadModel, vertices: Array) -> jax.Array:
    """Returns the (..., J, 3) rest joints of unposed `vertices` (..., V, 3), in metres."""
    if model.skeleton is None:
        raise ValueError(f"head model {model.name!r} has no skeleton")
    return jnp.einsum(
        "jv,...vk->...jk", model.skeleton.joint_regressor, vertices, precision=_HIGHEST
    )


def posed_joints(
    skeleton: Skeleton, joints: Array, joint_rotations: Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the world rotations (..., J, 3, 3) and the positions (..., J, 3) of posed joints.

    Args:
      skeleton: the kinematic tree.
      joints: (..., J, 3) rest positions in metres.
      joint_rotations: (..., J, 3, 3) rotations relative to the parent.
    """
    rotations: list[Array] = []
    positions: list[Array] = []
    for joint, parent in enumerate(skeleton.parents):
        rotation, rest = joint_rotations[..., joint, :, :], joints[..., joint, :]
        if parent < 0:
            rotations.append(rotation)
            positions.append(rest)
            continue
        offset = rest - joints[..., parent, :]
        rotations.append(jnp.matmul(rotations[parent], rotation, precision=_HIGHEST))
        positions.append(positions[parent] + _rotate(rotations[parent], offset))
    # The root's position has no batch axes of the rotations yet.
    positions = list(jnp.broadcast_arrays(*positions))
    return jnp.stack(rotations, -3), jnp.stack(positions, -2)


def pose_corrected(skeleton: Skeleton, shaped: Array, joint_rotations: Array) -> jax.Array:
    """Returns unposed vertices (..., V, 3) with the correctives of a pose, not yet skinned.

    Args:
      skeleton: joints and correctives.
      shaped: (..., V, 3) template, identity and expression, in metres.
      joint_rotations: (..., J, 3, 3) rotations relative to the parent.
    """
    corrective = joint_rotations[..., 1:, :, :] - jnp.eye(3, dtype=joint_rotations.dtype)
    corrective = corrective.reshape(*corrective.shape[:-3], -1)
    moved = jnp.einsum("...p,pvk->...vk", corrective, skeleton.pose_basis, precision=_HIGHEST)
    return jnp.add(shaped, moved)


def skinned(
    skeleton: Skeleton, shaped: Array, corrected: Array, joint_rotations: Array
) -> jax.Array:
    """Returns vertices (..., V, 3) that follow their joints.

    Args:
      skeleton: joints and skinning weights.
      shaped: (..., V, 3) unposed vertices that the joints are taken from, in metres.
      corrected: (..., V, 3) unposed vertices that are moved: `pose_corrected`, or those with
        displacements that the joints do not see.
      joint_rotations: (..., J, 3, 3) rotations relative to the parent.
    """
    joints = jnp.einsum("jv,...vk->...jk", skeleton.joint_regressor, shaped, precision=_HIGHEST)
    rotations, positions = posed_joints(skeleton, joints, joint_rotations)
    # A joint maps its own rest position to its posed position: x -> R (x - rest) + position.
    offsets = positions - jnp.einsum("...jab,...jb->...ja", rotations, joints, precision=_HIGHEST)
    blended = jnp.einsum("vj,...jab->...vab", skeleton.weights, rotations, precision=_HIGHEST)
    moved = jnp.einsum("...vab,...vb->...va", blended, corrected, precision=_HIGHEST)
    return moved + jnp.einsum("vj,...ja->...va", skeleton.weights, offsets, precision=_HIGHEST)


def head_landmarks(model: HeadModel, vertices: Array) -> jax.Array:
    """Returns the (..., L, 3) landmarks on `vertices` (..., V, 3), in the vertices' space."""
    chex.assert_axis_dimension(vertices, -1, 3)
    return embedded_points(vertices, model.faces, model.landmark_faces, model.landmark_weights)


def embedded_points(vertices: Array, faces: Array, index: Array, weights: Array) -> jax.Array:
    """Returns points fixed on a mesh by face and barycentric weights.

    Args:
      vertices: (..., V, 3).
      faces: (F, 3) int32.
      index: (L,) int32 face per point.
      weights: (L, 3) barycentric weights.

    Returns:
      (..., L, 3) points.
    """
    corners = vertices[..., faces[index], :]
    return jnp.einsum("lc,...lck->...lk", weights, corners, precision=_HIGHEST)


def region_index(model: HeadModel, name: str) -> int:
    """Returns the label of region `name` in `model.regions`."""
    if name not in model.region_names:
        raise ValueError(f"region {name!r} is not one of {', '.join(model.region_names)}")
    return model.region_names.index(name)


def head_to_arrays(model: HeadModel) -> dict[str, np.ndarray]:
    """Returns the model as named NumPy arrays without objects, ready for an npz file."""
    arrays = {key: np.asarray(getattr(model, key)) for key in ARRAYS}
    arrays["name"] = np.array(model.name)
    arrays["expression_names"] = np.array(model.expression_names, dtype=np.str_)
    arrays["region_names"] = np.array(model.region_names, dtype=np.str_)
    if model.skeleton is not None:
        for key in ("joint_regressor", "weights", "pose_basis"):
            arrays[f"skeleton_{key}"] = np.asarray(getattr(model.skeleton, key))
        arrays["skeleton_parents"] = np.array(model.skeleton.parents, np.int32)
    return arrays


def head_from_arrays(arrays: Mapping[str, np.ndarray], *, source: str = "head model") -> HeadModel:
    """Returns the model that `head_to_arrays` wrote, with host arrays.

    Args:
      arrays: what `head_to_arrays` returned.
      source: what an error names, usually the file.

    Raises:
      InputError: an array is missing, of another kind or not finite, or sizes or indices
        contradict each other.
    """
    fields = model_arrays(arrays, source)
    joints = skeleton_arrays(arrays, len(fields["template"]), source)
    if "name" not in arrays:
        raise InputError(f"{source}: array 'name' is missing from the head model")
    return HeadModel(
        **fields,
        skeleton=None if joints is None else Skeleton(**joints),
        name=str(arrays["name"]),
        expression_names=_names(arrays.get("expression_names", ())),
        region_names=_names(arrays.get("region_names", REGIONS)),
    )


def no_head() -> HeadModel:
    """Returns a head model without vertices, for subjects of whom there is no mesh."""
    return HeadModel(
        template=np.zeros((0, 3), np.float32),
        faces=np.zeros((0, 3), np.int32),
        identity_basis=np.zeros((0, 0, 3), np.float32),
        expression_basis=np.zeros((0, 0, 3), np.float32),
        uv=np.zeros((0, 2), np.float32),
        regions=np.zeros(0, np.int32),
        landmark_faces=np.zeros(0, np.int32),
        landmark_weights=np.zeros((0, 3), np.float32),
        name="none",
    )


def _names(value: ArrayLike | Sequence[str]) -> tuple[str, ...]:
    return tuple(str(name) for name in np.asarray(value).reshape(-1))


def _combine(coefficients: Array, basis: Array, what: str) -> jax.Array:
    count = coefficients.shape[-1]
    if count > basis.shape[0]:
        raise ValueError(f"{what} has {count} coefficients, the model has {basis.shape[0]}")
    return jnp.einsum("...i,ivk->...vk", coefficients, basis[:count], precision=_HIGHEST)


def _rotate(rotation: Array, vector: Array) -> jax.Array:
    return jnp.einsum("...ij,...j->...i", rotation, vector, precision=_HIGHEST)
