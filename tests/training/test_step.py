import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.files.errors import InputError
from jaxhead.training.state import create_state, root_key, stream, variables_of
from jaxhead.training.stepping import Stepper
from jaxhead.training.system import Feed, Shard, Stage, System, Update, Variables


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with toy_recipes.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


def stepper_of(stage, devices, length=8, seed=0):
    variables = stage.system.init(stream(root_key(seed, stage.name), "init"))
    state = create_state(stage, variables)
    local = jax.local_devices()[:devices]
    arrays = {
        name: jax.tree.map(lambda x: jnp.stack([x] * devices), feed.arrays)
        for name, feed in stage.feeds.items()
    }
    made = Stepper(
        stage, seed=seed, devices=local, length=length, state=state, frozen=variables.frozen
    )
    return made, arrays


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("devices", [2, 4])
def test_gradients_on_many_devices_equal_those_on_one(devices):
    stage = toy_recipes.fit(batch=24, optimizer=optax.sgd(1.0))
    one, many = stepper_of(stage, 1), stepper_of(stage, devices)
    for made, arrays in (one, many):
        made.dispatch(arrays, {}, 1, 10)
    a, b = one[0].host_state().params, many[0].host_state().params
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)
    shards = jax.tree.leaves(many[0]._state)
    assert all(np.array_equal(s.data, x.addressable_shards[0].data)
               for x in shards for s in x.addressable_shards)  # fmt: skip


def test_a_batch_that_does_not_divide_is_refused_by_name_and_numbers():
    with pytest.raises(InputError, match=r"points.* 18 .* 4 .*multiple of 4"):
        stepper_of(toy_recipes.fit(batch=18), 4)


def test_random_numbers_do_not_depend_on_the_split():
    key = jax.random.key(5)

    def drawn(parts):
        count = 12 // parts
        shards = [Shard(offset=jnp.int32(i * count), count=count, total=12) for i in range(parts)]
        arrays = {"x": toy_recipes.POINTS}
        drawing = jax.jit(toy_recipes.draw, static_argnums=1)
        return np.concatenate([drawing(arrays, None, key, 0, shard)["x"] for shard in shards])

    np.testing.assert_array_equal(drawn(1), drawn(3))
    np.testing.assert_array_equal(drawn(1), drawn(4))


def test_splitting_a_run_into_dispatches_changes_no_bit_and_compiles_once(monkeypatch):
    stage = toy_recipes.fit()
    whole, arrays = stepper_of(stage, 2)
    parts, _ = stepper_of(stage, 2)
    whole.dispatch(arrays, {}, 8, 30)
    whole.wait()
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    try:
        for total in (20, 30):
            whole.dispatch(arrays, {}, 2, total)
            whole.wait()
    finally:
        jax.monitoring.clear_event_listeners()
    assert not compiled
    for count in (3, 1, 4):
        parts.dispatch(arrays, {}, count, 30)
    for total in (20, 30):
        parts.dispatch(arrays, {}, 2, total)
    assert parts.step() == 12
    assert equal(whole.host_state(), parts.host_state())


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_that_is_not_finite_changes_nothing_and_stops_for_good(where, devices):
    poisoned, arrays = stepper_of(toy_recipes.fit(poison=6, where=where), devices)
    healthy, _ = stepper_of(toy_recipes.fit(), devices)
    metrics = poisoned.dispatch(arrays, {}, 8, 30)
    poisoned.dispatch(arrays, {}, 8, 30)
    assert poisoned.step() == 5
    assert np.asarray(metrics["stopped"]).all()
    assert np.isfinite(np.asarray(metrics["loss"])[:, :5]).all()
    assert np.isfinite(np.asarray(metrics["loss"])[0, 5]) == (where == "gradient")
    healthy.dispatch(arrays, {}, 5, 30)
    if where == "loss":
        assert equal(poisoned.host_state(), healthy.host_state())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(poisoned.host_state()))


