"""The bias-free ReLU perceptron of instant-ngp's networks (tiny-cuda-nn)."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn


def _fan_in_uniform(key, shape, dtype=jnp.float32):
    """Uniform in +-1/sqrt(fan in): PyTorch's default for a linear layer, which the port keeps."""
    bound = 1.0 / math.sqrt(shape[0])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


class BiasFreeMLP(nn.Module):
    """`layers` linear layers without biases, ReLU between them, none after the last.

    Attributes:
        layers: number of linear layers, hidden ones and the last.
        hidden: width of the hidden layers.
        outputs: number of outputs.
        dtype: compute type of the products; parameters stay float32.
        precision: of the products, `jax.lax.Precision` or its name; None is the backend's default.
    """

    layers: int
    hidden: int
    outputs: int
    dtype: jnp.dtype = jnp.float32
    precision: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns (..., outputs) for x (..., inputs)."""
        for i in range(self.layers):
            last = i == self.layers - 1
            x = nn.Dense(
                self.outputs if last else self.hidden,
                use_bias=False,
                dtype=self.dtype,
                precision=self.precision,
                kernel_init=_fan_in_uniform,
                name=f"layer_{i}",
            )(x)
            x = x if last else nn.relu(x)
        return x
