"""Small pictures with gradients: the same as `predict`'s, at bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick_compile import compiled
from systems.avatar.tiny_clip import one_level

from jaxhead.geometry.cameras import pixel_centres
from jaxhead.systems.avatar.predict import predict
from jaxhead.systems.avatar.requests import orbit_pose
from jaxhead.systems.avatar.surface import frame_geometry
from jaxhead.systems.avatar.views import Shot, cropped, render_shot, square_of, turned


@pytest.fixture(scope="module")
def shot(small):
    """The whole of the first training frame."""
    inputs, frame = small.inputs, int(small.inputs["train"][0])
    pose = jnp.asarray(inputs["head_to_camera"][frame])
    geometry = frame_geometry(jnp.asarray(inputs["vertices"][frame]), small.frozen,
                              config=small.config)
    return Shot(
        head_to_camera=pose, own=pose, geometry=geometry,
        condition=jnp.full(small.spec.components, 0.3), sway=jnp.asarray(inputs["sway"][frame]),
        torso_motion=jnp.asarray(inputs["torso_motion"][frame]), torso_condition=jnp.full(6, 0.2),
        corner=jnp.zeros(2), side=jnp.float32(small.spec.size[0]),
    )  # fmt: skip


def test_a_shot_of_the_whole_frame_is_what_predict_renders(small, variables, shot):
    size, (config, params) = small.spec.size, one_level(small.config, small.spec.components)
    # Pictures alone close pinholes before what is solid.
    frozen = small.frozen | {"solid": jnp.zeros_like(small.frozen["solid"])}
    request = {
        "K": small.frozen["K"], "head_to_camera": shot.head_to_camera, "geometry": shot.geometry,
        "condition": shot.condition, "sway": shot.sway, "torso_motion": shot.torso_motion,
        "torso_condition": shot.torso_condition, "camera_from_own": jnp.eye(4),
        "background": small.frozen["background"].astype(jnp.float32) / 255,
    }  # fmt: skip

    def both(params, state):
        found = render_shot(params, state, frozen, shot, pixels=size[0], size=size,
                            config=config, chunk=1000)
        # To the last of the light, as a shot sees it.
        true = predict(params, state, frozen, request, size=size, config=config, stop=1e-12)
        return found, true["rgb"], true["alpha"]

    found, true, alpha = compiled(both, params, variables.state)(params, variables.state)
    assert alpha.max() > 0.5 and np.std(true) > 0.01
    np.testing.assert_allclose(found, true, atol=2e-5)


@pytest.mark.long
def test_memory_is_that_of_a_chunk(small, variables, shot):
    config, params = one_level(small.config, small.spec.components)

    def needed(chunk):
        def loss(params, state):
            return jnp.sum(render_shot(
                params, state, small.frozen, shot, pixels=32, size=small.spec.size,
                config=config, chunk=chunk,
            ))  # fmt: skip

        program = compiled(jax.grad(loss), params, variables.state)
        return program.memory_analysis().temp_size_in_bytes

    chunked, whole = needed(64), needed(32 * 32)
    print(f"{chunked} bytes in chunks of 64 rays, {whole} at once")
    assert chunked < whole / 4


def test_a_square_is_inside_the_picture_and_around_the_box():
    for box in ([10, 20, 40, 44], [0, 0, 64, 48], [50, 0, 64, 10], [-5, -5, 90, 90]):
        corner, side = square_of(jnp.array(box, jnp.float32), (48, 64))
        assert 0 < side <= 48 and np.all(corner >= 0)
        assert np.all(np.asarray(corner) + side <= np.array([64, 48]) + 1e-4)
    corner, side = square_of(jnp.array([10.0, 20.0, 30.0, 36.0]), (48, 64), margin=1.2)
    np.testing.assert_allclose([*corner, side], [8, 16, 24])


def test_a_crop_averages_what_its_pixels_cover():
    ramp = pixel_centres((40, 60))
    image = jnp.concatenate([ramp, jnp.ones((40, 60, 1))], -1)
    found = cropped(image, jnp.array([8.0, 4.0]), jnp.float32(32.0), 8)
    places = np.array([8.0, 4.0]) + pixel_centres((8, 8)) * 4
    np.testing.assert_allclose(found[1:-1, 1:-1, :2], places[1:-1, 1:-1], atol=1e-4)
    np.testing.assert_allclose(found[..., 2], 1, atol=1e-5)


def test_a_turned_camera_keeps_the_head_in_place(small):
    pose = small.inputs["head_to_camera"][0]
    still = turned(jnp.asarray(pose), jnp.float32(0), jnp.float32(0))
    np.testing.assert_allclose(still, pose, atol=1e-6)
    moved = np.asarray(turned(jnp.asarray(pose), jnp.float32(0.2), jnp.float32(-0.1)))
    np.testing.assert_allclose(moved[:3, 3], pose[:3, 3], atol=1e-6)
    np.testing.assert_allclose(moved[:3, :3] @ moved[:3, :3].T, np.eye(3), atol=1e-5)
    angle = np.arccos((np.trace(moved[:3, :3].T @ pose[:3, :3]) - 1) / 2)
    straight = orbit_pose(np.eye(4), np.degrees(0.2), 0.0)[:3, :3]
    assert angle > np.arccos((np.trace(straight) - 1) / 2) - 1e-3
