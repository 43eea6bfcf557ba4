"""Whole pictures of a trained avatar, one compiled program for all of a render."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.predict import predict
from jaxhead.systems.avatar.requests import Requests
from jaxhead.systems.avatar.surface import frame_geometry
from jaxhead.systems.avatar.system import PLAYER
from jaxhead.training.system import Variables


@functools.partial(jax.jit, static_argnames=("size", "config"))
def _picture(params, state, frozen, vertices, request, *, size, config):
    request = request | {"geometry": frame_geometry(vertices, frozen, config=config)}
    return predict(params, state, frozen, request, size=size, config=config)


def renderer(
    variables: Variables, frozen: dict[str, Any], size: tuple[int, int], config: AvatarConfig
) -> Callable[[Requests, int], dict[str, jax.Array]]:
    """A function (requests, index) -> the picture of `predict`.

    Compiled once in a process for all trained states of one size and configuration.
    """
    params, state = variables.params[PLAYER], variables.state
    frozen = {name: jnp.asarray(value) for name, value in frozen.items()}

    def render(requests: Requests, index: int) -> dict[str, jax.Array]:
        pose, own = requests.head_to_camera[index], requests.own_poses[index]
        request = {
            "K": requests.K,
            "head_to_camera": pose,
            "camera_from_own": pose @ np.linalg.inv(own) if np.any(pose != own) else np.eye(4),
            "condition": requests.condition[index],
            "sway": requests.sway[index],
            "torso_motion": requests.torso_motion[index],
            "torso_condition": requests.torso_condition[index],
            "background": requests.background,
        }
        request = {name: jnp.asarray(value, jnp.float32) for name, value in request.items()}
        vertices = jnp.asarray(requests.vertices[index])
        return _picture(params, state, frozen, vertices, request, size=size, config=config)

    return render
