"""A head model as the tracker poses it: any of its vertices, in a head space with a still skull.

Letters: V vertices, I identity and E expression components, K lids, J joints (the root is one).
A model without joints is one whose only joint is the root. What is posed may be all vertices or
the few that carry landmarks: joints come with their own bases and need no vertices.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.geometry.transforms import axis_angle_to_matrix
from jaxhead.heads.model import Array, HeadModel, Skeleton, posed_joints

_HIGHEST = jax.lax.Precision.HIGHEST


@flax.struct.dataclass
class Body:
    """Vertices that are posed together.

    Attributes:
      template: (V, 3) metres; identity: (I, V, 3); expression: (E, V, 3) metres per coefficient.
      lids: (K, V, 3) metres per unit, added after skinning: lids belong to the skull.
      joints: (J, 3) of the template; joint_identity: (I, J, 3); joint_expression: (E, J, 3).
      weights: (V, J) skinning weights; pose_basis: (9 (J - 1), V, 3).
      parents: of the joints, -1 for the root.
      skull: the joint that carries the skull, which head space does not see moving.
    """

    template: Array
    identity: Array
    expression: Array
    lids: Array
    joints: Array
    joint_identity: Array
    joint_expression: Array
    weights: Array
    pose_basis: Array
    parents: tuple[int, ...] = flax.struct.field(pytree_node=False, default=(-1,))
    skull: int = flax.struct.field(pytree_node=False, default=0)

    @property
    def free_joints(self) -> tuple[int, ...]:
        """Joints with a rotation of their own: neither the root nor the skull's."""
        return tuple(j for j in range(1, len(self.parents)) if j != self.skull)


def body_of(head: HeadModel, lids: np.ndarray | None = None, *, skull: int = 0) -> Body:
    """Returns all vertices of a head model, ready to be posed.

    Args:
      head: the model, without a skeleton or with one.
      lids: (K, V, 3) metres, displacements after skinning, or None for none.
      skull: the joint that carries the skull; 0, the root, for a model without a neck.

    Raises:
      ValueError: the skeleton has no such joint.
    """
    template = np.asarray(head.template, np.float32)
    count = len(template)
    identity = np.asarray(head.identity_basis, np.float32)
    expression = np.asarray(head.expression_basis, np.float32)
    skeleton = head.skeleton or Skeleton(
        joint_regressor=np.zeros((1, count), np.float32),
        weights=np.ones((count, 1), np.float32),
        pose_basis=np.zeros((0, count, 3), np.float32),
        parents=(-1,),
    )
    if not 0 <= skull < len(skeleton.parents):
        raise ValueError(f"skull={skull}: the skeleton has {len(skeleton.parents)} joints")
    regressor = np.asarray(skeleton.joint_regressor, np.float32)
    return Body(
        template=template,
        identity=identity,
        expression=expression,
        lids=np.zeros((0, count, 3), np.float32) if lids is None else np.asarray(lids, np.float32),
        joints=regressor @ template,
        joint_identity=np.einsum("jv,ivk->ijk", regressor, identity, optimize=True),
        joint_expression=np.einsum("jv,evk->ejk", regressor, expression, optimize=True),
        weights=np.asarray(skeleton.weights, np.float32),
        pose_basis=np.asarray(skeleton.pose_basis, np.float32),
        parents=skeleton.parents,
        skull=skull,
    )


def part_of(body: Body, vertices: Array) -> Body:
    """Returns the body of the vertices (W,) int alone; joints stay where they are."""
    changed = {
        "template": body.template[vertices],
        "weights": body.weights[vertices],
        **{
            name: getattr(body, name)[:, vertices]
            for name in ("identity", "expression", "lids", "pose_basis")
        },
    }
    return body.replace(**changed)  # pyright: ignore[reportAttributeAccessIssue]


