"""The head model against FLAME's own numbers, and its laws."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.files.errors import InputError
from jaxhead.heads.model import (
    HeadModel,
    Skeleton,
    head_from_arrays,
    head_joints,
    head_landmarks,
    head_to_arrays,
    head_vertices,
    posed_joints,
    region_index,
)


def _flame_goldens(folder):
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            if "manifest" not in file.files:
                continue
            manifest = json.loads(str(file["manifest"]))
            if manifest["system"] == "FLAME" and manifest["module"].startswith("FLAME"):
                yield path, manifest, {key: file[key] for key in file.files if key != "manifest"}


def _flame(manifest, arrays):
    config = manifest["config"]
    shapedirs = np.moveaxis(arrays["in/shapedirs"], -1, 0)
    count = len(arrays["in/v_template"])
    parents = arrays["in/kintree_table"][0].astype(np.int64)
    parents[0] = -1
    skeleton = Skeleton(
        joint_regressor=arrays["in/J_regressor"],
        weights=arrays["in/weights"],
        pose_basis=np.moveaxis(arrays["in/posedirs"], -1, 0),
        parents=tuple(int(parent) for parent in parents),
    )
    return HeadModel(
        template=arrays["in/v_template"],
        faces=arrays["in/f"].astype(np.int32),
        identity_basis=shapedirs[: config["n_shape"]],
        expression_basis=shapedirs[300 : 300 + config["n_exp"]],
        uv=np.zeros((count, 2), np.float32),
        regions=np.zeros(count, np.int32),
        landmark_faces=arrays["in/full_lmk_faces_idx"][0].astype(np.int32),
        landmark_weights=arrays["in/full_lmk_bary_coords"][0],
        skeleton=skeleton,
        name="flame",
    )


def _rotations(pose):
    flat = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix()
    return flat.reshape(*pose.shape[:-1], -1, 3, 3).astype(np.float32)


def _close(got, expected):
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


def test_flame_skinning_matches_the_goldens(goldens):
    compared = 0
    for path, manifest, arrays in _flame_goldens(goldens):
        model = _flame(manifest, arrays)
        rotations = _rotations(arrays["in/pose"])
        identity, expression = arrays["in/shape"], arrays["in/expression"]
        vertices = jax.jit(head_vertices)(model, identity, expression, rotations)
        _close(vertices, arrays["out/vertices"])
        _close(head_landmarks(model, vertices), arrays["out/landmarks_full"])
        rest = head_joints(model, head_vertices(model, identity, expression))
        _, joints = posed_joints(model.skeleton, rest, rotations)
        _close(joints, arrays["out/joints"])
        print(f"{path.name}: vertices, landmarks and joints compared")
        compared += 1
    print(f"{compared} FLAME goldens compared")
    if not compared:
        pytest.skip("no FLAME golden in the folder")


def _small_model():
    random = np.random.default_rng(0)
    weights = random.uniform(size=(12, 3)).astype(np.float32)
    skeleton = Skeleton(
        joint_regressor=np.eye(3, 12, dtype=np.float32),
        weights=weights / weights.sum(1, keepdims=True),
        pose_basis=0.01 * random.standard_normal((18, 12, 3)).astype(np.float32),
        parents=(-1, 0, 1),
    )
    return HeadModel(
        template=random.standard_normal((12, 3)).astype(np.float32),
        faces=np.arange(12, dtype=np.int32).reshape(4, 3),
        identity_basis=random.standard_normal((2, 12, 3)).astype(np.float32),
        expression_basis=random.standard_normal((5, 12, 3)).astype(np.float32),
        uv=np.zeros((12, 2), np.float32),
        regions=np.zeros(12, np.int32),
        landmark_faces=np.array([1, 3], np.int32),
        landmark_weights=np.array([[1, 0, 0], [0.5, 0.25, 0.25]], np.float32),
        skeleton=skeleton,
        expression_names=("a", "b", "c", "d", "e"),
    )


def test_rest_pose_and_zero_coefficients_give_the_template():
    model = _small_model()
    rest = np.broadcast_to(np.eye(3, dtype=np.float32), (3, 3, 3))
    vertices = head_vertices(model, None, jnp.zeros(5), rest)
    np.testing.assert_allclose(vertices, model.template, atol=1e-6)


def test_rotation_of_the_root_turns_the_whole_head_about_its_joint():
    model = _small_model()
    turn = _rotations(np.array([0.1, -0.4, 0.3]))[0]
    rotations = np.stack([turn, np.eye(3), np.eye(3)]).astype(np.float32)
    got = head_vertices(model, None, None, rotations)
    root = model.template[0]
    np.testing.assert_allclose(got, (model.template - root) @ turn.T + root, atol=1e-5)


def test_batches_fewer_coefficients_and_translation_agree():
    model = _small_model()
    expression = jax.random.normal(jax.random.key(0), (4, 3))
    shift = jnp.array([1.0, 2.0, 3.0])
    batch = head_vertices(model, None, expression, translation=shift)
    each = jax.vmap(lambda e: head_vertices(model, None, jnp.pad(e, (0, 2))) + shift)(expression)
    np.testing.assert_allclose(batch, each, atol=1e-5)
    landmarks = head_landmarks(model, batch)
    np.testing.assert_allclose(landmarks[:, 0], batch[:, 3], atol=1e-6)


def test_gradients_are_finite_at_the_rest_pose():
    model = _small_model()
    rest = jnp.broadcast_to(jnp.eye(3), (3, 3, 3))
    loss = lambda e, r: (head_vertices(model, jnp.zeros(2), e, r) ** 2).sum()  # noqa: E731
    for gradient in jax.grad(loss, argnums=(0, 1))(jnp.zeros(5), rest):
        assert np.isfinite(gradient).all()


def test_arrays_round_trip_and_damage_is_refused():
    model = _small_model()
    arrays = head_to_arrays(model)
    assert all(array.dtype != object for array in arrays.values())
    again = head_from_arrays(arrays)
    chex_equal = jax.tree.map(np.array_equal, model, again)
    assert all(jax.tree.leaves(chex_equal)) and again.expression_names == model.expression_names
    with pytest.raises(InputError, match="uv"):
        head_from_arrays({**arrays, "uv": arrays["uv"][:-1]}, source="head.npz")
    with pytest.raises(InputError, match="faces"):
        head_from_arrays({**arrays, "faces": arrays["faces"] + 5}, source="head.npz")
    with pytest.raises(InputError, match="template"):
        head_from_arrays({k: v for k, v in arrays.items() if k != "template"})


def test_wrong_arguments_are_named():
    model = _small_model()
    with pytest.raises(ValueError, match="expression has 6"):
        head_vertices(model, None, jnp.zeros(6))
    with pytest.raises(ValueError, match="skeleton"):
        head_vertices(model.replace(skeleton=None), None, None, jnp.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match="nose"):
        region_index(model, "nose")
