"""The field held to the guess of what no frame shows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhead.captures.body_size import ROWS
from jaxhead.systems.avatar.guess import guessed_places
from jaxhead.systems.avatar.inputs import prepare

KEYS = jax.random.key_data(jax.random.split(jax.random.key(3), 4))


@pytest.mark.long
def test_frames_are_drawn_apart_so_that_devices_may_share_them(small, variables):
    condition = jax.random.normal(jax.random.key(0), (4, small.spec.components))
    places = jax.jit(functools.partial(guessed_places, config=small.config))
    head, frozen = variables.params["avatar"]["head"], small.frozen
    whole = places(head, KEYS, condition, frozen)
    halves = [
        places(head, KEYS[k : k + 2], condition[k : k + 2], frozen) for k in (0, 2)
    ]
    for all_, *some in zip(whole, *halves):
        assert all_ > 0
        np.testing.assert_allclose(all_, sum(some) / 2, rtol=1e-5)


def test_a_step_downhill_fills_what_is_guessed_solid(small, variables):
    condition = jnp.zeros((4, small.spec.components))
    head = variables.params["avatar"]["head"]

    @jax.jit
    def descend(params):
        def loss(params):
            terms = guessed_places(params, KEYS, condition, small.frozen, small.config)
            return terms.unseen + terms.unseen_color
        value, slopes = jax.value_and_grad(loss)(params)
        # Steps of one size, as Adam's first ones are.
        return value, jax.tree.map(lambda p, g: p - 0.01 * jnp.sign(g), params, slopes)

    values = []
    for _ in range(30):
        value, head = descend(head)
        values.append(float(value))
    assert values[-1] < 0.7 * values[0]


def test_where_nobody_asks_nothing_is_guessed(small):
    surface = dataclasses.replace(small.config.surface, hull=False)
    loss = dataclasses.replace(small.config.loss, unseen=0.0)
    config = dataclasses.replace(small.config, surface=surface, loss=loss)
    _, arrays = prepare(small.capture, config)
    assert arrays["unseen_points"].shape == (0, 3)
    assert small.inputs["unseen_points"].shape == (8192, 3)
    assert small.inputs["body"].shape == (len(ROWS),)
