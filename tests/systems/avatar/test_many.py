"""Avatars of several captures at once are those of each capture alone."""

import dataclasses
import json
import os
import pathlib
import signal

import numpy as np
import pytest

from jaxhead.captures.synthetic import synthesize
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar import many, verbs
from jaxhead.systems.avatar.inputs import prepare
from jaxhead.training import checkpoints
from jaxhead.training.configuration import override
from jaxhead.training.loop import checkpoint_folder
from jaxhead.training.progress import Progress
from jaxhead.training.runs import load_run

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A capture of another person, of fewer frames and voxels than `folder`."""
    path = tmp_path_factory.mktemp("capture") / "other"
    return synthesize(path, frames=10, size=64, seed=3, novel_frames=0)


@pytest.fixture
def sampler(monkeypatch):
    """Sampling costs a compilation; a signal comes at the step that is put into the list."""
    at = []

    def sample(stage, step, variables, folder):
        if step in at:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(verbs, "_sampler", lambda *_: sample)
    return at


def state_of(run):
    folder = checkpoint_folder(run, "avatar")
    return checkpoints.read_checkpoint(folder, checkpoints.steps_in(folder)[-1]).state


def largest_difference(run, wanted):
    a, b = state_of(run), state_of(wanted)
    assert a.keys() == b.keys()
    return max(np.abs(a[k].astype(float) - b[k]).max(initial=0.0) for k in a)


@pytest.fixture
def tiny(config):
    """Little to compile, everything in it; pictures every four steps."""
    return override(config, [
        "field.levels=1", "field.hidden=8", "field.density_layers=1", "field.color_layers=1",
        "torso.levels=1", "torso.hidden=8", "torso.layers=1", "surface.resolution=16",
        "loop.sample_every=4",
    ])  # fmt: skip


@pytest.mark.long
def test_every_avatar_is_that_of_its_capture_alone(folder, other, tiny, tmp_path, sampler):
    options = dict(steps=6, devices=1, progress=QUIET)
    alone, both = tmp_path / "alone", [folder, other]
    verbs.train([other], alone, config=tiny, seed=2, **options)
    # In turns, stopped and gone on with: bit for bit.
    sampler.append(4)
    stopped = many.train(both, tmp_path / "turns", config=tiny, seed=2, **options)
    assert {(r.interrupted, r.step) for r in stopped} == {("SIGTERM", 4)}
    sampler.clear()
    finished = many.train([], tmp_path / "turns", config=tiny, devices=1, progress=QUIET)
    assert [r.step for r in finished] == [6, 6]
    turns = tmp_path / "turns" / "other"
    assert largest_difference(turns, alone) == 0.0
    assert (turns / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()
    # What rendering and evaluating read is the same too.
    one, two = (json.loads((run / "run.json").read_text()) for run in (turns, alone))
    assert one == two
    one, two = load_run(turns).inputs(), load_run(alone).inputs()
    assert one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)
    shapes = [tuple(load_run(tmp_path / "turns" / n).spec["shape"]) for n in ("made", "other")]
    assert shapes[0] != shapes[1]
    # Side by side: within rounding.
    side = override(tiny, ["loop.together=2"])
    many.train(both, tmp_path / "side", config=side, seed=2, **options)
    assert largest_difference(tmp_path / "side" / "other", alone) < 1e-4


def test_what_cannot_train_together_is_refused_before_anything_is_made(
    folder, config, tmp_path, monkeypatch
):
    namesake = tmp_path / "elsewhere" / "made"
    with pytest.raises(InputError, match="elsewhere/made: another capture is called made"):
        many.train([folder, namesake], tmp_path / "out", config=config)
    with pytest.raises(InputError, match="no runs there"):
        many.train([], tmp_path / "out", config=config)
    sizes = {"made": "64 x 64", "large": "128 x 128"}
    monkeypatch.setattr(many, "_fixed", lambda run, path, config: {"pixels": sizes[path.name]})
    large = pathlib.Path("large")
    with pytest.raises(InputError, match="large: 128 x 128 pixels, .*made has 64 x 64.*--size"):
        many.train([folder, large], tmp_path / "out", config=config)
    with pytest.raises(InputError, match="one run trains on one capture, 2"):
        verbs.train([folder, large], tmp_path / "out", config=config)
    assert not (tmp_path / "out").exists()


def test_what_the_program_depends_on_is_found(small, folder, config, tmp_path):
    bvh = override(config, ["surface.nearest=bvh"])
    found = many._fixed(tmp_path / "new", folder, bvh)
    assert found == {
        "pixels": "64 x 64", "numbers in the condition": small.spec.components,
        "nodes of sway per side": 17,
        "triangles": len(small.head.faces),
    }  # fmt: skip
    assert many._fixed(small.run.path, None, config)["numbers in the condition"] == 10


@pytest.mark.parametrize("expression", ["components", "coefficients"])
def test_the_length_of_the_condition_is_known_before_a_run_is_made(small, expression):
    field = dataclasses.replace(small.config.field, expression=expression, expression_dims=99)
    config = dataclasses.replace(small.config, field=field)
    known = many._fixed(small.folder, small.folder, config)["numbers in the condition"]
    assert known == prepare(small.capture, config)[0].components
