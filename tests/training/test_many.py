"""Several subjects trained together are what each would be alone."""

import dataclasses
import json
import os
import pathlib
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.files.errors import InputError
from jaxhead.training import checkpoints, lanes, runs
from jaxhead.training.driving import LoopConfig, NonFiniteError
from jaxhead.training.loop import checkpoint_folder, load_variables, replay, train
from jaxhead.training.many import Subject, train_many
from jaxhead.training.progress import Progress

QUIET = Progress(quiet=True)
LOOP = LoopConfig(steps_per_dispatch=3, log_every=1, save_every_seconds=0, save_every_steps=6)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with toy_recipes.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


def recipe(name, **options):
    """`everything`, whose frames differ from subject to subject in number and content."""
    stage = toy_recipes.everything(**options)
    count = 40 + 8 * (ord(name) - ord("a"))

    def rotated(arrays, step):
        return {**arrays, "x": count / 40 * np.roll(toy_recipes.POINTS, step, axis=0)[:count],
                "count": np.int32(count)}  # fmt: skip

    def draw(arrays, rows, key, step, shard):
        del rows, step

        def one(key):
            # What was filled up is not looked at.
            index = jax.random.randint(key, (), 0, arrays["count"])
            return arrays["x"][index] + arrays["shift"]

        return {"x": jax.vmap(one)(shard.keys(key))}

    noise = dataclasses.replace(
        stage.feeds["noise"], arrays=rotated(stage.feeds["noise"].arrays, 0), refresh=rotated,
        sample=draw,
    )
    return dataclasses.replace(stage, feeds={**stage.feeds, "noise": noise})


def subjects(folder, names="abc", make=recipe, on_sample=None):
    return [Subject((make(name),), folder / name, on_sample) for name in names]


def together(folder, names="abc", *, make=recipe, on_sample=None, devices=1, loop=LOOP, **options):
    return train_many(
        subjects(folder, names, make, on_sample), loop=loop, progress=QUIET,
        devices=jax.local_devices()[:devices], **options,
    )  # fmt: skip


def state_of(run, stage="all"):
    folder = checkpoint_folder(run, stage)
    return checkpoints.read_checkpoint(folder, checkpoints.steps_in(folder)[-1]).state


def assert_equal(one, other, rtol=0.0):
    a, b = state_of(one), state_of(other)
    assert a.keys() == b.keys()
    for name in a:
        if rtol:
            x, y = (np.asarray(v[name], np.float64) for v in (a, b))
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol, err_msg=name)
        else:
            assert a[name].tobytes() == b[name].tobytes(), name
    if not rtol:
        logs = [(run / "metrics.jsonl").read_bytes() for run in (one, other)]
        assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Three runs, each trained alone: what the others are held against."""
    folder = tmp_path_factory.mktemp("alone")
    for name in "abc":
        train(
            [recipe(name)], folder / name, steps=14, seed=3, loop=LOOP, progress=QUIET,
            devices=jax.local_devices()[:1],
        )  # fmt: skip
    return folder


def test_in_turns_every_subject_equals_its_own_run_bit_for_bit(alone, tmp_path):
    """Three subjects on two devices: one place stays empty."""
    results = together(tmp_path, devices=2, steps=14, seed=3)
    assert [r.step for r in results] == [14] * 3
    for name in "abc":
        assert_equal(alone / name, tmp_path / name)


def test_side_by_side_every_subject_equals_its_own_run_within_rounding(alone, tmp_path):
    loop = dataclasses.replace(LOOP, together=3)
    together(tmp_path, devices=2, loop=loop, steps=14, seed=3)
    for name in "abc":
        assert_equal(alone / name, tmp_path / name, rtol=2e-5)
        lines = [json.loads(x) for x in (tmp_path / name / "metrics.jsonl").open()]
        assert [x["step"] for x in lines] == list(range(1, 15))


def test_a_training_side_by_side_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    loop = dataclasses.replace(LOOP, together=3, sample_every=7)
    together(tmp_path / "whole", loop=loop, steps=14)

    def stop(stage, step, variables, folder):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    parts = tmp_path / "parts"
    results = together(parts, loop=loop, steps=14, on_sample=stop)
    assert {(r.interrupted, r.step, r.steps) for r in results} == {("SIGTERM", 7, 14)}
    together(parts, loop=loop)
    for name in "abc":
        assert_equal(tmp_path / "whole" / name, parts / name)


def test_one_that_is_behind_catches_up_and_one_alone_goes_on_with_the_others(alone, tmp_path):
    """What a kill between two subjects' saves leaves behind, and captures that come later."""

    def stop(stage, step, variables, folder):
        os.kill(os.getpid(), signal.SIGTERM)

    loop = dataclasses.replace(LOOP, sample_every=8)
    train([recipe("a")], tmp_path / "a", steps=14, seed=3, loop=LOOP, progress=QUIET,
          devices=jax.local_devices()[:1])  # fmt: skip
    for name, at in (("b", 8), ("c", 4)):
        early = dataclasses.replace(loop, sample_every=at)
        together(tmp_path, name, loop=early, steps=14, seed=3, on_sample=stop)
    before = (tmp_path / "a" / "metrics.jsonl").stat().st_mtime_ns
    seen = []
    results = together(
        tmp_path, on_sample=lambda stage, step, variables, folder: seen.append(step)
    )
    assert [r.step for r in results] == [14] * 3 and seen == [14, 14]
    assert (tmp_path / "a" / "metrics.jsonl").stat().st_mtime_ns == before
    for name in "bc":
        assert_equal(alone / name, tmp_path / name)


