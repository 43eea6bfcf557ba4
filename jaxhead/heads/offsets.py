"""Displacements on top of a head model, in each vertex's own frame, as Neural Head Avatars has them
(Grassal et al. 2022, section 3.1).
"""

import jax
import jax.numpy as jnp

from jaxhead.geometry.meshes import vertex_normals
from jaxhead.geometry.safe import safe_normalize
from jaxhead.heads.model import (
    Array,
    HeadModel,
    head_joints,
    pose_corrected,
    posed_joints,
    shaped_vertices,
    skinned,
)

_HIGHEST = jax.lax.Precision.HIGHEST


def normal_frames(normals: Array) -> jax.Array:
    """Returns rotations (..., V, 3, 3) whose rows are e_x, e_y and e_z at each vertex.

    e_z is the normal, e_x = unit(y x e_z) lies level, e_y = e_z x e_x. Where a normal points
    straight up or down e_x is zero, and so is its gradient.

    Args:
      normals: (..., V, 3) unit vectors.
    """
    up = jnp.array([0.0, 1.0, 0.0], dtype=jnp.asarray(normals).dtype)
    e_x = safe_normalize(jnp.cross(up, normals))
    return jnp.stack([e_x, jnp.cross(normals, e_x), normals], axis=-2)


def offset_head_vertices(
    model: HeadModel,
    identity: Array | None,
    expression: Array | None,
    joint_rotations: Array,
    offsets: Array,
    translation: Array | None = None,
    *,
    centred: bool = False,
) -> jax.Array:
    """Returns the vertices (..., V, 3) of a head whose surface is displaced before it is skinned.

    Offsets follow the normals of the shaped and corrected mesh, through which no gradient flows;
    the joints do not see them.

    Args:
      model: a head model with a skeleton.
      identity: (..., I') coefficients, or None for zeros.
      expression: (..., E') coefficients, or None for zeros.
      joint_rotations: (..., J, 3, 3) rotations relative to the parent.
      offsets: (..., V, 3) metres along e_x, e_y and e_z of each vertex (`normal_frames`).
      translation: (..., 3) metres, added last; None for none.
      centred: subtract the posed root joint, so that `translation` is where that is.

    Raises:
      ValueError: the model has no skeleton, or fewer components than coefficients.
    """
    if model.skeleton is None:
        raise ValueError(f"head model {model.name!r} has no skeleton")
    shaped = shaped_vertices(model, identity, expression)
    corrected = pose_corrected(model.skeleton, shaped, joint_rotations)
    frames = normal_frames(jax.lax.stop_gradient(vertex_normals(corrected, model.faces)))
    moved = jnp.einsum("...vba,...vb->...va", frames, offsets, precision=_HIGHEST)
    vertices = skinned(model.skeleton, shaped, corrected + moved, joint_rotations)
    if centred:
        joints = head_joints(model, shaped)
        _, positions = posed_joints(model.skeleton, joints, joint_rotations)
        vertices = vertices - positions[..., :1, :]
    if translation is not None:
        vertices = vertices + translation[..., None, :]
    return vertices
