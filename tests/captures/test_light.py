"""Light that is fitted to brightness, against light that is known."""

import numpy as np
import pytest

from jaxhead.captures.light import light_gradient

LIGHT = np.array([0.3, -0.2, 0.5])


@pytest.fixture
def shaded():
    """Normals (400, 3), colours under LIGHT, and two parts of different brightness."""
    random = np.random.default_rng(0)
    normals = random.normal(size=(400, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    parts = np.arange(400) < 150, np.arange(400) >= 250
    own = np.where(parts[0], 0.15, 0.4)[:, None] * np.array([1.2, 1.0, 0.8])
    return own * np.exp(normals @ LIGHT)[:, None], normals, parts


def test_light_is_found_whatever_the_parts_own_brightness(shaded):
    np.testing.assert_allclose(light_gradient(*shaded), LIGHT, atol=0.01)


def test_light_is_found_among_places_of_another_colour(shaded):
    colors, normals, parts = shaded
    odd = np.random.default_rng(1).random(400) < 0.1
    colors = np.where(odd[:, None], 0.9, colors)
    np.testing.assert_allclose(light_gradient(colors, normals, parts), LIGHT, atol=0.05)


def test_what_the_normals_do_not_tell_is_no_light(shaded):
    colors, normals, parts = shaded
    flat = np.broadcast_to([0.0, 0.0, 1.0], normals.shape)
    even = np.full_like(colors, 0.3)
    np.testing.assert_allclose(light_gradient(even, flat, parts), 0, atol=1e-3)
    nothing = np.zeros(400, bool)
    assert light_gradient(colors, normals, (nothing, nothing)).tolist() == [0, 0, 0]
    assert np.isfinite(light_gradient(np.zeros_like(colors), normals, (parts[0], nothing))).all()
    np.testing.assert_allclose(
        light_gradient(colors, normals, (parts[0], nothing)), LIGHT, atol=0.02
    )
