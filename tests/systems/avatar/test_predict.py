"""Whole pictures against the plain sum over all rays, and their laws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhead.captures.body_size import COMMON
from jaxhead.geometry.cameras import pixel_rays
from jaxhead.rendering.hits import STOP
from jaxhead.rendering.integrate import Rendered, closed
from jaxhead.rendering.rays import meets_solid
from jaxhead.rendering.requests import Background, RenderOptions
from jaxhead.rendering.torso import layered, torso_points
from jaxhead.systems.avatar import model, predict, verbs
from jaxhead.systems.avatar.body import turned_away
from jaxhead.systems.avatar.config import of_pictures
from jaxhead.systems.avatar.rays import Frames, Rays, cell_kinds, ray_sway, render_head
from jaxhead.systems.avatar.requests import make_requests
from jaxhead.systems.avatar.surface import frame_geometry

SIZE = (64, 64)


@pytest.fixture(scope="module")
def asked(small):
    return make_requests(
        RenderOptions(split="train"), small.spec, small.inputs, small.head, small.config
    )


@pytest.fixture(scope="module")
def render(small, variables):
    """(requests, index, occupancy) -> picture, compiled once for all tests."""
    made = {}

    def picture(requests, index, variables=variables):
        key = id(variables)
        if key not in made:
            made[key] = verbs.renderer(variables, small.frozen, SIZE, small.config)
        return {name: np.asarray(value) for name, value in made[key](requests, index).items()}

    return picture


@pytest.mark.long
def test_a_picture_is_the_sum_over_all_its_rays(small, variables, asked, render):
    index, config, frozen = 4, of_pictures(small.config), small.frozen
    params = variables.params["avatar"]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = jnp.float32(np.stack([x, y], -1).reshape(-1, 2) + 0.5)

    @jax.jit
    def reference(params, grid, frozen, vertices, pose, condition, motion, torso_condition, back):
        geometry = frame_geometry(vertices, frozen, config=config)[None]
        origins, directions = pixel_rays(frozen["K"], pose, pixels)
        rays = Rays(origins, directions, jnp.zeros(len(pixels), jnp.int32))
        frames = Frames(geometry, condition[None], asked.sway[index, None])
        cells = cell_kinds(grid, frozen)
        head, _ = render_head(params["head"], rays, frames, cells, frozen, None, config=config)
        shift = ray_sway(rays, frames, frozen)
        segments = config.sampling.segments
        head = closed(head, meets_solid(rays, shift, cells, frozen["box"], segments))
        torso, alpha = model.torso_field(
            params["torso"], torso_points(pixels, motion, SIZE),
            jnp.broadcast_to(torso_condition, (len(pixels), 6)), config=config.torso,
        )  # fmt: skip
        return (*layered(head.rgb, head.alpha, torso, alpha, back.reshape(-1, 3)), head)

    rgb, person, head = reference(
        params, variables.state["occupancy"], frozen,
        asked.vertices[index], asked.head_to_camera[index],
        asked.condition[index], asked.torso_motion[index], asked.torso_condition[index],
        asked.background,
    )  # fmt: skip
    def to_the_end(params, state, frozen):
        geometry = frame_geometry(asked.vertices[index], frozen, config=config)
        request = {
            "K": frozen["K"], "head_to_camera": asked.head_to_camera[index], "geometry": geometry,
            "condition": asked.condition[index], "sway": asked.sway[index],
            "torso_motion": asked.torso_motion[index],
            "torso_condition": asked.torso_condition[index],
            "camera_from_own": jnp.eye(4), "background": asked.background,
        }
        return predict.predict(
            params, state, frozen, request, size=SIZE, config=small.config, stop=1e-12
        )

    picture = render(asked, index)
    # Where less light is left a ray ends, and the torso is not looked up.
    np.testing.assert_allclose(picture["rgb"].reshape(-1, 3), rgb, atol=STOP)
    np.testing.assert_allclose(picture["alpha"].reshape(-1), person, atol=STOP)
    whole = jax.jit(to_the_end)(params, variables.state, frozen)
    np.testing.assert_allclose(whole["rgb"].reshape(-1, 3), rgb, atol=2e-5)
    np.testing.assert_allclose(whole["alpha"].reshape(-1), person, atol=2e-5)
    thick = np.asarray(head.alpha) > 0.5
    depth = picture["depth"].reshape(-1)
    assert 0.05 < thick.mean() < 0.9
    assert np.all((depth > 0) == thick)
    points = asked.vertices[index] @ asked.head_to_camera[index, :3, :3].T
    z = points[:, 2] + asked.head_to_camera[index, 2, 3]
    assert depth[thick].min() > z.min() - 0.12 and depth[thick].max() < z.max() + 0.12


def test_pictures_are_colours_opacities_and_depths(asked, render):
    for index in (0, 11):
        picture = render(asked, index)
        assert picture["rgb"].shape == (*SIZE, 3) and picture["depth"].shape == SIZE
        for name in ("rgb", "alpha"):
            assert picture[name].min() >= 0 and picture[name].max() <= 1
        assert all(np.isfinite(value).all() for value in picture.values())


def test_the_background_shows_as_far_as_nobody_stands_before_it(small, asked, render):
    black, white = (
        dataclasses.replace(asked, background=np.full_like(asked.background, value))
        for value in (0.0, 1.0)
    )
    dark, bright = render(black, 3), render(white, 3)
    np.testing.assert_allclose(
        bright["rgb"] - dark["rgb"], np.repeat(1 - dark["alpha"][..., None], 3, -1), atol=1e-5
    )
    clear = make_requests(
        RenderOptions(split="train", background=Background(kind="transparent")),
        small.spec, small.inputs, small.head, small.config,
    )  # fmt: skip
    np.testing.assert_array_equal(render(clear, 3)["rgb"], dark["rgb"])


def test_the_camera_carries_the_picture_along(asked, render):
    # Two pixels to the right for every point at the head's distance: the head's opacity moves.
    index, shift = 2, 2.0
    K = asked.K.copy()
    K[0, 2] += shift
    still = render(asked, index)
    moved = render(dataclasses.replace(asked, K=K), index)
    np.testing.assert_allclose(moved["depth"][:, 2:], still["depth"][:, :-2], atol=2e-3)


def test_seen_from_aside_a_torso_is_opaque_up_to_its_edge(monkeypatch, small):
    """A torso below the middle of the picture, whose edge is half opaque over a pixel or so."""
    size = (128, 128)

    def layer(params, points, condition, *, config):
        alpha = jnp.clip(128 * points[:, 1] - 64.0, 0.0, 1.0)
        return jnp.broadcast_to(alpha[:, None], (len(points), 3)), alpha

    monkeypatch.setattr(model, "torso_layer", layer)
    own = jnp.stack([jnp.full(5, 20.0), jnp.array([62.5, 63.5, 64.3, 64.8, 66.0])], -1)

    def alpha(degrees):
        turn = np.eye(4, dtype=np.float32)
        turn[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
        request = {"torso_motion": jnp.eye(2, 3), "torso_condition": jnp.zeros(6)}
        turned = turned_away(jnp.asarray(turn))
        colors, found = predict._torso_picture(
            {}, request, own, jnp.ones(5, bool), turned, size, small.config
        )
        # Colours are those of the place whose opacity it is.
        np.testing.assert_array_equal(colors[:, 0], found)
        return np.asarray(found)

    np.testing.assert_allclose(alpha(0), [0, 0, 0.3, 0.8, 1], atol=1e-4)
    np.testing.assert_allclose(alpha(40), [0, 0.5, 1, 0.8, 1], atol=1e-4)
    np.testing.assert_allclose(alpha(6)[:3], [0, 0, 0.3 + np.radians(6) / 0.37], atol=2e-3)


def test_seen_from_aside_a_pixel_of_the_torso_is_the_mean_of_several_rays(monkeypatch, small):
    """A torso of stripes a pixel wide, whose colours and opacities both change."""
    size, turn = (64, 64), np.eye(4, dtype=np.float32)

    def layer(params, points, condition, *, config):
        stripes = 0.5 + 0.5 * jnp.sin(64 * np.pi * points)
        return jnp.concatenate([stripes, stripes[:, :1] ** 2], -1), 0.2 + 0.8 * stripes[:, 1]

    monkeypatch.setattr(model, "torso_layer", layer)
    y, x = np.mgrid[: size[0], : size[1]]
    pixels = jnp.float32(np.stack([x, y], -1).reshape(-1, 2) + 0.5)
    frozen = {"body": jnp.array(COMMON, jnp.float32), "body_place": jnp.array([0.5, 0.35, 1.0])}
    count = len(pixels)
    head = Rendered(jnp.zeros((count, 3)), jnp.full(count, 0.4), jnp.full(count, 0.45))

    def seen(degrees, pixels):
        turn[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
        turn[:3, 3] = np.array([0, 0, 1]) - turn[:3, :3] @ np.array([0, 0, 1])
        request = {
            "K": jnp.array([[120.0, 0, 32], [0, 120, 32], [0, 0, 1]]), "camera_from_own": turn,
            "torso_motion": jnp.eye(2, 3), "torso_condition": jnp.zeros(6),
        }  # fmt: skip
        return predict._torso_in_place(
            {}, frozen, request, pixels, head, stop=1e-3, size=size, config=small.config
        )

    found = seen(35, pixels)
    within, light, cover = predict._WITHIN, 0.0, 0.0
    for place in within:
        monkeypatch.setattr(predict, "_WITHIN", (place,))
        colors, alpha, _ = seen(35, pixels)
        light, cover = light + colors * alpha[:, None] / 4, cover + alpha / 4
    assert 0.1 < np.mean(cover > 0) < 0.9 and len(within) == 4
    np.testing.assert_allclose(found[1], cover, atol=1e-6)
    np.testing.assert_allclose(found[0] * found[1][:, None], light, atol=1e-6)
    centre = seen(35, pixels - jnp.array(place))
    assert np.abs(centre[1] - cover).max() > 0.1
    # The own camera's torso was trained with one ray a pixel.
    colors, alpha, _ = seen(0, pixels)
    stripes, true = layer(None, pixels / 64, None, config=None)
    np.testing.assert_allclose(alpha, true, atol=1e-5)
    np.testing.assert_allclose(colors, stripes, atol=1e-5)
