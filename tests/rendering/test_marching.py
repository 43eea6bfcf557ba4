"""Front to back with an early end, against the whole sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.hierarchical import FLOOR, background_layers
from jaxhead.rendering.marching import march

RAYS = 5


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0, 1e5])
@pytest.mark.parametrize("count", [12, 7])
def test_marching_gives_the_sums_with_the_background_behind(scale, count):
    keys = jax.random.split(jax.random.key(count), 3)
    depths = jnp.sort(jax.random.uniform(keys[0], (RAYS, count)), -1)
    sigma = scale * jnp.maximum(jax.random.normal(keys[1], (RAYS, count)), 0)
    rgb = jax.random.uniform(keys[2], (RAYS, count, 3))
    whole = background_layers(rgb, sigma, depths, jnp.ones(RAYS))
    steps = jnp.diff(depths, axis=-1, append=depths[:, -1:])
    samples = {"sigma": sigma, "rgb": rgb}

    @jax.jit
    def found(samples, steps):
        density = lambda s: (s["sigma"], s["rgb"])  # noqa: E731
        shown = march(density, lambda rgb: rgb, samples, steps, floor=FLOOR)
        return shown, march(density, None, samples, steps, floor=FLOOR)

    shown, bare = found(samples, steps)
    np.testing.assert_allclose(shown.foreground, whole.foreground, atol=2e-6)
    np.testing.assert_allclose(shown.left, whole.last_weight, atol=1e-6)
    np.testing.assert_allclose(shown.weights[:, :-1], whole.weights[:, :-1], atol=1e-6)
    np.testing.assert_array_equal(bare.weights, shown.weights)


def test_nothing_behind_an_opaque_sample_is_looked_at():
    """What would be NaN if it were: zero times NaN is not zero."""
    sigma = jnp.full((2, 8), jnp.nan).at[:, :2].set(1e9)
    shown = jax.jit(lambda s: march(lambda x: (x, x), None, s, jnp.ones((2, 8))))(sigma)
    assert np.all(np.isfinite(shown.weights)) and np.all(shown.left == 0)
