"""Pixels correct what landmarks got wrong, and never much against the landmarks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captures.fitting.clips import CONFIG as FIT
from captures.fitting.clips import problem_of, truth
from captures.fitting.small_heads import small_body, small_head, small_marks
from scipy.spatial.transform import Rotation

from jaxhead.captures.fitting.appearance import shade
from jaxhead.captures.fitting.photometric import (
    PhotometricConfig,
    refine_frames,
)
from jaxhead.captures.fitting.posing import baked, posed
from jaxhead.captures.fitting.problem import frame_parts, frame_translation
from jaxhead.captures.fitting.skin import Window, skin_of
from jaxhead.captures.unwrap import Surface, surface_points
from jaxhead.geometry.rasterise import interpolate, rasterise

COUNT, SIZE = 8, 96
CONFIG = PhotometricConfig(size=SIZE, blurs=(1.5, 0.7), steps=4, marks=6.0, turns=0, local=0.02)
WINDOW = Window(jnp.float32(SIZE / 300), jnp.float32([SIZE / 2, SIZE / 2]))


@functools.cache
def clip():
    """True state, its pictures (COUNT, SIZE, SIZE, 3), and points on the skin."""
    state = truth(COUNT)
    body = baked(small_body(), state.shared[1:])
    faces = small_head().faces
    albedo = np.random.default_rng(4).uniform(0.1, 0.9, (len(body.template), 3))
    light = np.zeros((9, 3), np.float32)
    light[0], light[2], light[3] = 2.6, -0.9, 0.5

    @jax.jit
    def draw(rotation, frame):
        vertices = posed(body, jnp.zeros(0), *frame_parts(body, frame), jnp.zeros(3))
        vertices = vertices @ rotation.T + frame_translation(frame)
        pixels = jnp.exp(state.shared[0]) * vertices[:, :2] / vertices[:, 2:]
        pixels = WINDOW.scale * pixels + WINDOW.shift
        face, weights, _ = rasterise(pixels, vertices[:, 2], faces, (SIZE, SIZE), cull="back")
        corner = vertices[jnp.asarray(faces)[jnp.maximum(face, 0)]]
        normal = jnp.cross(corner[..., 1, :] - corner[..., 0, :],
                           corner[..., 2, :] - corner[..., 0, :])
        normal = normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)
        colour = interpolate(jnp.float32(albedo), faces, face, weights) * shade(light, normal)
        return jnp.where(face[..., None] >= 0, jnp.clip(colour, 0, 1), 0.4)

    pictures = [np.asarray(draw(r, f)) for r, f in zip(state.rotation, state.frames)]
    front = (np.asarray(body.template)[:, 2] > 0.01).astype(float)
    surface = surface_points(np.asarray(body.template), faces, front)
    surface = Surface(surface.corners[::8], surface.barycentric[::8], surface.weights[::8])
    return state, pictures, surface


@functools.cache
def skin_and_marks(local):
    """The head's skin, whose surroundings reach `local` metres, and marks."""
    return skin_of(small_body(), small_marks(), clip()[2], small_head().faces, local)


def perturbed(state, size, seed=5):
    """Rotations and numbers beside the truth, as noisy landmarks would leave them."""
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(0.03 * size * rng.normal(size=(COUNT, 3))).as_matrix()
    frames = state.frames.copy()
    frames[:, 3:5] += 0.002 * size * rng.normal(size=(COUNT, 2))
    frames[:, 6:11] += 0.3 * size * rng.normal(size=(COUNT, 5))
    return np.float32(turn @ state.rotation), frames


def beside(state, shape):
    """Shared numbers whose identity is off by `shape` deviations in all components."""
    return state.shared + shape * np.float32([0, 1, -1, 1, -1])


def refined(size, config=CONFIG, told=None, shape=0.0):
    state, pictures, _ = clip()
    skin, marks = skin_and_marks(config.local)
    priors = dataclasses.replace(FIT, independent_frames=config.independent_frames)
    problem = problem_of(state, scale=4.0, config=priors).replace(body=skin.body, marks=marks)
    rotation, frames = perturbed(state, size)
    found = refine_frames(
        lambda: iter(pictures), skin, WINDOW, problem, beside(state, shape), rotation, frames,
        np.arange(COUNT) < 6, config, progress=told,
    )  # fmt: skip
    return state, rotation, frames, found


def turns(rotation, state):
    relative = np.einsum("nij,nkj->nik", rotation, state.rotation)
    return np.degrees(np.arccos(((np.trace(relative, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))


@pytest.mark.long
def test_poses_and_faces_come_nearer_to_the_truth():
    told = []
    state, rotation, frames, found = refined(1.0, told=lambda *a: told.append(a))
    assert turns(found.rotation, state).mean() < 0.6 * turns(rotation, state).mean()
    before = np.abs(frames[:, 6:11] - state.frames[:, 6:11]).mean()
    assert np.abs(found.frames[:, 6:11] - state.frames[:, 6:11]).mean() < 0.7 * before
    assert (found.after <= found.before).all() and found.after.mean() < 0.8 * found.before.mean()
    assert np.isfinite(found.appearance.albedo).all()
    assert told and all(done <= of for done, of in told)


@pytest.mark.long
def test_no_frame_pays_more_than_its_allowance_in_landmarks():
    config = dataclasses.replace(CONFIG, blurs=(1.5,), allowance=0.0)
    *_, found = refined(0.3, config)
    assert (found.landmarks_after <= found.landmarks_before * (1 + 1e-5) + 1e-6).all()
    assert (found.after <= found.before).all()


def shape_error(shared, state):
    """Root mean square distance of the face's vertices from the true ones, size and place apart."""
    body = small_body()
    front = np.asarray(body.template)[:, 2] > 0.01
    one, other = (
        (np.asarray(body.template) + np.einsum("i,ivk->vk", numbers[1:], body.identity))[front]
        for numbers in (shared, state.shared)
    )
    one, other = (part - part.mean(0) for part in (one, other))
    rotation, _ = Rotation.align_vectors(other, one)
    turned = rotation.apply(one)
    turned *= (turned * other).sum() / (turned**2).sum()
    return np.sqrt(((turned - other) ** 2).sum(-1).mean())


@pytest.mark.long
@pytest.mark.parametrize("local", [0.0, 0.02])
def test_the_shape_comes_nearer_to_the_truth(local):
    config = dataclasses.replace(CONFIG, blurs=(1.0,), local=local, turns=4)
    state, _, _, found = refined(0.0, config, shape=0.6)
    start = beside(state, 0.6)
    assert shape_error(found.shared, state) < 0.85 * shape_error(start, state)
    assert abs(found.shared[0] - state.shared[0]) < 0.15


@pytest.mark.long
def test_without_turns_the_shape_stays():
    state, _, _, found = refined(0.3, dataclasses.replace(CONFIG, blurs=(1.0,)), shape=0.6)
    np.testing.assert_array_equal(found.shared, beside(state, 0.6))
