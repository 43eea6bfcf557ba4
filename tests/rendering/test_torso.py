"""The torso's coordinates and the order of layers."""

import jax.numpy as jnp
import numpy as np

from jaxhead.rendering.torso import layered, torso_points


def test_torso_points_undo_the_motion():
    random = np.random.default_rng(0)
    reference = random.uniform(0, 100, (2, 50, 2))
    motion = np.eye(2, 3) + 0.2 * random.normal(size=(2, 2, 3)) * [[1, 1, 30]]
    pixels = np.einsum("bij,bnj->bni", motion[..., :2], reference) + motion[:, None, :, 2]
    found = torso_points(jnp.float32(pixels), jnp.float32(motion), (80, 100))
    np.testing.assert_allclose(found, reference / 100, atol=1e-4)


def test_layers_cover_each_other():
    random = np.random.default_rng(0)
    head, torso, back = random.uniform(size=(3, 20, 3)).astype(np.float32)
    alpha, below = random.uniform(size=(2, 20)).astype(np.float32)
    rgb, person = layered(head * alpha[:, None], alpha, torso, below, back)
    expected = []
    for n in range(20):
        behind = torso[n] * below[n] + back[n] * (1 - below[n])
        expected.append(head[n] * alpha[n] + behind * (1 - alpha[n]))
    np.testing.assert_allclose(rgb, expected, atol=1e-6)
    np.testing.assert_allclose(person, alpha + (1 - alpha) * below, atol=1e-6)
    one, none = jnp.ones(20), jnp.zeros(20)
    np.testing.assert_allclose(layered(head, one, torso, below, back)[0], head, atol=1e-6)
    np.testing.assert_allclose(layered(0 * head, none, torso, none, back)[0], back, atol=1e-6)


def test_clothes_before_the_head_cover_it_and_a_thin_rim_does_not():
    random = np.random.default_rng(1)
    head, torso, back = random.uniform(size=(3, 4, 3)).astype(np.float32)
    alpha, below = jnp.array([1.0, 0.7, 1.0, 0.7]), jnp.array([1.0, 1.0, 0.4, 0.8])
    front = jnp.array([1.0, 0.5, 1.0, 0.0])
    rgb, person = layered(head * alpha[:, None], alpha, torso, below, back, front)
    plain, whole = layered(head * alpha[:, None], alpha, torso, below, back)
    np.testing.assert_allclose(rgb[0], torso[0], atol=1e-6)
    # Half of the torso in front of seven tenths of head, what is left of it behind.
    behind = 0.7 * head[1] + 0.3 * torso[1]
    np.testing.assert_allclose(rgb[1], 0.5 * torso[1] + 0.5 * behind, atol=1e-6)
    np.testing.assert_allclose(rgb[2], head[2], atol=1e-6)
    np.testing.assert_allclose(rgb[3], plain[3], atol=1e-6)
    np.testing.assert_allclose(person, whole, atol=1e-6)
    # Where there is no head, it does not matter whether the torso is before it.
    none = jnp.zeros(4)
    bare, _ = layered(0 * head, none, torso, below, back, jnp.array([1.0, 0.5, 1.0, 1.0]))
    np.testing.assert_allclose(bare, layered(0 * head, none, torso, below, back)[0], atol=1e-6)
