"""Rendering in chunks gives what one call gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.rendering.frames import render_in_chunks


def _render(rays):
    return {"sum": rays["o"].sum(-1) * rays["d"][:, 0], "id": rays["i"]}


def _rays(*shape):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(*shape, 3)).astype(np.float32) for name in "od"}
    return arrays | {"i": np.arange(np.prod(shape)).reshape(shape)}


@pytest.mark.parametrize("chunk", [1, 4, 5, 10, 11])
def test_one_leading_axis(chunk):
    rays = _rays(10)
    out = render_in_chunks(_render, rays, chunk)
    expected = _render(rays)
    np.testing.assert_allclose(out["sum"], expected["sum"], rtol=1e-6)
    np.testing.assert_array_equal(out["id"], expected["id"])


def test_a_picture_under_jit_sees_static_chunks():
    rays, shapes = _rays(3, 5), []

    def render(chunk):
        shapes.append(chunk["o"].shape)
        return _render(chunk)

    out = jax.jit(lambda r: render_in_chunks(render, r, 4, axes=2))(rays)
    assert out["sum"].shape == (3, 5) and set(shapes) == {(4, 3)}
    np.testing.assert_allclose(out["sum"], rays["o"].sum(-1) * rays["d"][..., 0], rtol=1e-5)


def test_gradients_pass_once():
    rays = jnp.arange(5.0)
    slope = jax.grad(lambda r: render_in_chunks(lambda c: c**2, r, 2).sum())(rays)
    np.testing.assert_allclose(slope, 2 * rays)


def test_bad_rays_are_refused():
    with pytest.raises(ValueError, match="one and the same"):
        render_in_chunks(_render, {"o": jnp.zeros((3, 3)), "d": jnp.zeros((4, 3))}, 2)
    with pytest.raises(ValueError, match="at least 1"):
        render_in_chunks(lambda r: r, jnp.zeros((0, 3)), 2)
