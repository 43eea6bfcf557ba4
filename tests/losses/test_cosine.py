"""Cosine similarity: laws and the gradient at zero."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxhead.losses.cosine import cosine_similarity, semantic_prior, unit

A = np.asarray(np.random.default_rng(0).normal(size=(5, 8)), np.float32)
B = np.asarray(np.random.default_rng(1).normal(size=(5, 8)), np.float32)


def test_scale_and_order_do_not_matter():
    plain = cosine_similarity(A, B)
    np.testing.assert_allclose(cosine_similarity(1e-3 * B, 1e3 * A), plain, atol=1e-6)
    np.testing.assert_allclose(cosine_similarity(A, A), 1, rtol=1e-6)
    np.testing.assert_allclose(cosine_similarity(A, -A), -1, rtol=1e-6)


def test_zero_is_harmless():
    zero = jnp.zeros(8)
    np.testing.assert_array_equal(unit(zero), 0)
    assert cosine_similarity(zero, A[0]) == 0
    assert np.all(np.isfinite(jax.grad(cosine_similarity)(zero, A[0])))


def test_prior_keeps_the_pose():
    prior = semantic_prior(A, B[:, :3])
    np.testing.assert_array_equal(prior[:, 8:], B[:, :3])
    np.testing.assert_allclose(jnp.linalg.norm(prior[:, :8], axis=-1), 1, rtol=1e-6)


def test_gradients():
    check_grads(cosine_similarity, (A, B), 1, atol=1e-2, rtol=1e-2)
