"""The transformer block: all tokens, and the first ones alone."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.networks.transformer import Block


def test_the_first_tokens_alone_are_those_of_all():
    tokens = jax.random.normal(jax.random.key(0), (2, 5, 12))
    mask = jnp.array([[True] * 5, [True, True, True, False, False]])
    sizes = dict(heads=3, hidden=20, layer_scale=True, precision="highest")
    variables = Block(**sizes).init(jax.random.key(1), tokens)
    variables = jax.tree.map(lambda x: x + 0.1, variables)

    @jax.jit
    def both(variables, tokens, mask):
        def total(tokens, rows):
            out = Block(**sizes, rows=rows).apply(variables, tokens, mask)[:, :2]
            return jnp.sum(out**2), out

        return [jax.grad(total, has_aux=True)(tokens, rows) for rows in (None, 2)]

    (whole_gradient, whole), (gradient, alone) = both(variables, tokens, mask)
    assert alone.shape == (2, 2, 12)
    np.testing.assert_allclose(alone, whole, atol=1e-5)
    np.testing.assert_allclose(gradient, whole_gradient, atol=1e-4)
    # Tokens that are looked at and do not come out matter; masked ones do not.
    assert np.abs(gradient[0, 2:]).max() > 1e-3
    np.testing.assert_array_equal(gradient[1, 3:], 0)
