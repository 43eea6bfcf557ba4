"""FLAME's functions against its published code's numbers, and their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens
from scipy.spatial.transform import Rotation

from jaxhead.heads.flame import (
    Embedding,
    Flame,
    contour_landmarks,
    contour_row,
    flame_rotations,
    flame_vertices,
    head_rotation,
    with_landmarks,
)
from jaxhead.heads.flame_files import read_flame
from jaxhead.heads.model import (
    HeadModel,
    Skeleton,
    head_joints,
    head_landmarks,
    posed_joints,
    shaped_vertices,
)

KEYS = "f v_template shapedirs posedirs J_regressor kintree_table weights".split()


def flame_of(golden, folder) -> Flame:
    """FLAME read out of files with the golden's arrays."""
    np.savez(folder / "flame.npz", **{key: golden.inputs[key] for key in KEYS})
    embedding = {key: value for key, value in golden.inputs.items() if "lmk" in key}
    np.save(folder / "landmark_embedding.npy", np.array(embedding, object), allow_pickle=True)
    shapes, expressions = golden.config["n_shape"], golden.config["n_exp"]
    return read_flame(
        folder / "flame.npz", shape_components=shapes, expression_components=expressions
    )


@jax.jit
def everything(flame, shape, expression, pose):
    """All that a golden holds, compiled once."""
    rotations = flame_rotations(pose)
    turned = head_rotation(rotations)
    vertices = flame_vertices(flame, shape, expression, pose)
    rest = head_joints(flame.model, shaped_vertices(flame.model, shape, expression))
    return {
        "rotations": rotations,
        "vertices": vertices,
        "joints": posed_joints(flame.model.skeleton, rest, rotations)[1],
        "landmarks_full": head_landmarks(flame.model, vertices),
        "landmarks_dynamic": contour_landmarks(flame, vertices, turned),
        "row": contour_row(turned),
    }


def test_vertices_joints_and_landmarks_equal_the_published_ones(goldens, tmp_path):
    for golden in known_goldens(goldens, system="FLAME", module="FLAME"):
        flame, inputs = flame_of(golden, tmp_path), golden.inputs
        found = everything(flame, inputs["shape"], inputs["expression"], inputs["pose"])
        rows = np.asarray(found.pop("row"))
        for name, value in found.items():
            golden.compare(name, value)
        picked = inputs["dynamic_lmk_faces_idx"][rows]
        np.testing.assert_array_equal(picked, golden.outputs["dynamic_faces"])
        if "deca_vertices" not in golden.outputs:
            continue
        pose = np.array(inputs["pose"])
        pose[:, 3:6] = 0  # DECA's class keeps the neck still
        found = everything(flame, inputs["shape"], inputs["expression"], pose)
        golden.compare("deca_vertices", found["vertices"])
        golden.compare("deca_landmarks3d", found["landmarks_full"])
        golden.compare("deca_landmarks2d", found["landmarks_dynamic"])


def small_flame() -> Flame:
    rng = np.random.default_rng(0)
    weights = rng.uniform(size=(12, 5)).astype(np.float32)
    model = HeadModel(
        template=rng.normal(size=(12, 3)).astype(np.float32),
        faces=np.arange(12, dtype=np.int32).reshape(4, 3),
        identity_basis=rng.normal(size=(3, 12, 3)).astype(np.float32),
        expression_basis=rng.normal(size=(2, 12, 3)).astype(np.float32),
        uv=np.zeros((12, 2), np.float32),
        regions=np.zeros(12, np.int32),
        landmark_faces=np.zeros(0, np.int32),
        landmark_weights=np.zeros((0, 3), np.float32),
        skeleton=Skeleton(
            joint_regressor=np.eye(5, 12, dtype=np.float32),
            weights=weights / weights.sum(1, keepdims=True),
            pose_basis=0.1 * rng.normal(size=(36, 12, 3)).astype(np.float32),
            parents=(-1, 0, 1, 1, 1),
        ),
    )
    return Flame(
        model=model,
        inner=Embedding(np.array([1]), np.array([[1.0, 0, 0]])),
        contour=Embedding(
            np.arange(79 * 17).reshape(79, 17) % 4, np.full((79, 17, 3), 1 / 3, np.float32)
        ),
        eyelids=rng.normal(size=(2, 12, 3)).astype(np.float32),
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_rows_of_the_contour_are_degrees_of_yaw(sign):
    degrees = np.array([0.0, 0.4, 1.6, 38.4, 39.2, 80.0, -0.4, -1.6, -38.7, -39.4, -39.6, -80.0])
    expected = np.array([0, 0, 2, 38, 39, 39, 0, 41, 78, 78, 78, 78])
    angles = np.radians(sign * degrees)[:, None] * [0, 1, 0]
    turned = Rotation.from_rotvec(angles).as_matrix().astype(np.float32)
    rows = jax.jit(jax.vmap(lambda r: contour_row(r, sign=sign)))(turned)
    np.testing.assert_array_equal(rows, expected)


def test_eyelids_translation_and_batches():
    flame = small_flame()
    rng = np.random.default_rng(1)
    pose = 0.3 * rng.normal(size=(4, 15)).astype(np.float32)
    lids = np.float32([[0.5, 0.25]] * 4)
    shift, shape = np.float32([1, 2, 3]), np.float32([1, -1])

    @jax.jit
    def call(pose, lids, shift):
        vertices = flame_vertices(flame, shape, None, pose, lids, shift)
        rotation = head_rotation(flame_rotations(pose))
        return vertices, contour_landmarks(flame, vertices, rotation)

    vertices, landmarks = call(pose, lids, shift)
    open_eyes, _ = call(pose, 0 * lids, 0 * shift)
    closed = 0.5 * flame.eyelids[0] + 0.25 * flame.eyelids[1]
    np.testing.assert_allclose(vertices, open_eyes + closed + shift, atol=1e-5)
    assert vertices.shape == (4, 12, 3) and landmarks.shape == (4, 18, 3)
    single = jax.jit(jax.vmap(call, in_axes=(0, 0, None)))(pose, lids, shift)
    np.testing.assert_allclose(vertices, single[0], atol=1e-5)
    np.testing.assert_allclose(landmarks, single[1], atol=1e-5)


def test_gradients_are_finite_at_rest_and_agree_with_differences():
    flame = small_flame()

    @jax.jit
    def loss(values):
        vertices = flame_vertices(flame, None, jnp.ones(2), values[:15], values[15:])
        return (contour_landmarks(flame, vertices, jnp.eye(3)) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))
    assert np.isfinite(gradient(np.zeros(17, np.float32))).all()
    rng = np.random.default_rng(1)
    values, way = rng.normal(size=(2, 17)).astype(np.float32) * [[0.4], [1.0]]
    measured = (loss(values + 1e-2 * way) - loss(values - 1e-2 * way)) / 2e-2
    np.testing.assert_allclose(gradient(values) @ way, measured, rtol=5e-3)


def test_what_the_head_lacks_is_said():
    flame = small_flame().replace(eyelids=None, contour=None)
    with pytest.raises(ValueError, match="l_eyelid.npy"):
        flame_vertices(flame, None, None, None, jnp.zeros(2))
    with pytest.raises(ValueError, match="landmark_embedding.npy"):
        contour_landmarks(flame, flame.model.template, jnp.eye(3))
    chosen = with_landmarks(flame.model, flame.inner)
    np.testing.assert_array_equal(chosen.landmark_faces, [1])
