"""From windows of features in time to one code per frame, and its smoothing over frames.

The networks of AD-NeRF (Guo et al. 2021, section 3.2), which RAD-NeRF, ER-NeRF and GeneFace took
over with other features: DeepSpeech logits (29), HuBERT (1024), landmarks (204) or any other.
Parameters carry the published names, see `torch_layers`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import ArrayLike

from jaxhead.networks.torch_layers import conv, linear

SLOPE = 0.02
"""Of the leaky rectifiers."""
CHANNELS = (32, 32, 64, 64)


def window_frames(centre: ArrayLike, length: int) -> np.ndarray | jax.Array:
    """(length,) rows centre - length // 2 .. of `window_rows`, also those that do not exist."""
    return centre - length // 2 + np.arange(length)


def window_rows(features: jax.Array, centre: jax.Array, length: int) -> jax.Array:
    """Rows centre - length // 2 .. of an array in time; those outside it are zero.

    Args:
        features: (T, ...).
        centre: () int32 row; may be traced.
        length: rows of the window, static.

    Returns:
        (length, ...). With a length of 8 these are the rows centre - 4 .. centre + 3 (AD-NeRF).
    """
    rows = window_frames(centre, length)
    inside = (rows >= 0) & (rows < features.shape[0])
    taken = jnp.asarray(features)[jnp.clip(rows, 0, features.shape[0] - 1)]
    return jnp.where(inside.reshape(-1, *(1,) * (taken.ndim - 1)), taken, 0)


class AudioNet(nn.Module):
    """A window of features becomes a code: four convolutions of stride 2, then two linear layers.

    With a window of 1 the strides change nothing, so that this is also the per-frame encoder of
    GeneFace. Windows longer than 16 rows get further convolutions until one row is left.

    Attributes:
        codes: width of the code ("dim_aud").
        window: rows that are used, from the middle of what is given; None for all.
        precision: of the products, `jax.lax.Precision` or its name.
    """

    codes: int = 64
    window: int | None = None
    precision: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns (..., codes) of windows (..., T, F)."""
        if self.window is not None:
            if not 1 <= self.window <= x.shape[-2]:
                raise ValueError(f"a window of {self.window} rows out of {x.shape[-2]}")
            start = x.shape[-2] // 2 - self.window // 2
            x = x[..., start : start + self.window, :]
        lead, (rows, width) = x.shape[:-2], x.shape[-2:]
        x, layer = x.reshape(-1, rows, width), 0
        while layer < len(CHANNELS) or x.shape[-2] > 1:
            outputs = CHANNELS[min(layer, len(CHANNELS) - 1)]
            name = f"encoder_conv_{2 * layer}"
            x = conv(x.shape[-1], outputs, name, stride=2, precision=self.precision)(x)
            x, layer = nn.leaky_relu(x, SLOPE), layer + 1
        x = x.reshape(*lead, x.shape[-1])
        x = linear(x.shape[-1], 64, "encoder_fc1_0", precision=self.precision)(x)
        x = nn.leaky_relu(x, SLOPE)
        return linear(64, self.codes, "encoder_fc1_2", precision=self.precision)(x)


class AudioAttNet(nn.Module):
    """Codes of neighbouring frames become their weighted mean; the weights are learned.

    Attributes:
        looked_at: the first so many channels decide on the weights ("dim_aud": 32 in AD-NeRF, all
            64 in its successors).
        precision: of the products.
    """

    looked_at: int = 32
    precision: str | None = None

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """Returns (..., C) of codes (..., S, C); S is fixed by the parameters."""
        lead, (frames, width) = codes.shape[:-2], codes.shape[-2:]
        if width < self.looked_at:
            raise ValueError(f"codes of {width} channels, {self.looked_at} are looked at")
        y = codes.reshape(-1, frames, width)[..., : self.looked_at]
        for i, outputs in enumerate((16, 8, 4, 2, 1)):
            name = f"attentionConvNet_{2 * i}"
            y = conv(y.shape[-1], outputs, name, precision=self.precision)(y)
            y = nn.leaky_relu(y, SLOPE)
        y = linear(frames, frames, "attentionNet_0", precision=self.precision)(y[..., 0])
        weights = jax.nn.softmax(y, axis=-1).reshape(*lead, frames, 1)
        return jnp.sum(weights * codes, axis=-2)
