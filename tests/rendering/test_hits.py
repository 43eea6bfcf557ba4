"""Pictures rendered where rays hit something: the same as rendering every ray."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.hits import may_hit, render_hits
from jaxhead.rendering.integrate import Rendered
from jaxhead.rendering.rays import OCCUPIED, Rays

RNG = np.random.default_rng(0)


def rays_along_z(count):
    origins = np.concatenate([RNG.uniform(-1.2, 1.2, (count, 2)), np.full((count, 1), 3.0)], -1)
    directions = np.broadcast_to(np.array([0.0, 0.0, -1.0]), (count, 3))
    return Rays(*(jnp.asarray(x, jnp.float32) for x in (origins, directions)),
                jnp.zeros(count, jnp.int32))  # fmt: skip


def paint(rays):
    """A picture that says where its ray began."""
    return Rendered(rays.origins, rays.origins[:, 0], rays.origins[:, 1])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rays_that_hit_show_what_they_would_and_others_nothing(share):
    rays = rays_along_z(50)
    hit = jnp.asarray(RNG.uniform(size=50) < share)
    found = jax.jit(lambda r, h: render_hits(paint, r, h, chunk=16))(rays, hit)
    for value, expected in zip(map(np.asarray, found), map(np.asarray, paint(rays))):
        np.testing.assert_array_equal(value[hit], expected[hit])
        # The last chunk is filled up with rays that hit nothing.
        shown = (value != 0).reshape(50, -1).any(1) & ~np.asarray(hit)
        assert shown.sum() <= -hit.sum() % 16
        np.testing.assert_array_equal(value[shown], expected[shown])


def test_a_ray_may_hit_where_a_cell_on_its_way_is_occupied():
    rays, box = rays_along_z(200), jnp.array([[-1.0] * 3, [1.0] * 3])
    cells = np.zeros((4, 4, 4), np.int8)
    cells[0, 3, 1] = OCCUPIED
    x, y = np.asarray(rays.origins[:, :2]).T
    inside = (x > -1) & (x < -0.5) & (y > 0.5) & (y < 1)
    still, moved = jnp.zeros((200, 2)), jnp.tile(jnp.array([0.5, 0.0]), (200, 1))
    np.testing.assert_array_equal(may_hit(rays, still, jnp.asarray(cells), box, 8), inside)
    swayed = (x > -0.5) & (x < 0) & (y > 0.5) & (y < 1)
    np.testing.assert_array_equal(may_hit(rays, moved, jnp.asarray(cells), box, 8), swayed)
