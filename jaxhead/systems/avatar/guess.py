"""The head's field where no frame shows it, held to what `captures.unseen` guesses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxhead.geometry import draws
from jaxhead.geometry.fusion import materialised
from jaxhead.geometry.volume import lookup
from jaxhead.losses.placement import GuessTerms, guess_terms
from jaxhead.systems.avatar import model
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.rays import density_unit, encoded_points, expression_share

GUESS = 1
"""Which random numbers of a frame's samples draw its guessed places."""
GUESS_DEPTH, GUESS_HEIGHT = 0.008, 0.012
"""Metres below and above the guessed surface in which places are drawn."""
GUESS_TURN = 0.8
"""Deviation of the direction from which such a place is seen, before normalising."""


def guessed_places(
    params: Any, jitter: jax.Array, condition: jax.Array, frozen: dict[str, Any],
    config: AvatarConfig,
) -> GuessTerms:
    """`guess_terms` at random places near the guessed surface.

    Args:
      params: of `model.init_head`.
      jitter: (b, ...) key data of b frames; condition: (b, k) theirs, under which
        `sampling.unseen` places each are looked at.
      frozen: the run's arrays; config: the run's.
    """
    count = config.sampling.unseen

    def draw(data):
        keys = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(data), GUESS), 3)
        return (
            jax.random.randint(keys[0], (count,), 0, len(frozen["unseen_points"])),
            jax.random.uniform(keys[1], (count,), minval=-GUESS_DEPTH, maxval=GUESS_HEIGHT),
            draws.normal(keys[2], (count, 3)),
        )

    drawn = materialised(jax.vmap(draw)(jitter))
    at, height, turn = (x.reshape(-1, *x.shape[2:]) for x in drawn)
    points, normals, colors, hidden = (
        frozen[f"unseen_{name}"][at] for name in ("points", "normals", "colors", "hidden")
    )
    points = points + height[:, None] * normals
    views = GUESS_TURN * turn - normals
    views /= jnp.linalg.norm(views, axis=-1, keepdims=True)
    share = expression_share(lookup(frozen["skin"], points, frozen["surface_box"]), config)
    box = frozen["box"]
    rgb, sigma, _ = model.head_field(
        params, encoded_points(points, box, config), views,
        model.region_condition(condition, share, config=config.field), config=config.field,
    )
    return guess_terms(sigma * density_unit(box, config), rgb, height, colors, hidden)
