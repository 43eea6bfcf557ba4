"""Offsets along normals and edge subdivision, against Neural Head Avatars' numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens

from jaxhead.geometry.meshes import vertex_normals
from jaxhead.geometry.transforms import axis_angle_to_matrix
from jaxhead.heads.model import HeadModel, Skeleton, head_joints, posed_joints, shaped_vertices
from jaxhead.heads.offsets import normal_frames, offset_head_vertices


def model_of(inputs, parents) -> HeadModel:
    count = len(inputs["v_template"])
    return HeadModel(
        template=inputs["v_template"],
        faces=inputs["faces"].astype(np.int32),
        identity_basis=np.moveaxis(inputs["shapedirs"], -1, 0),
        expression_basis=np.zeros((0, count, 3), np.float32),
        uv=np.zeros((count, 2), np.float32),
        regions=np.zeros(count, np.int32),
        landmark_faces=np.zeros(0, np.int32),
        landmark_weights=np.zeros((0, 3), np.float32),
        skeleton=Skeleton(
            joint_regressor=inputs["J_regressor"],
            weights=inputs["weights"],
            pose_basis=inputs["posedirs"].reshape(-1, count, 3),
            parents=tuple(parents),
        ),
    )


def rotations(pose):
    return axis_angle_to_matrix(pose.reshape(len(pose), -1, 3))


@jax.jit
def everything(model, betas, pose, offsets, translation):
    """All that a golden holds, compiled once."""
    normals = vertex_normals(model.template, model.faces)
    turned = rotations(pose)
    plain = offset_head_vertices(model, betas, None, turned, offsets)
    moved = offset_head_vertices(model, betas, None, turned, offsets, translation, centred=True)
    joints = head_joints(model, shaped_vertices(model, betas, None))
    return {
        "template_normals": normals[None],
        "basis": normal_frames(normals),
        "vertices": plain,
        "centred_translated": moved,
        "joints": posed_joints(model.skeleton, joints, turned)[1],
    }


def test_offset_vertices_equal_the_published_ones(goldens):
    for golden in known_goldens(goldens, system="neural-head", module="per-vertex offsets"):
        names = ("betas", "pose", "offsets", "translation")
        model = model_of(golden.inputs, golden.config["parents"])
        found = everything(model, *(golden.inputs[name] for name in names))
        for name, value in found.items():
            golden.compare(name, value)


def test_offsets_are_seen_by_their_own_vertex_and_no_normal(goldens):
    golden = known_goldens(goldens, system="neural-head", module="per-vertex offsets")[0]
    model = model_of(golden.inputs, golden.config["parents"])
    pose, betas = golden.inputs["pose"][:1], golden.inputs["betas"][0]

    @jax.jit
    def derivatives(offsets, betas):
        turned = rotations(pose)[0]
        call = lambda o, b: offset_head_vertices(model, b, None, turned, o)  # noqa: E731
        by_shape = jax.grad(lambda b: (call(offsets, b) ** 2).sum())(0 * betas)
        one = jax.jvp(lambda o: call(o, betas), (offsets,), (jnp.zeros_like(offsets).at[7].set(1),))
        return by_shape, one[1]

    by_shape, one = derivatives(golden.inputs["offsets"][0], betas)
    assert np.isfinite(by_shape).all()
    assert np.flatnonzero(np.abs(one).max(1)).tolist() == [7]


def test_frames_are_rotations_except_at_the_poles():
    normals = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[0] = [0, 1, 0]
    frames = np.asarray(jax.jit(jax.vmap(normal_frames))(normals))
    products = frames[1:] @ frames[1:].transpose(0, 2, 1)
    np.testing.assert_allclose(products, np.tile(np.eye(3), (49, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(frames[1:]), 1, atol=1e-5)
    np.testing.assert_array_equal(frames[0, :2], np.zeros((2, 3)))
    gradient = jax.jit(jax.grad(lambda n: normal_frames(n).sum()))(normals)
    assert np.isfinite(gradient).all()


def test_without_joints_there_is_nothing_to_offset(goldens):
    golden = known_goldens(goldens, system="neural-head", module="per-vertex offsets")[0]
    model = model_of(golden.inputs, golden.config["parents"]).replace(skeleton=None)
    with pytest.raises(ValueError, match="no skeleton"):
        offset_head_vertices(model, None, None, jnp.eye(3), jnp.zeros((42, 3)))
