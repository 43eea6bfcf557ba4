"""The training step: finite gradients, the same on many devices, occupancy that stays inside."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxhead.systems.avatar.data import make_feed
from jaxhead.systems.avatar.surface import GeometryCache
from jaxhead.training.system import Shard
from tests.several_devices import trained_on

PLAYER = "avatar"


@pytest.fixture(scope="module")
def feed(small):
    geometry = GeometryCache(
        small.inputs["vertices"], small.inputs["train"], small.frozen, config=small.config
    )
    yield make_feed(small.capture, small.spec, small.inputs, geometry, small.config)
    geometry.close()


@pytest.fixture(scope="module")
def batch(small, feed):
    arrays = feed.refresh(feed.arrays, 0)
    shard = Shard(jnp.int32(0), feed.batch, feed.batch)
    sample = jax.jit(feed.sample, static_argnums=1)
    return {"rays": sample(arrays, None, jax.random.key(2), 0, shard)}


def test_gradients_are_finite_everywhere_and_reach_every_part(small, variables, batch):
    update = small.stage().system.updates[0]

    @jax.jit
    def gradient(params, state, batch):
        def value(params):
            made = variables.replace(params={PLAYER: params}, state=state)
            return update.loss(made, None, batch, jax.random.key(0), jnp.int32(0))

        (loss, (terms, _)), slope = jax.value_and_grad(value, has_aux=True)(params)
        return loss, terms, slope

    params, state = variables.params[PLAYER], variables.state
    grid = state["occupancy"]
    empty = {"occupancy": grid._replace(thickness=jnp.zeros_like(grid.thickness))}
    full = {"occupancy": grid._replace(thickness=jnp.ones_like(grid.thickness))}
    solid = jax.tree.map(lambda x: 30 * x, params)
    away = batch["rays"]["head_to_camera"].at[:, 0, 3].add(50.0)
    away = {"rays": batch["rays"] | {"head_to_camera": away}}
    flat = jax.tree.map(jnp.zeros_like, params)
    for name, case in {
        "untrained": (params, state, batch),
        "empty grid": (params, empty, batch),
        "full grid": (params, full, batch),
        "solid": (solid, state, batch),
        "zero": (flat, state, batch),
        "nobody in view": (params, state, away),
    }.items():
        loss, terms, slope = gradient(*case)
        assert np.isfinite(loss), name
        assert all(np.isfinite(v).all() for v in jax.tree.leaves((terms, slope))), name
        if name == "untrained":
            for part, leaf in jax.tree_util.tree_leaves_with_path(slope):
                assert np.any(np.asarray(leaf) != 0), jax.tree_util.keystr(part)


def test_the_torso_costs_where_its_mask_says_there_is_none(small, variables, batch):
    update, key = small.stage().system.updates[0], jax.random.key(0)

    @jax.jit
    def term(variables, batch, torso_mask):
        masks = batch["rays"]["masks"].at[..., 2].set(torso_mask)
        made = {"rays": batch["rays"] | {"masks": masks}}
        _, (terms, _) = update.loss(variables, None, made, key, jnp.int32(0))
        return terms["idle"]

    def idle(torso_mask):
        return float(term(variables, batch, torso_mask))

    assert idle(1.0) == 0
    assert idle(0.0) > 0.01
    np.testing.assert_allclose(idle(0.5), 0.5 * idle(0.0), rtol=1e-5)


def test_half_a_mask_asks_for_half_an_opacity(small, variables, batch):
    update, key = small.stage().system.updates[0], jax.random.key(0)

    @jax.jit
    def term(variables, batch, mask):
        rays = batch["rays"]
        masks = rays["masks"].at[..., 1].set(mask)
        made = {"rays": rays | {"masks": masks}}
        _, (terms, _) = update.loss(variables, None, made, key, jnp.int32(0))
        return terms["head_mask"]

    none, half, whole = (float(term(variables, batch, mask)) for mask in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(none + whole, 1.0, rtol=1e-5)
    assert abs(0.5 - none) - 1e-6 <= half <= 0.5


def test_under_the_head_the_torso_alone_is_asked_for_the_picture(small, variables, batch):
    update, key = small.stage().system.updates[0], jax.random.key(0)

    @jax.jit
    def term(variables, batch, head, torso, rgb):
        rays = batch["rays"]
        masks = rays["masks"].at[..., 1].set(head).at[..., 2].set(torso)
        made = {"rays": rays | {"masks": masks, "rgb": jnp.full_like(rays["rgb"], rgb)}}
        _, (terms, _) = update.loss(variables, None, made, key, jnp.int32(0))
        return terms["rim"]

    both = float(term(variables, batch, 1.0, 1.0, 0.5))
    assert both > 0
    assert float(term(variables, batch, 1.0, 0.9, 0.5)) == 0
    assert float(term(variables, batch, 0.9, 1.0, 0.5)) == 0
    # Its colour counts, beside its opacity, which is the same.
    assert float(term(variables, batch, 1.0, 1.0, 3.0)) > both + 1


def test_refreshing_keeps_the_grid_inside_its_prior(small, variables, batch):
    system = small.stage().system
    refresh = jax.jit(system.refresh)
    prior = small.inputs["occupancy"]
    made = variables
    for step in range(3):
        state = refresh(made, batch, jax.random.key(step), jnp.int32(step))
        made = made.replace(state=state)
    thickness = np.asarray(made.state["occupancy"].thickness)
    assert np.all(thickness[~prior] == 0) and np.all(thickness >= 0)
    assert np.isfinite(thickness).all() and np.any(thickness != variables.state["occupancy"][0])


@pytest.mark.long
def test_four_devices_learn_what_one_learns(small, feed):
    # Plain steps: Adam would turn rounding of gradients near zero into whole steps.
    stage = dataclasses.replace(small.stage(feed), optimizers={PLAYER: optax.sgd(0.3)})
    (one, a, start), (four, b, _) = (trained_on(devices, stage, 3) for devices in (1, 4))
    np.testing.assert_allclose(four, one, rtol=1e-6)
    for x, y in zip(jax.tree.leaves((a.params, a.state)), jax.tree.leaves((b.params, b.state))):
        np.testing.assert_allclose(y, x, rtol=0, atol=1e-6 * max(1.0, np.abs(x).max()))
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), a.params, start.params)
    assert max(jax.tree.leaves(moved)) > 1e-3
