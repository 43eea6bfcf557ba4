"""The networks of the avatar: the head's field F(p', E, d) -> (colour, density), and the torso's.

The head's field is the patent's (CN117115331B, stage 4) with INSTA's layers
(`networks/hash_field.py`); here is what the avatar makes of its condition.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhead.captures.pose_predictor import POSE
from jaxhead.geometry.fusion import materialised
from jaxhead.networks.hash_field import (
    Params,
    bounded_exp,
    color_net,
    density_net,
    grid_config,
    head_field,
    init_head,
)
from jaxhead.networks.torso_field import init_torso, torso_field
from jaxhead.systems.avatar.config import FieldConfig, TorsoConfig

__all__ = [
    "Params", "bounded_exp", "color_net", "density_net", "grid_config", "head_field", "init_head",
    "init_torso", "pose_numbers", "region_condition", "torso_field", "torso_layer",
]  # fmt: skip


def torso_layer(
    params: Params, points: jax.Array, condition: jax.Array, *, config: TorsoConfig
) -> tuple[jax.Array, jax.Array]:
    """(n, 3) colour and (n,) opacity of the torso; nothing where it is not shown.

    Args:
      params: {"head", "torso"} of an avatar, without "torso" where it is not shown.
      points: (n, 2); condition: (n, c) of `torso_field`.
      config: the torso's.
    """
    if not config.shown:
        return jnp.zeros((len(points), 3)), jnp.zeros((len(points),))
    return torso_field(params["torso"], points, condition, config=config)


def pose_numbers(config: FieldConfig) -> int:
    """How many of a condition's last numbers are the head's pose."""
    return POSE if config.pose else 0


def region_condition(
    condition: jax.Array, share: jax.Array, *, config: FieldConfig
) -> jax.Array:
    """(k, n) condition by place: hair and neck that hang on expressions fit noise.

    The head's pose counts where expressions do not: as a head turns, hair falls and is lit
    otherwise, while a face that hung on its pose would learn the clip's coincidences by heart.

    Args:
      condition: (b, k) expression coefficients, then the `pose_numbers` of the head's pose, of b
        frames whose samples stand together, n / b each.
      share: (n,) in [0, 1], how much a sample belongs to the region that expressions shape, of
        `hull.skin_volume`.
      config: `expression_region` "face" fades to the mean expression (zeros) elsewhere, "lips" is
        INSTA's rule (`region_condition` of its core: ones elsewhere), "everywhere" ignores `share`.
    """
    # Stored: inside the networks' first operand every element would draw its frame's noise anew.
    condition, share = materialised((condition.T, share.reshape(len(condition), -1)))
    count = len(condition) - pose_numbers(config)
    expression, pose = condition[:count, :, None], (1 - share) * condition[count:, :, None]
    if config.expression_region == "everywhere":
        expression = jnp.broadcast_to(expression, (count, *share.shape))
    else:
        rest = 1.0 if config.expression_region == "lips" else 0.0
        expression = rest + share * (expression - rest)
    return jnp.concatenate([expression, pose]).reshape(-1, share.size)
