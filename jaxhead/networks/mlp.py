"""The bias-free ReLU perceptron of instant-ngp's networks (tiny-cuda-nn)."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.custom_derivatives import SymbolicZero

from jaxhead.geometry import draws


def _fan_in_uniform(key, shape, dtype=jnp.float32):
    """Uniform in +-1/sqrt(fan in): PyTorch's default for a linear layer, which the port keeps."""
    bound = 1.0 / math.sqrt(shape[0])
    return draws.weights(key, shape, bound, dtype)


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

    def columns(
        self,
        params: Mapping[str, Any],
        x: jax.Array | Sequence[jax.Array],
        shared: jax.Array | None = None,
    ) -> jax.Array:
        """Returns (outputs, n) for x (inputs, n): the same function of each column.

        On a CPU the step through a network of small layers is a quarter faster like this than on
        rows: the gradient of a kernel is then a product along both operands' contiguous axis. Only
        for reverse-mode differentiation.

        Args:
            params: this module's.
            x: inputs, a sample per column; several arrays (k_i, n) stand one above the other, and
                the gradient of one that nobody asks for is not computed.
            shared: (first inputs, n / r), each column the first inputs of r samples that stand
                together (a ray's): the first layer's products with them are computed once for all.
        """
        kernels = tuple(params[f"layer_{i}"]["kernel"] for i in range(self.layers))
        blocks = (x,) if isinstance(x, jax.Array | np.ndarray) else tuple(x)
        shared = jnp.zeros((0, blocks[0].shape[1]), blocks[0].dtype) if shared is None else shared
        return _perceptron(kernels, blocks, shared, jnp.dtype(self.dtype), self.precision)


def _layer(kernel, x, dtype, precision):
    # Turned first: by itself XLA's CPU backend leaves that to the product, which then takes up to
    # four times as long (three outputs).
    turned = jax.lax.optimization_barrier(kernel.astype(dtype).T)
    return jnp.matmul(turned, x, precision=precision)


def _first_layer(kernel, x, shared, dtype, precision):
    count = len(shared)
    out = _layer(kernel[count:], x, dtype, precision)
    if count == 0:
        return out
    alike = _layer(kernel[:count], shared, dtype, precision)
    return (_by_group(out, shared) + alike[..., None]).reshape(out.shape)


def _by_group(x, shared):
    """Columns (k, n) as (k, n / r, r)."""
    return x.reshape(len(x), shared.shape[1], x.shape[1] // max(1, shared.shape[1]))


def _activations(kernels, blocks, shared, dtype, precision):
    """Returns what goes into all layers (into the first beside `shared`), and the output."""
    x = jnp.concatenate([block.astype(dtype) for block in blocks])
    values, shared = [x], shared.astype(dtype)
    for i, kernel in enumerate(kernels):
        if i == 0:
            x = _first_layer(kernel, values[0], shared, dtype, precision)
        else:
            x = _layer(kernel, values[-1], dtype, precision)
        values.append(x if i == len(kernels) - 1 else jnp.maximum(x, 0))
    return values


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _perceptron(kernels, blocks, shared, dtype, precision):
    return _activations(kernels, blocks, shared, dtype, precision)[-1]


def _perceptron_forward(kernels, blocks, shared, dtype, precision):
    # Of the blocks only their sizes and types are needed, and whether, statically, a gradient is
    # wanted: () is, None is not.
    like = tuple(
        (jnp.zeros((len(b.value), 0), b.value.dtype), () if b.perturbed else None) for b in blocks
    )
    kernels, shared = tuple(k.value for k in kernels), shared.value
    blocks = [block.value for block in blocks]
    *inputs, out = _activations(kernels, blocks, shared, dtype, precision)
    return out, (kernels, inputs, shared, like)


def _perceptron_backward(dtype, precision, residuals, gradient):
    """The chain rule; where a ReLU was open is read off its output, so that only that is kept."""
    kernels, inputs, shared, like = residuals
    if isinstance(gradient, SymbolicZero):
        return None, None, None
    found, count = [], len(shared)

    def of_kernel(x, gradient):
        along_samples = (((1,), (1,)), ((), ()))
        return jax.lax.dot_general(x, gradient, along_samples, precision=precision)

    for kernel, x in zip(kernels[:0:-1], inputs[:0:-1]):
        # Before the next layer's products, while both operands are in the caches.
        one, gradient = jax.lax.optimization_barrier((of_kernel(x, gradient), gradient))
        found.append(one.astype(kernel.dtype))
        gradient = jnp.matmul(kernel.astype(dtype), gradient, precision=precision)
        gradient = jnp.where(x > 0, gradient, 0)
    first = kernels[0].astype(dtype)
    one, gradient = jax.lax.optimization_barrier((of_kernel(inputs[0], gradient), gradient))
    of_shared = jnp.zeros_like(shared)
    if count:
        together = _by_group(gradient, shared).sum(-1)
        one = jnp.concatenate([of_kernel(shared.astype(dtype), together), one])
        of_shared = jnp.matmul(first[:count], together, precision=precision).astype(shared.dtype)
    found.append(one.astype(kernels[0].dtype))
    of_blocks = []
    for block, wanted in like:
        kernel, count = first[count : count + len(block)], count + len(block)
        of_blocks.append(
            None
            if wanted is None
            else jnp.matmul(kernel, gradient, precision=precision).astype(block.dtype)
        )
    return tuple(found[::-1]), tuple(of_blocks), of_shared


_perceptron.defvjp(_perceptron_forward, _perceptron_backward, symbolic_zeros=True)
