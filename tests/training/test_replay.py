import dataclasses
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.files.errors import InputError
from jaxhead.training.driving import LoopConfig, NonFiniteError
from jaxhead.training.loop import train
from jaxhead.training.progress import Progress
from jaxhead.training.replay import replay

LOOP = LoopConfig(steps_per_dispatch=3, log_every=1, save_every_seconds=0, save_every_steps=4)
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with toy_recipes.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


def stopped(path, stage, devices=1):
    local = jax.local_devices()[:devices]
    with pytest.raises(NonFiniteError, match="--replay"):
        train([stage], path, steps=20, loop=LOOP, devices=local, progress=QUIET)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    found = replay([stage], path, devices=local, loop=LOOP, progress=QUIET)
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before
    return found


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("where, first", [("loss", "loss"), ("gradient", "gradient of net b")])
def test_the_step_is_found_again_from_the_checkpoint_before(tmp_path, where, first, devices):
    found = stopped(tmp_path, toy_recipes.fit(poison=11, where=where), devices)
    assert (found.stage, found.step, found.start) == ("fit", 11, 8)
    assert found.bad[0] == first
    assert "first not finite: " + first in found.text()
    note = json.loads((tmp_path / "nonfinite.json").read_text())
    assert found.terms["first"] == note["values"]["first"]  # the very same batch


def _everything(poison):
    """The recipe with every kind of feed and player; one of its parts breaks at the 11th step."""
    stage = toy_recipes.everything()
    if poison == "rows":
        feed = stage.feeds["rows"]

        def following(position):
            rows, after = feed.next(position)
            if position["at"] == 160:  # of the 11th step
                rows["x"][3, 1] = float("nan")
            return rows, after

        return dataclasses.replace(
            stage, feeds={**stage.feeds, "rows": dataclasses.replace(feed, next=following)}
        )
    update = stage.system.updates[0]

    def loss(variables, outputs, batch, key, step):
        value, (terms, state) = update.loss(variables, outputs, batch, key, step)
        near = jnp.where(step == 10, jnp.inf, terms["near"])
        return value + 0 * near, (terms | {"near": near}, state)

    updates = (dataclasses.replace(update, loss=loss), *stage.system.updates[1:])
    return dataclasses.replace(stage, system=dataclasses.replace(stage.system, updates=updates))


@pytest.mark.parametrize("poison, first", [("rows", "batch rows.x"), ("term", "maker/near")])
def test_streams_players_and_refreshes_come_back(tmp_path, poison, first):
    stage = _everything(poison)
    if poison == "rows":  # the poisoned row must reach a player that is due
        second = dataclasses.replace(stage.system.updates[1], every=1)
        stage = dataclasses.replace(stage, system=dataclasses.replace(
            stage.system, updates=(stage.system.updates[0], second)))  # fmt: skip
    found = stopped(tmp_path, stage)
    assert found.step == 11 and found.bad[0] == first


def test_a_run_without_such_a_step_says_so(tmp_path):
    stage = toy_recipes.fit()
    train([stage], tmp_path, steps=3, loop=LOOP, progress=QUIET)
    with pytest.raises(InputError, match="no step of this run was not finite"):
        replay([stage], tmp_path, progress=QUIET)
    (tmp_path / "nonfinite.json").write_text("{}")
    with pytest.raises(InputError, match="nonfinite.json"):
        replay([stage], tmp_path, progress=QUIET)
