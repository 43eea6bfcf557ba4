"""Pictures of the synthetic person are what a sensor gathers, not what single rays hit."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.captures.synthetic import _intrinsics
from jaxhead.captures.synthetic_identity import proportions
from jaxhead.captures.synthetic_motion import act
from jaxhead.captures.synthetic_render import _texel, draw
from jaxhead.captures.synthetic_scene import build_scene


@pytest.fixture(scope="module")
def person():
    motion = act(frames=2, fps=25.0, seed=0, yaw_range_degrees=15.0, speech="syllables")
    return build_scene(np.random.default_rng([0, 1]), proportions(0)), motion


def _picture(person, size):
    """Linear colour (size, size, 3) and masks of the first frame before a black wall."""
    scene, motion = person
    seen = draw(
        scene, motion.expression[0], motion.head_to_camera[0], motion.torso_to_camera[0],
        jnp.eye(4), _intrinsics(size), jnp.zeros((size, size, 3), jnp.uint8), size=(size, size),
    )  # fmt: skip
    return (np.asarray(seen.frame) / 255.0) ** 2.2, np.asarray(seen.masks) / 255.0


def _mean(values, size):
    each = len(values) // size
    return values.reshape(size, each, size, each, -1).mean((1, 3))


def test_a_pixel_is_the_mean_of_the_pixels_that_a_finer_camera_sees_there(person):
    small, masks = _picture(person, 64)
    fine, fine_masks = _picture(person, 256)
    # Two by two samples of a pixel err by 0.017, 0.0044 and 0.51 here.
    inside = _mean(fine_masks, 64)[..., 0] > 0.999
    error = (small - _mean(fine, 64))[inside]
    assert np.sqrt((error**2).mean()) < 0.009
    assert np.abs(masks - _mean(fine_masks, 64)).mean() < 0.0025
    assert np.abs(masks - _mean(fine_masks, 64)).max() < 0.3


def test_a_texture_is_read_between_its_texels():
    texture = jnp.asarray(np.random.default_rng(0).random((5, 7, 3)), jnp.float32)
    at = jnp.array([[2.0, 3.0], [2.25, 3.5], [-4.0, -1.0], [99.0, 99.0]])
    found = np.asarray(_texel(texture, at))
    rows = 0.5 * (texture[3] + texture[4])
    np.testing.assert_allclose(found[0], texture[3, 2], rtol=1e-6)
    np.testing.assert_allclose(found[1], 0.75 * rows[2] + 0.25 * rows[3], rtol=1e-5)
    np.testing.assert_allclose(found[2], texture[0, 0], rtol=1e-6)
    np.testing.assert_allclose(found[3], texture[4, 6], rtol=1e-6)
