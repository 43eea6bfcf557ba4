"""Pictures rendered where rays hit something: the same as rendering every ray to its end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.hits import STOP, for_hits, march_hits, may_hit
from jaxhead.rendering.integrate import composite, volume_weights
from jaxhead.rendering.rays import OCCUPIED, Rays

RNG = np.random.default_rng(0)


def rays_along_z(count):
    origins = np.concatenate([RNG.uniform(-1.2, 1.2, (count, 2)), np.full((count, 1), 3.0)], -1)
    directions = np.broadcast_to(np.array([0.0, 0.0, -1.0]), (count, 3))
    return Rays(*(jnp.asarray(x, jnp.float32) for x in (origins, directions)),
                jnp.zeros(count, jnp.int32))  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 7, 50, 64, None])
@pytest.mark.parametrize("hits", [0, 1, 49, 50])
def test_rows_that_hit_are_updated_once_and_others_keep_what_they_had(hits, chunk):
    hit = np.zeros(50, bool)
    hit[RNG.permutation(50)[:hits]] = True
    given, old = jnp.arange(50.0), jnp.ones((50, 2))
    update = jax.vmap(jnp.add)
    new = jax.jit(lambda h: for_hits(update, (given, old), h, chunk=chunk))(jnp.asarray(hit))
    np.testing.assert_array_equal(new, old + np.where(hit, given, 0)[:, None])


def samples_of(count, samples):
    t = np.sort(RNG.uniform(1, 2, (count, samples)), -1)
    delta = RNG.uniform(0, 0.1, (count, samples))
    sigma = RNG.lognormal(1.0, 3.0, (count, samples))
    sigma[:5] = 0
    sigma[5:10, samples // 2] = np.inf
    rgb = RNG.uniform(0, 1, (count, samples, 3))
    return tuple(jnp.asarray(x, jnp.float32) for x in (t, delta, sigma, rgb))


@pytest.mark.parametrize("stop, off", [(STOP, 2 * STOP), (1e-30, 1e-5)])
@pytest.mark.parametrize("samples, stages", [(12, 3), (11, 3), (1, 4), (12, 12), (7, 1), (8, None)])
def test_marching_ends_rays_that_are_opaque_and_shows_the_same(samples, stages, stop, off):
    t, delta, sigma, rgb = samples_of(60, samples)
    hit = jnp.asarray(RNG.uniform(size=60) < 0.8)

    def shade(rows, at):
        # The samples' numbers from their distances; what fills up a stage is the last one again.
        place = jnp.argmin(jnp.abs(t[rows][:, None] - at[..., None]), -1)
        return rgb[rows[:, None], place], sigma[rows[:, None], place]

    @jax.jit
    def march(hit):
        return march_hits(
            shade, jnp.arange(60), t, delta, hit, stages=stages, stop=stop, chunk=16
        )

    found = march(hit)
    expected = composite(volume_weights(sigma, delta), rgb, t)
    for value, whole in zip(map(np.asarray, found), map(np.asarray, expected)):
        np.testing.assert_allclose(value[hit], whole[hit], atol=off + 1e-5)
        assert not value[~np.asarray(hit)].any()
    # Only what an opaque ray would have shown less of is left out.
    assert (np.asarray(found.alpha) <= np.asarray(expected.alpha) + 1e-6).all()


def test_nothing_is_asked_about_a_ray_that_is_opaque():
    t, delta = jnp.tile(jnp.linspace(1, 2, 8), (40, 1)), jnp.full((40, 8), 0.1)
    opaque = jnp.arange(40) % 2 == 0
    asked = []

    def shade(rays, at):
        jax.debug.callback(lambda x: asked.append(np.asarray(x)), at[:, 0])
        return jnp.ones((*at.shape, 3)), jnp.where(rays[:, None], 1e4, 1.0) + 0 * at

    seen = march_hits(shade, opaque, t, delta, jnp.ones(40, bool), stages=4, chunk=20)
    jax.effects_barrier()
    np.testing.assert_allclose(seen.alpha[opaque], 1, atol=1e-6)
    np.testing.assert_allclose(seen.alpha[~opaque], 1 - np.exp(-0.8), atol=1e-5)
    starts, calls = np.unique(np.concatenate(asked), return_counts=True)
    np.testing.assert_array_equal(calls, [40, 20, 20, 20])
    np.testing.assert_allclose(starts, t[0, ::2], atol=1e-6)


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
