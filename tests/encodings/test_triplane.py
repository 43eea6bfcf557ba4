"""Tri-planes against goldens and laws."""

import jax
import jax.numpy as jnp
import numpy as np
from goldens_reader import known_goldens

from jaxhead.encodings.triplane import EG3D_AXES, PLAIN_AXES, sample_planes


def test_goldens(goldens):
    for golden in known_goldens(goldens, module="sample_from_planes"):
        planes = jnp.moveaxis(jnp.asarray(golden.inputs["planes"]), 2, -1)
        points = golden.inputs["coordinates"] * (2 / golden.config["box_warp"])
        sample = jax.vmap(lambda p, x: sample_planes(p, x, axes=EG3D_AXES))
        golden.compare("features", sample(planes, jnp.asarray(points)))


def test_each_plane_sees_its_own_axes():
    # A plane whose value is the position along its width, and one along its height.
    ramp = (np.arange(8) + 0.5) / 4 - 1
    across = np.broadcast_to(ramp, (8, 8))
    plane = np.stack([across, across.T], -1).astype(np.float32)
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (20, 3)).astype(np.float32)
    out = sample_planes(jnp.stack([plane] * 3), points)
    for values, (width, height) in zip(out, PLAIN_AXES):
        np.testing.assert_allclose(values, points[:, [width, height]], atol=1e-6)


def test_far_outside_is_zero():
    out = sample_planes(jnp.ones((3, 4, 5, 2)), jnp.asarray([[1.5, 1.5, 1.5], [0, 0, 0]]))
    np.testing.assert_array_equal(out[:, 0], 0)
    np.testing.assert_allclose(out[:, 1], 1)


def test_gradients_are_finite_at_the_border():
    planes = jnp.ones((3, 4, 4, 2))
    points = jnp.asarray([[1.0, -1.0, 0.0], [0.75, 0.25, 1.25]])
    slopes = jax.grad(lambda p, x: sample_planes(p, x).sum(), argnums=(0, 1))(planes, points)
    assert all(np.all(np.isfinite(s)) for s in slopes)