def _pair(shared):
    """Two players whose losses meet in a product, with the product made in `forward` or in each
    loss.
    """

    def init(key):
        a, b = jax.random.split(key)
        params = {"a": {"w": jax.random.normal(a, (8,))}, "b": {"w": jax.random.normal(b, (8,))}}
        return Variables(params=params, state={"calls": jnp.int32(0)})

    def product(variables, batch):
        return (batch["d"]["x"] @ variables.params["a"]["w"]) * variables.params["b"]["w"][0]

    def forward(variables, batch, key, step):
        state = {"calls": variables.state["calls"] + 1}
        return {"product": product(variables, batch), "id": jnp.arange(3)}, state

    def first(variables, outputs, batch, key, step):
        out = outputs["product"] if shared else product(variables, batch)
        return jnp.mean((out - 1) ** 2), ({}, variables.state)

    def second(variables, outputs, batch, key, step):
        out = outputs["product"] if shared else product(variables, batch)
        value = jnp.mean(jnp.abs(out)) + jnp.sum(variables.params["b"]["w"] ** 2)
        return value, ({}, variables.state)

    system = System(
        init=init,
        updates=(Update("b", second), Update("a", first, every=2)),
        forward=forward if shared else None,
    )
    feeds = {"d": Feed(8, toy_recipes.draw, {"x": toy_recipes.POINTS})}
    # A rate of zero for b: otherwise the second loss would see b's new params only where it
    # computes the product by itself.
    optimizers = {"a": optax.sgd(0.1), "b": optax.sgd(0.0)}
    return Stage("pair", system, feeds, optimizers)


def test_losses_differentiate_through_what_the_players_share():
    shared, arrays = stepper_of(_pair(True), 1)
    alone, _ = stepper_of(_pair(False), 1)
    for made in (shared, alone):
        made.dispatch(arrays, {}, 5, 5)
    a, b = shared.host_state(), alone.host_state()
    np.testing.assert_allclose(a.params["a"]["w"], b.params["a"]["w"], rtol=1e-5)
    assert a.state["calls"] == 5


def test_every_and_start_say_when_a_player_moves():
    stage = toy_recipes.everything()
    made, _ = stepper_of(stage, 1)
    arrays = {name: jax.tree.map(lambda x: jnp.asarray(x)[None], feed.arrays)
              for name, feed in stage.feeds.items()}  # fmt: skip
    rows = stage.feeds["rows"].next(stage.feeds["rows"].start)[0]
    rows = {"rows": jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 8)[None], rows)}
    before = made.host_state().params["critic"]["w"]
    moved = []
    for _ in range(7):
        made.dispatch(arrays, rows, 1, 10)
        after = made.host_state().params["critic"]["w"]
        moved.append(not np.array_equal(before, after))
        before = after
    assert moved == [False, False, False, True, False, True, False]
    assert made.host_state().state["count"] == 2


def test_every_kind_of_state_is_the_same_on_all_devices_and_on_one():
    stage = toy_recipes.everything(batch=16)
    rows, states = stage.feeds["rows"].next(stage.feeds["rows"].start)[0], []
    for devices in (1, 4):
        made, arrays = stepper_of(stage, devices)
        split = jax.tree.map(
            lambda x, d=devices: jnp.stack([x.reshape(d, 16 // d, *x.shape[1:])] * 8, 1), rows
        )
        made.dispatch(arrays, {"rows": split}, 6, 10)
        for leaf in jax.tree.leaves(made._state):
            shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
            assert all(np.array_equal(shard, shards[0]) for shard in shards)
        states.append(made.host_state())
    assert states[0].state["seen"].any() and not states[0].state["seen"].all()
    for a, b in zip(jax.tree.leaves(states[0]), jax.tree.leaves(states[1])):
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=1e-5, atol=1e-6)


def test_averages_follow_the_params():
    stage = toy_recipes.fit()
    made, arrays = stepper_of(stage, 1)
    made.dispatch(arrays, {}, 8, 30)
    state = made.host_state()
    averaged = variables_of(state, {}, ema=True).params["net"]["w"]
    plain = variables_of(state, {}).params["net"]["w"]
    start = stage.system.init(stream(root_key(0, "fit"), "init")).params["net"]["w"]
    np.testing.assert_array_equal(averaged, state.ema["net"]["w"])
    assert 0 < np.linalg.norm(averaged - plain) < np.linalg.norm(plain - start)