def baked(body: Body, identity: Array) -> Body:
    """Returns the body of one subject: `identity` (I,) in the template, no components left."""
    identity = np.asarray(identity, np.float32)

    def moved(base: Array, basis: Array) -> np.ndarray:
        return np.asarray(base) + np.einsum("i,ivk->vk", identity, np.asarray(basis), optimize=True)

    return body.replace(  # pyright: ignore[reportAttributeAccessIssue]
        template=moved(body.template, body.identity),
        joints=moved(body.joints, body.joint_identity),
        identity=np.zeros((0, *np.shape(body.template)), np.float32),
        joint_identity=np.zeros((0, *np.shape(body.joints)), np.float32),
    )


def posed(
    body: Body, identity: Array, expression: Array, lids: Array, turns: Array, neck: Array
) -> jax.Array:
    """Returns the (V, 3) vertices in a head space that moves with the skull, in metres.

    Linear blend skinning as `heads.model.head_vertices`, then the skull's own motion is taken away:
    x -> R^T (x - c) + c_rest with the skull's joint at c, turned by R.

    Args:
      body: the vertices.
      identity: (I,); expression: (E,); lids: (K,) coefficients.
      turns: (F, 3) axis times angle of the F free joints, relative to their parents.
      neck: (3,) axis times angle of the skull's joint; unused where that is the root.
    """
    return skinned(body, *shaped(body, identity, expression), lids, turns, neck)


def shaped(body: Body, identity: Array, expression: Array) -> tuple[jax.Array, jax.Array]:
    """Returns unposed vertices (V, 3) and rest joints (J, 3) of a shape, in metres."""
    vertices = body.template + _combined(identity, body.identity)
    joints = body.joints + _combined(identity, body.joint_identity)
    return (
        jnp.add(vertices, _combined(expression, body.expression)),
        jnp.add(joints, _combined(expression, body.joint_expression)),
    )


def skinned(
    body: Body, vertices: Array, joints: Array, lids: Array, turns: Array, neck: Array
) -> jax.Array:
    """Returns `posed` of unposed vertices and rest joints from `shaped`."""
    added = _combined(lids, body.lids)
    if len(body.parents) == 1:
        return jnp.add(vertices, added)
    vectors = jnp.zeros((len(body.parents), 3), turns.dtype)
    if body.free_joints:
        vectors = vectors.at[np.array(body.free_joints)].set(turns)
    if body.skull:
        vectors = vectors.at[body.skull].set(neck)
    rotations = axis_angle_to_matrix(vectors)
    corrective = (rotations[1:] - jnp.eye(3, dtype=rotations.dtype)).reshape(-1)
    vertices = vertices + _combined(corrective, body.pose_basis)
    world, places = posed_joints(_tree(body), joints, rotations)
    # Relative to the skull's joint, whose rest position stays where it is.
    own = world[body.skull]
    relative = jnp.einsum("ba,jbc->jac", own, world, precision=_HIGHEST)
    places = _turned_back(own, places - places[body.skull]) + joints[body.skull]
    offsets = places - jnp.einsum("jab,jb->ja", relative, joints, precision=_HIGHEST)
    blended = jnp.einsum("vj,jab->vab", body.weights, relative, precision=_HIGHEST)
    moved = jnp.einsum("vab,vb->va", blended, vertices, precision=_HIGHEST)
    return moved + jnp.matmul(body.weights, offsets, precision=_HIGHEST) + added


def _tree(body: Body) -> Skeleton:
    """The kinematic tree alone, for `posed_joints`."""
    return Skeleton(
        joint_regressor=np.zeros((0,)),
        weights=np.zeros((0,)),
        pose_basis=np.zeros((0,)),
        parents=body.parents,
    )


def _combined(coefficients: Array, basis: Array) -> jax.Array:
    return jnp.einsum("i,ivk->vk", coefficients, basis, precision=_HIGHEST)


def _turned_back(rotation: Array, vectors: Array) -> jax.Array:
    return jnp.matmul(vectors, rotation, precision=_HIGHEST)
