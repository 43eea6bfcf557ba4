"""What the host measures anew during a training; `test_interruptions.py` kills such a training."""

import dataclasses
import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.files.arrays import read_npz, write_npz
from jaxhead.files.errors import InputError
from jaxhead.training import checkpoints as ckpt
from jaxhead.training.driving import LoopConfig
from jaxhead.training.loop import checkpoint_folder, train
from jaxhead.training.many import Subject, train_many
from jaxhead.training.progress import Progress
from jaxhead.training.revising import all_made, newest_revision, revision_file

LOOP = LoopConfig(steps_per_dispatch=3, log_every=1, save_every_seconds=0, save_every_steps=2)
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with toy_recipes.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


def run(path, stage, steps, **options):
    options = {"loop": LOOP, "devices": jax.local_devices()[:1], "progress": QUIET} | options
    return train([stage], path, steps=steps, **options)


def final(path, step):
    return ckpt.read_checkpoint(checkpoint_folder(path, "all"), step).state


def same(first, second):
    return all(first[leaf].tobytes() == second[leaf].tobytes() for leaf in first)


def recipe(**changes):
    stage = toy_recipes.everything()
    assert stage.revision is not None
    return dataclasses.replace(stage, revision=dataclasses.replace(stage.revision, **changes))


def test_it_comes_at_its_steps_with_what_is_trained_and_the_training_follows_it(tmp_path):
    seen = []
    original = toy_recipes.everything().revision.measure

    def measure(variables, arrays, last, say, stopped):
        seen.append((last, np.array(arrays["shift"]), np.array(variables.params["maker"]["w"])))
        return original(variables, arrays, last, say, stopped)

    run(tmp_path / "a", recipe(measure=measure), 10)
    assert [last for last, _, _ in seen] == [False, True]
    first = read_npz(revision_file(tmp_path / "a", "all", 4))["shift"]
    np.testing.assert_array_equal(first, 0.5 * seen[0][2].mean(1))
    np.testing.assert_array_equal(seen[1][1], first)
    # The average that rendering uses is what it sees.
    at = ckpt.read_checkpoint(checkpoint_folder(tmp_path / "a", "all"), 10).state
    average = next(v for k, v in at.items() if "ema" in k and k.endswith("w"))
    np.testing.assert_array_equal(seen[1][2], average)
    run(tmp_path / "b", dataclasses.replace(toy_recipes.everything(), revision=None), 10)
    log = [(tmp_path / x / "metrics.jsonl").read_text().splitlines() for x in "ab"]
    assert log[0][:4] == log[1][:4] and log[0][4] != log[1][4]


@pytest.mark.parametrize("stop", [4, 6, 10])
def test_a_run_that_goes_on_is_the_run_that_was_never_stopped(tmp_path, stop):
    run(tmp_path / "whole", recipe(), 10)
    stopping = toy_recipes.stop_at(stop)
    loop = dataclasses.replace(LOOP, sample_every=1)
    run(tmp_path / "parts", recipe(), 10, on_sample=stopping, loop=loop)
    run(tmp_path / "parts", recipe(), 10)
    assert same(final(tmp_path / "whole", 10), final(tmp_path / "parts", 10))
    assert all_made(recipe(), tmp_path / "parts", 10)


@pytest.mark.parametrize("at", [4, 10])
def test_cut_short_by_a_signal_it_is_made_at_the_next_start(tmp_path, at):
    run(tmp_path / "whole", recipe(), 10)
    original = recipe().revision.measure

    def measure(variables, arrays, last, say, stopped):
        if last == (at == 10):
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        return original(variables, arrays, last, say, stopped)

    result = run(tmp_path / "cut", recipe(measure=measure), 10)
    assert result.interrupted == "SIGTERM" and result.step == at
    assert not revision_file(tmp_path / "cut", "all", at).exists()
    assert not all_made(recipe(), tmp_path / "cut", 10)
    result = run(tmp_path / "cut", recipe(), 10)
    assert result.step == 10 and result.interrupted is None
    assert same(final(tmp_path / "whole", 10), final(tmp_path / "cut", 10))
    assert all_made(recipe(), tmp_path / "cut", 10)


def test_a_file_of_later_steps_is_made_again(tmp_path):
    run(tmp_path / "whole", recipe(), 10)
    run(tmp_path / "back", recipe(), 10)
    for step in ckpt.steps_in(checkpoint_folder(tmp_path / "back", "all")):
        import shutil

        shutil.rmtree(checkpoint_folder(tmp_path / "back", "all") / str(step))
    wrong = revision_file(tmp_path / "back", "all", 4)
    write_npz(wrong, {"shift": np.ones(8, np.float32)})
    run(tmp_path / "back", recipe(), 10)
    assert same(final(tmp_path / "whole", 10), final(tmp_path / "back", 10))


def test_a_longer_run_keeps_what_it_has(tmp_path):
    run(tmp_path, recipe(), 6)
    held = newest_revision(tmp_path, "all", 6)["shift"]
    seen = []

    def measure(variables, arrays, last, say, stopped):
        seen.append((last, np.array(arrays["shift"])))
        return {"shift": arrays["shift"] + np.float32(1)}

    run(tmp_path, recipe(measure=measure), 20)
    assert [last for last, _ in seen] == [False, True]  # of steps 8 and 20
    np.testing.assert_array_equal(seen[0][1], held)
    assert len(newest_revision(tmp_path, "all", 5)) == 1
    assert newest_revision(tmp_path, "all", 1) == {}


def test_a_missing_or_wrong_file_is_named(tmp_path):
    run(tmp_path, recipe(), 10)
    last, first = (revision_file(tmp_path, "all", step) for step in (10, 4))
    write_npz(last, {"shift": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match=r"all_00000010.npz: shift is float32\[3\], expected .*8"):
        run(tmp_path, recipe(), 14)
    write_npz(last, {"other": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="other is float32.*no such array"):
        run(tmp_path, recipe(), 14)
    last.unlink()
    first.unlink()
    with pytest.raises(InputError, match="all_00000006.npz: missing"):
        run(tmp_path, recipe(), 14)


@pytest.mark.parametrize("together", [pytest.param(1, marks=pytest.mark.long), 2])
def test_many_subjects_are_each_revised(tmp_path, together):
    for seed in (0, 1):
        run(tmp_path / f"alone{seed}", recipe(), 10, seed=seed)
    subjects = [Subject((recipe(),), tmp_path / f"beside{seed}", None) for seed in (0, 1)]
    from jaxhead.training.runs import create_run

    for seed, subject in enumerate(subjects):
        create_run(subject.run, system="", config={}, seed=seed)
    loop = dataclasses.replace(LOOP, together=together)
    train_many(subjects, steps=10, loop=loop, devices=jax.local_devices()[:1], progress=QUIET)
    for seed in (0, 1):
        alone = newest_revision(tmp_path / f"alone{seed}", "all", 10)["shift"]
        beside = newest_revision(tmp_path / f"beside{seed}", "all", 10)["shift"]
        np.testing.assert_allclose(beside, alone, rtol=1e-5, atol=1e-6)
