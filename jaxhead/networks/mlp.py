"""The bias-free ReLU perceptron of instant-ngp's networks (tiny-cuda-nn)."""

import functools
import math
from collections.abc import Mapping
from typing import Any

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

    def columns(self, params: Mapping[str, Any], x: jax.Array) -> jax.Array:
        """Returns (outputs, n) for x (inputs, n): the same function of each column.

        On a CPU the step through a network of small layers is a quarter faster like this than on
        rows: the gradient of a kernel is then a product along both operands' contiguous axis. Only
        for reverse-mode differentiation.

        Args:
            params: this module's.
            x: inputs, a sample per column.
        """
        kernels = tuple(params[f"layer_{i}"]["kernel"] for i in range(self.layers))
        return _perceptron(kernels, x, jnp.dtype(self.dtype), self.precision)


def _layer(kernel, x, dtype, precision):
    return jax.lax.dot_general(
        kernel.astype(dtype), x, (((0,), (0,)), ((), ())), precision=precision
    )


def _activations(kernels, x, dtype, precision):
    """Returns the inputs of all layers and the output."""
    values = [x.astype(dtype)]
    for i, kernel in enumerate(kernels):
        x = _layer(kernel, values[-1], dtype, precision)
        values.append(x if i == len(kernels) - 1 else jnp.maximum(x, 0))
    return values


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _perceptron(kernels, x, dtype, precision):
    return _activations(kernels, x, dtype, precision)[-1]


def _perceptron_forward(kernels, x, dtype, precision):
    *inputs, out = _activations(kernels, x, dtype, precision)
    return out, (kernels, inputs, jnp.zeros((0,), x.dtype))


def _perceptron_backward(dtype, precision, residuals, gradient):
    """The chain rule; where a ReLU was open is read off its output, so that only that is kept."""
    kernels, inputs, like = residuals
    found = []
    for kernel, x in zip(kernels[::-1], inputs[::-1]):
        along_samples = (((1,), (1,)), ((), ()))
        of_kernel = jax.lax.dot_general(x, gradient, along_samples, precision=precision)
        # Before the next layer's products, while both operands are in the caches.
        of_kernel, gradient = jax.lax.optimization_barrier((of_kernel, gradient))
        found.append(of_kernel.astype(kernel.dtype))
        gradient = jnp.matmul(kernel.astype(dtype), gradient, precision=precision)
        if len(found) < len(kernels):
            gradient = jnp.where(x > 0, gradient, 0)
    return tuple(found[::-1]), gradient.astype(like.dtype)


_perceptron.defvjp(_perceptron_forward, _perceptron_backward)
