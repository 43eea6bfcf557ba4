import dataclasses
import json
import os
import pathlib
import signal
import sys

import jax
import numpy as np
import optax
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.files.errors import InputError
from jaxhead.files.locks import RunLock
from jaxhead.training import checkpoints, runs
from jaxhead.training.loop import (
    LoopConfig,
    NonFiniteError,
    checkpoint_folder,
    load_variables,
    train,
)
from jaxhead.training.optimizers import OptimizerConfig, adam
from jaxhead.training.progress import Progress
from jaxhead.training.system import Carry, Feed, Stage

QUIET = LoopConfig(steps_per_dispatch=3, log_every=1, save_every_seconds=0, sample_every=7)


class Crash(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with toy_recipes.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


def run(path, stages, devices=1, **options):
    options.setdefault("loop", QUIET)
    options.setdefault("progress", Progress(quiet=True))
    stages = stages if isinstance(stages, list) else [stages]
    return train(stages, path, devices=jax.local_devices()[:devices], **options)


def state_of(path, stage):
    folder = checkpoint_folder(path, stage)
    return checkpoints.read_checkpoint(folder, checkpoints.steps_in(folder)[-1]).state


def assert_bit_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


@pytest.fixture(scope="module", params=[1, 4])
def whole(request, tmp_path_factory):
    """An uninterrupted run of the recipe that has every kind of state."""
    path = tmp_path_factory.mktemp("whole")
    run(path, toy_recipes.everything(), request.param, steps=24)
    return request.param, path


@pytest.mark.parametrize("how", ["signal", "crash"])
def test_a_resumed_run_is_bit_equal(whole, tmp_path, how):
    devices, reference = whole

    def end(stage, step, variables, folder):
        if step == 14 and how == "crash":
            raise Crash
        if step == 14:
            os.kill(os.getpid(), signal.SIGTERM)

    loop = dataclasses.replace(QUIET, save_every_steps=5)
    stage = toy_recipes.everything()
    if how == "crash":
        with pytest.raises(Crash):
            run(tmp_path, stage, devices, steps=24, loop=loop, on_sample=end)
    else:
        result = run(tmp_path, stage, devices, steps=24, loop=loop, on_sample=end)
        assert result.interrupted == "SIGTERM" and result.step == 14
    kept = checkpoints.steps_in(checkpoint_folder(tmp_path, "all"))
    assert kept[-1] == (10 if how == "crash" else 14)
    result = run(tmp_path, toy_recipes.everything(), devices, loop=loop)
    assert result.step == 24 and result.interrupted is None
    assert_bit_equal(state_of(reference, "all"), state_of(tmp_path, "all"))
    for name in ("metrics.jsonl",):
        assert (tmp_path / name).read_bytes() == (reference / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == list(range(1, 25))
    assert "critic/loss" in lines[5] and "critic/loss" not in lines[6]


def test_resuming_on_other_device_counts(tmp_path):
    def end(stage, step, variables, folder):
        os.kill(os.getpid(), signal.SIGTERM)

    said = []
    progress = Progress(quiet=True)
    progress.say = said.append
    stage = toy_recipes.everything()
    run(tmp_path / "a", stage, 4, steps=20)
    for devices in (4, 1, 2):
        run(tmp_path / "b", stage, devices, steps=20, on_sample=end, progress=progress)
    assert any("1 device" in line and "2 devices" in line for line in said)
    a, b = ([json.loads(x) for x in (tmp_path / n / "metrics.jsonl").open()] for n in "ab")
    assert [x["step"] for x in a] == [x["step"] for x in b] == list(range(1, 21))
    np.testing.assert_allclose([x["loss"] for x in a], [x["loss"] for x in b], rtol=1e-6)


def test_minutes_become_steps_of_the_run_and_equal_a_run_of_that_many_steps(tmp_path):
    stage = toy_recipes.fit(optimizer=optax.sgd(0.01))
    first = run(tmp_path / "a", stage, minutes=0.003)
    steps = runs.load_run(tmp_path / "a").steps["fit"]
    assert first.steps == first.step == steps > 1
    assert runs.load_run(tmp_path / "a").minutes == 0.003
    again = run(tmp_path / "a", stage, minutes=0.003)
    assert again.step == steps and again.seconds == 0.0
    run(tmp_path / "b", stage, steps=steps)
    one, other = (tmp_path / n / "metrics.jsonl" for n in "ab")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("where, metric", [("loss", "loss"), ("gradient", "gradient")])
def test_a_loss_that_is_not_finite_stops_the_run_by_name(tmp_path, where, metric):
    loop = dataclasses.replace(QUIET, save_every_steps=3, log_every=100, ahead=2)
    stage = toy_recipes.fit(poison=11, where=where)
    with pytest.raises(NonFiniteError, match=rf"{metric} is not finite at step 11.*step 9"):
        run(tmp_path, stage, steps=20, loop=loop)
    note = json.loads((tmp_path / "nonfinite.json").read_text())
    assert note["step"] == 11 and metric in note["metric"]
    folder = checkpoint_folder(tmp_path, "fit")
    assert checkpoints.steps_in(folder) == [6, 9]
    state = checkpoints.read_checkpoint(folder, 9).state
    assert all(np.isfinite(x).all() for x in state.values())
    assert not (tmp_path / ".lock").exists()


def test_nothing_is_compiled_and_nothing_piles_up_after_the_first_steps(tmp_path):
    seen, compiled = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )

    def sample(stage, step, variables, folder):
        seen.append((len(compiled), len(jax.live_arrays())))

    loop = LoopConfig(
        steps_per_dispatch=4, log_every=3, sample_every=20, save_every_steps=30,
        save_every_seconds=0,
    )  # fmt: skip
    try:
        run(tmp_path, toy_recipes.fit(), 2, steps=200, loop=loop, on_sample=sample)
    finally:
        jax.monitoring.clear_event_listeners()
    assert len(seen) == 10 and seen[0][0] > 0
    assert len({count for count, _ in seen[1:]}) == 1
    assert seen[-1][1] <= seen[1][1]


def test_a_run_in_use_is_refused_with_the_pid(tmp_path):
    with RunLock(tmp_path), pytest.raises(InputError, match=str(os.getpid())):
        run(tmp_path, toy_recipes.fit(), steps=3)


def test_contradictions_are_refused(tmp_path):
    run(tmp_path, toy_recipes.fit(), steps=3, seed=1)
    with pytest.raises(InputError, match="seed 1, not 2"):
        run(tmp_path, toy_recipes.fit(), seed=2)
    with pytest.raises(InputError, match="steps or minutes"):
        run(tmp_path, toy_recipes.fit(), steps=3, minutes=1)
    with pytest.raises(InputError, match="-1"):
        run(tmp_path, toy_recipes.fit(), steps=-1)


def test_seeds_differ_and_equal_seeds_agree(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, toy_recipes.fit(), steps=5, seed=seed)
    a, b, c = ((tmp_path / n / "metrics.jsonl").read_bytes() for n in "abc")
    assert a == b != c


def test_samples_and_validation(tmp_path):
    seen = []

    def sample(stage, step, variables, folder):
        seen.append((step, variables.params["net"]["w"].shape, variables.frozen["w"].shape))
        (folder / f"{step}.txt").write_text("x")

    loop = dataclasses.replace(QUIET, validate_every=4)
    run(tmp_path, toy_recipes.fit(), 2, steps=16, loop=loop, on_sample=sample)
    assert seen == [(step, (8, 1), (8, 1)) for step in (7, 14, 16)]
    assert sorted(p.name for p in (tmp_path / "samples").iterdir())[0] == "14.txt"
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    scores = {x["step"]: x["validate/score"] for x in lines if "validate/score" in x}
    assert sorted(scores) == [4, 8, 12, 16]
    folder = checkpoint_folder(tmp_path, "fit")
    best = max(scores, key=scores.get)
    assert checkpoints.best_step(folder) == best
    assert load_variables(toy_recipes.fit(), tmp_path, seed=0, checkpoint="best")[1] == best
    variables, step = load_variables(toy_recipes.fit(), tmp_path, seed=0)
    assert step == 16
    saved = checkpoints.read_checkpoint(folder, 16).state["ema.net.w"]
    np.testing.assert_array_equal(variables.params["net"]["w"], saved)
    with pytest.raises(InputError, match="99"):
        load_variables(toy_recipes.fit(), tmp_path, seed=0, checkpoint=99)


def _two_stages(batch=16):
    rough = toy_recipes.fit(name="rough", steps=6)
    fine = dataclasses.replace(
        toy_recipes.fit(name="fine", steps=3, batch=batch),
        initialise_from={"net": Carry("rough", optimizer=True)},
    )
    return [rough, fine]


def test_stages_follow_each_other_and_resume(tmp_path):
    run(tmp_path / "a", _two_stages(), steps=18)
    assert runs.load_run(tmp_path / "a").steps == {"rough": 12, "fine": 6}

    def end(stage, step, variables, folder):
        if (stage.name, step) == ("fine", 3):
            os.kill(os.getpid(), signal.SIGINT)

    loop = dataclasses.replace(QUIET, sample_every=3)
    result = run(tmp_path / "b", _two_stages(), steps=18, loop=loop, on_sample=end)
    assert result.interrupted == "SIGINT"
    run(tmp_path / "b", _two_stages())
    a, b = ((tmp_path / n / "metrics.jsonl").read_bytes() for n in "ab")
    assert a == b
    lines = [json.loads(line) for line in a.splitlines()]
    assert [x["stage"] for x in lines] == ["rough"] * 12 + ["fine"] * 6
    assert lines[12]["loss"] < lines[0]["loss"]
    moments = state_of(tmp_path / "a", "fine")
    assert moments["opt_state.net.0.count"] == 18
    assert_bit_equal(state_of(tmp_path / "a", "fine"), state_of(tmp_path / "b", "fine"))


def test_a_stage_that_cannot_take_over_says_what_does_not_fit(tmp_path):
    rough, fine = _two_stages()
    rough = dataclasses.replace(rough, optimizers={"net": optax.sgd(0.1)})
    with pytest.raises(InputError, match="opt_state.net.* does not fit stage fine"):
        run(tmp_path, [rough, fine], steps=9)


def test_a_failing_host_stream_ends_the_run_with_its_own_error(tmp_path):
    stage = toy_recipes.everything()

    def following(position):
        if position["at"] > 64:
            raise InputError("clip.mp4: cut off")
        return toy_recipes.stream(16)(position)

    feeds = {**stage.feeds, "rows": dataclasses.replace(stage.feeds["rows"], next=following)}
    with pytest.raises(InputError, match="cut off"):
        run(tmp_path, dataclasses.replace(stage, feeds=feeds), steps=24)


def test_refreshed_arrays_are_what_the_step_says(tmp_path):
    calls = []

    def rotate(arrays, step):
        calls.append(step)
        return {"x": np.full((4, 1), step, np.float32)}

    def sample(arrays, rows, key, step, shard):
        return {"x": arrays["x"][jax.numpy.zeros(shard.count, int)]}

    def loss(variables, outputs, batch, key, step):
        value = jax.numpy.sum(variables.params["net"]["b"] ** 2)
        return value, ({"seen": batch["points"]["x"][0, 0]}, variables.state)

    base = toy_recipes.fit(optimizer=adam(OptimizerConfig()))
    update = dataclasses.replace(base.system.updates[0], loss=loss)
    system = dataclasses.replace(base.system, updates=(update,), validate=None)
    feed = Feed(4, sample, {"x": np.zeros((4, 1), np.float32)}, refresh=rotate, refresh_every=5)
    stage = Stage("fit", system, {"points": feed}, base.optimizers)
    run(tmp_path, stage, 2, steps=12)
    run(tmp_path, stage, 2, steps=17)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [x["seen"] for x in lines] == [(s // 5) * 5 for s in range(17)]
    assert calls == [0, 5, 10, 10, 15]


def test_training_and_loading_connect_to_nothing_and_listen_nowhere(tmp_path, unconnected):
    run(tmp_path, toy_recipes.everything(), steps=6)
    assert load_variables(toy_recipes.everything(), tmp_path, seed=0)[1] == 6
