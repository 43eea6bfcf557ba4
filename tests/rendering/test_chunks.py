"""What goes through together suits the device; what comes out does not depend on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering import chunks
from jaxhead.rendering.field_sum import differentiated, field_sum
from jaxhead.rendering.hits import for_hits, may_hit
from jaxhead.rendering.rays import OCCUPIED, Rays
from jaxhead.rendering.torso import torso_in_chunks


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    return request.param


def test_each_device_gets_its_own(backend):
    assert chunks.suited(cpu=3, accelerator=50) == {"cpu": 3, "gpu": 50}[backend]


def test_pictures_are_the_same_on_every_device(backend):
    count, random = 5000, np.random.default_rng(0)
    origins = (random.uniform(-1, 1, (count, 3)) + [0, 0, 3]).astype(np.float32)
    ahead = np.broadcast_to(np.float32([0, 0, -1]), (count, 3))
    rays = Rays(jnp.asarray(origins), jnp.asarray(ahead), jnp.zeros(count, jnp.int32))
    cells = jnp.zeros((4, 4, 4), jnp.int8).at[1:3, 0, 2].set(OCCUPIED)
    box = jnp.array([[-1.0] * 3, [1.0] * 3])

    wanted = random.uniform(size=count) < 0.7

    @jax.jit
    def picture(rays):
        hit = may_hit(rays, jnp.zeros((count, 2)), cells, box, 48)
        colour, alpha = torso_in_chunks(
            lambda p: (jnp.sin(p @ jnp.ones((2, 3))), p[:, 0]), rays.origins[:, :2],
            jnp.asarray(wanted),
        )
        shown = for_hits(lambda r, _: jnp.cos(r.origins), (rays, jnp.zeros((count, 3))), hit)
        return hit, shown, colour, alpha

    hit, shown, colour, alpha = picture(rays)
    inside = (np.abs(origins[:, 0]) < 0.5) & (origins[:, 1] < -0.5)
    np.testing.assert_array_equal(hit, inside)
    np.testing.assert_allclose(shown[inside], np.cos(origins[inside]), atol=1e-6)
    expected = np.sin(origins[:, :1] + origins[:, 1:2]) * wanted[:, None] * [[1, 1, 1]]
    np.testing.assert_allclose(colour, expected, atol=1e-6)
    np.testing.assert_array_equal(alpha, origins[:, 0] * wanted)


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_sums_and_gradients_are_the_same_on_every_device(backend, scale):
    rays, samples, random = 700, 4, np.random.default_rng(1)
    field = differentiated(lambda weights, rays, samples: jnp.tanh(samples @ weights + rays))
    weights = jnp.asarray(random.normal(size=(2, 3)), jnp.float32)
    along = jnp.asarray(random.normal(size=(rays, 3)), jnp.float32)
    points = jnp.asarray(random.normal(size=(rays, samples, 2)), jnp.float32)
    # Without scale most rays pass no gradient: the sparse form has something to leave out.
    counts = jnp.where(jnp.arange(rays) < 90, 1.0, scale)

    def integrate(raw, given):
        share = (given["counts"] * given["share"])[:, None, None]
        return jnp.sum(share * raw**2), jnp.sum(raw, 1)

    def total(weights, along):
        return field_sum(
            field, integrate, weights, along, points, {"share": counts}, 350, True
        )[0]

    def plain(weights, along):
        raw = jnp.tanh(points @ weights + along[:, None])
        return jnp.sum(counts[:, None, None] * raw**2)

    found = jax.jit(jax.value_and_grad(total, (0, 1)))(weights, along)
    expected = jax.jit(jax.value_and_grad(plain, (0, 1)))(weights, along)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
