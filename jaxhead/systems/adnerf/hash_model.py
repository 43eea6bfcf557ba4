"""The fast variant's networks: what a frame's speech and pose become, and the two fields.

What RAD-NeRF (Tang et al. 2022) did with CUDA extensions: the field of the head on a hash grid in
rigid head space, told the audio code; the torso as a picture that deforms with the head's pose.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxhead.captures.pose_predictor import POSE
from jaxhead.geometry.fusion import materialised
from jaxhead.networks.audio_condition import AudioAttNet, AudioNet
from jaxhead.networks.hash_field import init_head
from jaxhead.networks.torch_layers import linear
from jaxhead.networks.torso_field import init_torso
from jaxhead.systems.adnerf.hash_config import HashConfig, SpeechConfig

Params = dict[str, Any]
SMOOTHED = 8
"""Frames whose codes attention weighs, as in AD-NeRF."""
TORSO_CONDITION = 2 * POSE
_BOUND = 3.0


class SpeechNet(nn.Module):
    """Windows of the frames around a frame become the numbers that the face is told.

    AD-NeRF's audio network and its attention over eight frames (section 3.2 of Guo et al. 2021),
    and a linear layer to a few numbers: twenty seconds of speech do not teach sixty-four.

    Attributes:
        config: sizes.
    """

    config: SpeechConfig

    @nn.compact
    def __call__(self, windows: jax.Array) -> jax.Array:
        """Returns (..., dims), within ±3, of windows (..., 8, T, F)."""
        codes = AudioNet(codes=self.config.codes, name="audio")(windows)
        code = AudioAttNet(looked_at=32, name="attention")(codes)
        numbers = linear(self.config.codes, self.config.dims, "numbers")(code)
        # Bounded, so that noise on the numbers cannot be outgrown.
        return _BOUND * jnp.tanh(numbers / _BOUND)


def conditions(config: HashConfig, rest: int) -> int:
    """Length of the head's condition: speech, the rest of the expression, the head's pose."""
    return config.speech.dims + rest + (POSE if config.field.pose else 0)


def init(key: jax.Array, config: HashConfig, *, width: int, window: int, rest: int) -> Params:
    """Parameters {"head", "torso", "speech"}.

    Args:
      key: typed key.
      config: sizes.
      width: features of a row; window: rows; rest: numbers of the expression beside speech.
    """
    head, torso, speech = jax.random.split(key, 3)
    windows = jnp.zeros((1, SMOOTHED, window, width))
    return {
        "head": init_head(head, config.field, conditions(config, rest)),
        "torso": init_torso(torso, config.torso, TORSO_CONDITION),
        "speech": SpeechNet(config.speech).init(speech, windows)["params"],
    }


def speech_numbers(params: Params, windows: jax.Array, *, config: SpeechConfig) -> jax.Array:
    """(..., dims) what the face is told of windows (..., 8, T, F) of normalised features."""
    numbers: Any = SpeechNet(config).apply({"params": params}, windows)
    return numbers


def condition_by_place(
    condition: jax.Array, shares: jax.Array, *, config: HashConfig
) -> jax.Array:
    """(k, n) condition of samples: speech counts at the mouth, the pose at hair and neck.

    Args:
      condition: (b, k) of b frames whose samples stand together, n / b each: speech, rest, pose.
      shares: (n, 2) in [0, 1]: how much looks follow the expression, how much they follow speech.
      config: which numbers are which.
    """
    dims = config.speech.dims
    # Stored: inside the networks' first operand every element would draw its frame's noise anew.
    condition, shares = materialised((condition.T, shares.T.reshape(2, len(condition), -1)))
    expression, speech = shares
    end = len(condition) - (POSE if config.field.pose else 0)
    parts = [
        speech * condition[:dims, :, None],
        expression * condition[dims:end, :, None],
        (1 - expression) * condition[end:, :, None],
    ]
    return jnp.concatenate(parts).reshape(len(condition), -1)
