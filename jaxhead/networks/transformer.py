"""The pre-norm transformer block of vision transformers (Dosovitskiy et al. 2021, section 3.1)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxhead.networks.state_dicts import Names, layer_names, norm_names


def quick_gelu(x: jax.Array) -> jax.Array:
    """Returns x sigmoid(1.702 x), OpenAI's approximation of the GELU."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: jax.Array) -> jax.Array:
    """Returns the exact GELU."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"quick_gelu": quick_gelu, "gelu": gelu}


class LayerNorm(nn.LayerNorm):
    """Layer normalisation with the variance of centred values, as PyTorch computes it."""

    epsilon: float = 1e-5
    use_fast_variance: bool = False


class PatchEmbedding(nn.Module):
    """A token per patch: a convolution whose windows do not overlap, as a product with each.

    Attributes:
        width: channels of a token.
        patch: side of a patch in pixels.
        use_bias: whether a bias is added.
        dtype, precision: see `Attention`.
    """

    width: int
    patch: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    precision: str | None = None

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Returns (B, h w, D) float32, row by row, for pixels (B, h patch, w patch, C)."""
        batch, height, width, channels = pixels.shape
        shape = (self.patch, self.patch, channels, self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        rows, columns = height // self.patch, width // self.patch
        windows = pixels.reshape(batch, rows, self.patch, columns, self.patch, channels)
        windows = windows.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)
        tokens = jnp.matmul(
            windows.astype(self.dtype), kernel.reshape(-1, self.width).astype(self.dtype),
            precision=self.precision,
        ).astype(jnp.float32)  # fmt: skip
        if self.use_bias:
            tokens += self.param("bias", nn.initializers.zeros, (self.width,))
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention.

    Attributes:
        heads: number of heads; divides the width.
        dtype: compute type of the products; the softmax is float32.
        precision: of the products.
        rows: how many tokens look, from the first; None for all.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32
    precision: str | None = None
    rows: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns (..., rows or N, D) for tokens (..., N, D).

        Args:
            x: tokens.
            mask: (..., N) bool, tokens that are looked at; None for all.
        """
        width = x.shape[-1]

        def per_head(name, tokens):
            dense = nn.Dense(width, dtype=self.dtype, precision=self.precision, name=name)
            return dense(tokens).reshape(*tokens.shape[:-1], self.heads, width // self.heads)

        looking = x[..., : self.rows, :]
        query, key, value = per_head("query", looking), per_head("key", x), per_head("value", x)
        scores = jnp.einsum("...qhd,...khd->...hqk", query, key, precision=self.precision)
        scores = scores.astype(jnp.float32) * (width // self.heads) ** -0.5
        if mask is not None:
            scores = jnp.where(mask[..., None, None, :], scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores).astype(self.dtype)
        out = jnp.einsum("...hqk,...khd->...qhd", weights, value, precision=self.precision)
        return nn.Dense(width, dtype=self.dtype, precision=self.precision, name="out")(
            out.reshape(looking.shape)
        )


class Block(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added to them.

    Attributes:
        heads: of the attention.
        hidden: width of the perceptron.
        activation: key of `ACTIVATIONS`.
        epsilon: of the normalisations.
        layer_scale: whether each branch is multiplied by a learned scale per channel (DINOv2).
        dtype, precision: see `Attention`.
        rows: how many tokens come out, from the first; None for all. The others are looked at,
            and cost no more than that.
    """

    heads: int
    hidden: int
    activation: str = "gelu"
    epsilon: float = 1e-5
    layer_scale: bool = False
    dtype: jnp.dtype = jnp.float32
    precision: str | None = None
    rows: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns (..., rows or N, D) for tokens (..., N, D); `mask` as for `Attention`."""
        width = x.shape[-1]

        def dense(size, name):
            return nn.Dense(size, dtype=self.dtype, precision=self.precision, name=name)

        def scaled(branch, name):
            if not self.layer_scale:
                return branch
            return branch * self.param(name, nn.initializers.constant(1e-5), (width,))

        attention = Attention(
            self.heads, self.dtype, self.precision, self.rows, name="attention"
        )
        branch = attention(LayerNorm(epsilon=self.epsilon, name="norm_1")(x), mask)
        x = x[..., : self.rows, :] + scaled(branch, "scale_1").astype(x.dtype)
        branch = dense(self.hidden, "up")(LayerNorm(epsilon=self.epsilon, name="norm_2")(x))
        branch = dense(width, "down")(ACTIVATIONS[self.activation](branch))
        return x + scaled(branch, "scale_2").astype(x.dtype)


def block_names(
    ours: str, *, query: str, key: str, value: str, out: str, norms: tuple[str, str],
    up: str, down: str, scales: tuple[str, str] | None = None,
) -> Names:
    """Returns the name map of a block: published names of its parts, whole, without ".weight"."""
    names: Names = {}
    for theirs, part in ((query, "query"), (key, "key"), (value, "value"), (out, "out")):
        names |= layer_names(theirs, f"{ours}/attention/{part}")
    names |= layer_names(up, f"{ours}/up") | layer_names(down, f"{ours}/down")
    for number, theirs in enumerate(norms, 1):
        names |= norm_names(theirs, f"{ours}/norm_{number}")
    for number, theirs in enumerate(scales or (), 1):
        names[theirs] = f"params/{ours}/scale_{number}"
    return names
