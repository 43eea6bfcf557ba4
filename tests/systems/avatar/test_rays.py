"""Samples along rays, the torso's coordinates and the order of layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering import occupancy
from jaxhead.rendering.rays import meets_solid
from jaxhead.systems.avatar.rays import (
    EMPTY,
    OCCUPIED,
    SOLID,
    Frames,
    Rays,
    cell_kinds,
    head_at,
    place_samples,
    ray_sway,
    render_head,
    to_cube,
    without_sway,
)
from jaxhead.systems.avatar.surface import frame_geometry

BOX = jnp.array([[-0.1, -0.2, -0.1], [0.1, 0.2, 0.1]])
STILL = jnp.zeros((1, 2))


def straight_rays(x, y=None):
    """Rays along -z from z = 1."""
    x = jnp.asarray(x, jnp.float32)
    origins = jnp.stack([x, jnp.zeros_like(x) if y is None else y, jnp.ones_like(x)], -1)
    directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), origins.shape)
    return Rays(origins, directions, jnp.zeros(len(x), jnp.int32))


def test_the_cube_keeps_proportions():
    cube = np.asarray(to_cube(BOX, BOX))
    np.testing.assert_allclose(cube, [[0, 0, 0], [0.5, 1, 0.5]], atol=1e-6)


@pytest.mark.parametrize("jittered", [False, True])
def test_samples_lie_in_occupied_cells_only(config, jittered):
    sampling = dataclasses.replace(config.sampling, samples=16, segments=20)
    cells = np.zeros((10, 10, 10), np.int8)
    cells[:, :, 2:4] = cells[:, :, 7] = OCCUPIED  # z in [-0.06, -0.02] and [0.04, 0.06]
    rays = straight_rays(np.linspace(-0.15, 0.15, 30))
    keys = jax.random.split(jax.random.key(0), 3) if jittered else None
    place = jax.jit(lambda k, r, c: place_samples(k, r, STILL, c, BOX, sampling))
    t, delta = (np.asarray(x) for x in place(keys, rays, jnp.asarray(cells)))
    hit = np.abs(np.asarray(rays.origins)[:, 0]) < 0.099
    assert t.shape == delta.shape == (30, 16)
    assert np.all(delta[~hit] == 0) and np.all(delta >= 0)
    assert np.all(np.diff(t[hit], axis=1) >= 0)
    z = 1 - t[hit]
    inside = ((z > -0.061) & (z < -0.019)) | ((z > 0.039) & (z < 0.061))
    assert inside.all()
    np.testing.assert_allclose(delta[hit].sum(1), 0.06, atol=5e-3)


def test_nothing_is_sampled_behind_a_solid_cell(config):
    sampling = dataclasses.replace(config.sampling, samples=16, segments=20, front=0.0)
    cells = np.full((10, 10, 10), OCCUPIED, np.int8)  # z from -0.1 to 0.1, seen from above
    cells[:5, :, 6] = SOLID  # z in [0.02, 0.04] where x < 0
    rays = straight_rays(np.array([-0.05, 0.05]))
    t, delta = place_samples(None, rays, STILL, jnp.asarray(cells), BOX, sampling)
    assert np.all(1 - np.asarray(t[0]) > 0.039) and np.asarray(t[1]).max() > 1.09
    np.testing.assert_allclose(delta.sum(1), [0.06, 0.2], atol=5e-3)
    closest = dataclasses.replace(sampling, front=0.02)
    t, _ = place_samples(None, rays, STILL, jnp.asarray(cells), BOX, closest)
    assert np.all(1 - np.asarray(t[0]) > 0.039)
    met = meets_solid(rays, STILL, jnp.asarray(cells), BOX, sampling.segments)
    assert met.tolist() == [True, False]
    cells[:5, :, 9] = SOLID
    _, delta = place_samples(None, rays, STILL, jnp.asarray(cells), BOX, sampling)
    np.testing.assert_allclose(delta.sum(1), [0.0, 0.2], atol=5e-3)


@pytest.mark.parametrize("jittered", [pytest.param(False, marks=pytest.mark.long), True])
def test_samples_lie_closest_where_a_ray_first_meets_something(config, jittered):
    sampling = dataclasses.replace(config.sampling, samples=16, segments=40, front=0.02)
    cells = np.full((10, 10, 10), OCCUPIED, np.int8)  # z from -0.1 to 0.1, seen from above
    cells[:, :, 4:8] = EMPTY  # z in [-0.02, 0.06]
    keys = jax.random.split(jax.random.key(0), 4) if jittered else None
    rays = straight_rays(np.zeros(400))
    place = jax.jit(lambda k: place_samples(k, rays, STILL, jnp.asarray(cells), BOX, sampling))
    t, delta = (np.asarray(x) for x in place(keys))
    assert np.all(np.diff(t, axis=1) >= 0) and np.all(delta > 0)
    z = 1 - t
    assert (((z > 0.059) & (z < 0.101)) | ((z > -0.101) & (z < -0.019))).all()
    # What lies between does not count: 4 cm, then 8 more.
    way = np.where(z > 0, 0.1 - z, 0.04 - 0.02 - z)
    wanted = delta[:, :1] * (0.02 + way) / (0.02 + way[:, :1])
    np.testing.assert_allclose(delta, wanted, rtol=0.25)
    np.testing.assert_allclose(delta.sum(1).mean(), 0.12, rtol=0.02)
    half = np.searchsorted(way.mean(0), 0.02)
    assert 1.7 < delta.mean(0)[half] / delta.mean(0)[0] < 2.2
    # The rendering sum of an even fog is that of its length.
    left = np.exp(-(8.0 * delta).sum(1)).mean()
    np.testing.assert_allclose(left, np.exp(-8.0 * 0.12), rtol=0.03)
    even = dataclasses.replace(sampling, front=0.0)
    _, delta = place_samples(None, rays, STILL, jnp.asarray(cells), BOX, even)
    np.testing.assert_allclose(delta, 0.12 / 16, rtol=1e-4)


def test_cells_are_looked_up_where_samples_were_before_they_swayed(config):
    sampling = dataclasses.replace(config.sampling, samples=4, segments=20, front=0.0)
    cells = np.zeros((10, 10, 10), np.int8)
    cells[7] = OCCUPIED  # x in [0.04, 0.06]
    rays = straight_rays(np.array([0.05, 0.08]))
    for shift, expected in (((0.0, 0.0), [0.2, 0]), ((0.03, 0.1), [0, 0.2])):
        shifts = jnp.broadcast_to(jnp.array(shift), (2, 2))
        _, delta = place_samples(None, rays, shifts, jnp.asarray(cells), BOX, sampling)
        np.testing.assert_allclose(delta.sum(1), expected, atol=1e-5)


def test_rays_know_how_far_what_they_meet_has_swayed():
    box = jnp.array([[-0.1, -0.1], [0.1, 0.1]])
    sway = jnp.stack([jnp.zeros((3, 3, 2)), jnp.full((3, 3, 2), 0.01).at[..., 1].set(-0.02)])
    rays = straight_rays(np.array([0.0, 0.05]))
    rays = dataclasses.replace(rays, frame=jnp.array([0, 1], jnp.int32))
    frames = Frames(jnp.zeros((2, 1)), jnp.zeros((2, 1)), sway)
    found = ray_sway(rays, frames, {"box": BOX, "sway_box": box})
    np.testing.assert_allclose(found, [[0, 0], [0.01, -0.02]], atol=1e-7)


def test_the_kinds_of_cells(small, variables):
    grid, frozen = variables.state["occupancy"], small.frozen
    kinds = np.asarray(jax.jit(cell_kinds)(grid, frozen))
    solid = np.asarray(frozen["solid"])
    assert kinds.dtype == np.int8 and set(np.unique(kinds)) <= {EMPTY, OCCUPIED, SOLID}
    np.testing.assert_array_equal(kinds == SOLID, solid)
    occupied = np.asarray(occupancy.occupied_cells(grid))
    np.testing.assert_array_equal(kinds == OCCUPIED, occupied & ~solid)


def test_sway_moves_points_in_the_plane_by_their_own_frame():
    random = np.random.default_rng(0)
    points = random.uniform(-0.1, 0.1, (40, 3)).astype(np.float32)
    frame = random.integers(0, 2, 40)
    box = np.array([[-0.1, -0.1], [0.1, 0.1]], np.float32)
    # A shear is linear, so the lattice gives it exactly: x by y in frame 0, y by x in frame 1.
    axis = np.linspace(-0.1, 0.1, 5)
    sway = np.zeros((2, 5, 5, 2), np.float32)
    sway[0, ..., 0], sway[1, ..., 1] = 0.2 * axis[:, None], 0.3 * axis
    found = np.asarray(without_sway(jnp.asarray(points), sway, box, jnp.asarray(frame)))
    expected = points.copy()
    expected[frame == 0, 0] -= 0.2 * points[frame == 0, 1]
    expected[frame == 1, 1] -= 0.3 * points[frame == 1, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.long
def test_a_swaying_frame_shows_what_a_still_one_shows_elsewhere(small, variables):
    config, frozen = small.config, dict(small.frozen)
    params = variables.params["avatar"]["head"]
    random = np.random.default_rng(1)
    points = jnp.asarray(random.uniform(frozen["box"][0], frozen["box"][1], (60, 3)), jnp.float32)
    shift = jnp.array([0.011, -0.007])
    geometry = jax.jit(lambda v, f: frame_geometry(v, f, config=config))(
        jnp.asarray(small.capture.vertices[3]), frozen
    )
    condition = jnp.zeros((1, small.spec.components))
    ray = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), points.shape)

    def at(points, shift):
        sway = jnp.broadcast_to(shift, (1, 3, 3, 2))
        frames = Frames(geometry[None], condition, sway)
        return head_at(params, points, ray, jnp.zeros(60, jnp.int32), frames, frozen, config=config)

    still = at(points, jnp.zeros(2))
    moved = at(points + jnp.concatenate([shift, jnp.zeros(1)]), shift)
    for a, b in zip(still, moved):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_jitter_belongs_to_the_part_of_its_key(config):
    cells, rays = jnp.full((4, 4, 4), OCCUPIED, jnp.int8), straight_rays(np.zeros(6))
    keys = jax.random.split(jax.random.key(1), 2)
    place = jax.jit(lambda k, r: place_samples(k, r, STILL, cells, BOX, config.sampling)[0])
    whole = place(keys, rays)
    for part in range(2):
        alone = jax.tree.map(lambda x, p=part: x[3 * p : 3 * p + 3], rays)
        found = place(keys[part, None], alone)
        np.testing.assert_array_equal(whole[3 * part : 3 * part + 3], found)
    assert not np.array_equal(whole[:3], whole[3:])


def test_each_frame_of_a_batch_is_rendered_by_its_own_geometry(small, variables):
    config, frozen = small.config, small.frozen
    params = variables.params["avatar"]["head"]
    cells = cell_kinds(variables.state["occupancy"], frozen)
    centre = 0.5 * (frozen["box"][0] + frozen["box"][1])
    rays = straight_rays(np.linspace(-0.05, 0.05, 8), jnp.full(8, centre[1]))
    vertices = jnp.asarray(small.capture.vertices[[0, 8]])
    conditions = jax.random.normal(jax.random.key(2), (2, small.spec.components))
    keys = jax.random.split(jax.random.key(0), 2)
    make = jax.jit(lambda v, f: frame_geometry(v, f, config=config))
    geometry = jnp.stack([make(v, frozen) for v in vertices])

    @jax.jit
    def compiled(params, cells, frozen, rays, geometry, conditions, keys):
        frames = Frames(geometry, conditions, small.inputs["sway"][: len(geometry)])
        out = render_head(params, rays, frames, cells, frozen, keys, config=config)
        return jax.tree.leaves(out)[:3]

    def render(*what):
        return compiled(params, cells, frozen, *what)

    both = jax.tree.map(lambda x: jnp.concatenate([x, x]), rays)
    both = dataclasses.replace(both, frame=jnp.repeat(jnp.arange(2, dtype=jnp.int32), 8))
    whole = render(both, geometry, conditions, keys)
    for n in range(2):
        alone = render(rays, geometry[n, None], conditions[n, None], keys[n, None])
        for a, b in zip(whole, alone):
            np.testing.assert_allclose(a[8 * n : 8 * n + 8], b, atol=1e-5)
    alpha = np.asarray(whole[1])
    assert np.all((alpha > 0) & (alpha < 1 + 1e-5))
