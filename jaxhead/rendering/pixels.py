"""Which pixels of a picture a training step looks at."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhead.geometry import draws

_CANDIDATES = 4
"""Tries per ray to land in the wanted region; one that fails keeps its weight through the mask."""


def draw_pixels(key: jax.Array, box: jax.Array, near: jax.Array, count: int, wanted: bool):
    """(count, 2) int32 x, y drawn from `box`, of several tries the first with `near` as wanted."""
    low, high = box[:2], box[2:]
    tries = draws.uniform(key, (_CANDIDATES, count, 2))
    tries = jnp.floor(low + tries * (high - low)).astype(jnp.int32)
    limit = jnp.array([near.shape[1] - 1, near.shape[0] - 1])
    tries = jnp.clip(tries, 0, limit)
    good = (near[tries[..., 1], tries[..., 0]] > 0) == wanted
    first = jnp.argmax(good, axis=0)
    return jnp.take_along_axis(tries, first[None, :, None], axis=0)[0]


def pixels_in_boxes(key: jax.Array, boxes: jax.Array, count: int, size: tuple[int, int]):
    """(count, 2) int32 x, y in a picture of (width, height), each in one of boxes (k, 4)."""
    which, where = jax.random.split(key)
    box = boxes[jax.random.randint(which, (count,), 0, len(boxes))]
    place = box[:, :2] + draws.uniform(where, (count, 2)) * (box[:, 2:] - box[:, :2])
    return jnp.clip(jnp.floor(place).astype(jnp.int32), 0, jnp.array(size) - 1)