def poisoned(name):
    """`fit` whose eleventh step is not finite for the subject b: what differs is an array."""
    stage = toy_recipes.fit()
    arrays = {"x": toy_recipes.POINTS, "poison": np.int32(11 if name == "b" else -1)}

    def draw(arrays, rows, key, step, shard):
        batch = toy_recipes.draw(arrays, rows, key, step, shard)
        return {"x": batch["x"] + jnp.where(step + 1 == arrays["poison"], jnp.nan, 0.0)}

    feeds = {
        name: dataclasses.replace(feed, arrays=arrays, sample=draw)
        for name, feed in stage.feeds.items()
    }
    return dataclasses.replace(stage, feeds=feeds)


@pytest.mark.parametrize("width", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_step_that_is_not_finite_is_named_by_subject_and_costs_no_checkpoint(tmp_path, width):
    loop = dataclasses.replace(LOOP, together=width, save_every_steps=8, validate_every=4, ahead=2)
    with pytest.raises(NonFiniteError, match=r"b: fit: .* not finite at step 11.*step 8"):
        together(tmp_path, "ab", make=poisoned, loop=loop, steps=20)
    for name in "ab":
        assert checkpoints.steps_in(checkpoint_folder(tmp_path / name, "fit"))[-1] == 8
    assert not (tmp_path / "a" / "nonfinite.json").exists()
    found = replay([poisoned("b")], tmp_path / "b", loop=LOOP, progress=QUIET,
                   devices=jax.local_devices()[:1])  # fmt: skip
    assert found.step == 11 and found.bad
    (result,) = together(tmp_path, "a", make=poisoned, loop=loop, steps=20)
    assert result.step == 20
    lines = [json.loads(x) for x in (tmp_path / "a" / "metrics.jsonl").open()]
    assert [x["step"] for x in lines if "validate/score" in x] == [4, 8, 12, 16, 20]
    assert load_variables(poisoned("a"), tmp_path / "a", seed=0, checkpoint="best")[1] in (
        checkpoints.steps_in(checkpoint_folder(tmp_path / "a", "fit"))
    )


def test_minutes_are_those_of_all(tmp_path):
    loop = dataclasses.replace(LOOP, save_every_steps=0)
    results = together(tmp_path, "ab", make=lambda name: poisoned("a"), loop=loop, minutes=0.001)
    (steps,) = {result.steps for result in results}
    assert steps > 1 and {result.step for result in results} == {steps}
    assert {runs.load_run(tmp_path / name).minutes for name in "ab"} == {0.001}


def test_what_does_not_belong_together_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"b: params.net.big is float32.*a None"):
        together(tmp_path, "ab", make=lambda name: {"a": poisoned, "b": large}[name](name), steps=2)
    with pytest.raises(InputError, match="two subjects in one run"):
        together(tmp_path, "aa", steps=2)
    together(tmp_path / "seeds", "a", make=poisoned, steps=1, seed=1)
    with pytest.raises(InputError, match="seed 1, not 2"):
        together(tmp_path / "seeds", "ab", make=poisoned, seed=2)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match="2 subjects in 2 processes"):
        together(tmp_path, "ab", steps=2)


def large(name):
    return dataclasses.replace(toy_recipes.large(), name="fit")


@pytest.mark.parametrize(
    "count, devices, together, platform, expected",
    [
        (8, 1, 0, "gpu", (1, 8)), (8, 1, 0, "cpu", (1, 1)), (8, 1, 4, "gpu", (1, 4)),
        (8, 4, 0, "tpu", (4, 2)), (5, 4, 0, "gpu", (3, 2)), (3, 8, 0, "gpu", (3, 1)),
        (3, 2, 0, "cpu", (2, 1)), (3, 2, 64, "cpu", (2, 2)),
    ],
)  # fmt: skip
def test_subjects_are_shared_out(count, devices, together, platform, expected):
    found = lanes.lane_shape(count, devices, together=together, platform=platform)
    assert found == expected


def test_smaller_arrays_end_in_zeros():
    arrays = [np.ones((2, 3), np.uint8), np.full((1, 4), 2, np.uint8)]
    made = lanes.filled(arrays, lanes.common_shape(arrays))
    np.testing.assert_array_equal(made[0], [[1, 1, 1, 0], [1, 1, 1, 0]])
    np.testing.assert_array_equal(made[1], [[2, 2, 2, 2], [0, 0, 0, 0]])
    with pytest.raises(ValueError, match="uint8"):
        lanes.common_shape([np.ones(2, np.uint8), np.ones(2, np.float32)])
