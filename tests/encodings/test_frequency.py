"""Frequency encoding against goldens and its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens_reader import known_goldens

from jaxhead.encodings.frequency import frequency

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_goldens_of_nerface(goldens):
    for golden in known_goldens(goldens, system="nerface", module="positional_encoding"):
        for name, options in golden.config.items():
            actual = frequency(
                golden.inputs["x"],
                bands=options["n"],
                include_input=options["include_input"],
                spacing="log" if options["log"] else "linear",
            )
            golden.compare(name, actual)


def test_goldens_of_adnerf(goldens):
    for golden in known_goldens(goldens, system="AD-NeRF", module="get_embedder"):
        for bands in golden.config["multires"]:
            golden.compare(f"y{bands}", frequency(golden.inputs["x"], bands=bands))


def test_definition():
    actual = frequency(X, bands=2)
    expected = [X, np.sin(X), np.cos(X), np.sin(2 * X), np.cos(2 * X)]
    np.testing.assert_allclose(actual, np.concatenate(expected, -1), atol=1e-6)
    np.testing.assert_array_equal(frequency(X, bands=0), X)
    assert frequency(X, bands=4, include_input=False).shape == (5, 24)


def test_jit_vmap_and_gradient():
    def encode(x):
        return frequency(x, bands=3, spacing="linear")

    np.testing.assert_allclose(jax.jit(encode)(X), jax.vmap(encode)(X), atol=1e-6)
    slope = jax.jacfwd(encode)(jnp.zeros(3))
    np.testing.assert_allclose(slope[:3], np.eye(3))
    np.testing.assert_allclose(slope[-6:-3], 4 * np.eye(3), rtol=1e-6)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="spacing is 'mel'"):
        frequency(X, bands=2, spacing="mel")
    with pytest.raises(ValueError, match="bands is 0"):
        frequency(X, bands=0, include_input=False)
