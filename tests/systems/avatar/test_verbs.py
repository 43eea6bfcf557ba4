"""Training and rendering through the verbs: resuming, refusals, and that it learns."""

import dataclasses
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from jaxhead.app.main import main
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar import verbs
from jaxhead.training import checkpoints
from jaxhead.training.configuration import override
from jaxhead.training.loop import checkpoint_folder
from jaxhead.training.progress import Progress
from jaxhead.training.runs import load_run

QUIET = Progress(quiet=True)


def train(folder, out, config, **options):
    captures = [] if folder is None else [folder]
    return verbs.train(captures, out, config=config, devices=1, progress=QUIET, **options)


def state_of(run):
    folder = checkpoint_folder(run, "avatar")
    return checkpoints.read_checkpoint(folder, checkpoints.steps_in(folder)[-1]).state


def without_pictures(monkeypatch, at=None):
    """Sampling costs a compilation; with `at`, a signal comes at that step instead."""

    def sample(stage, step, variables, folder):
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(verbs, "_sampler", lambda *_: sample)


@pytest.fixture(scope="module")
def whole(folder, config, tmp_path_factory):
    """A run of eight steps without interruption."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_pictures(monkeypatch)
        result = train(folder, out, config)
    assert result.step == 8 and np.isfinite(result.loss)
    return out


def test_a_resumed_run_is_bit_equal(whole, folder, config, tmp_path, monkeypatch):
    out = tmp_path / "run"
    without_pictures(monkeypatch, at=4)
    loop = dataclasses.replace(config.loop, sample_every=4)
    stopped = train(folder, out, dataclasses.replace(config, loop=loop))
    assert stopped.interrupted == "SIGTERM" and stopped.step == 4
    built = (out / "geometry.npz").stat().st_mtime_ns
    without_pictures(monkeypatch)
    finished = train(None, out, config)  # the run knows its capture
    assert finished.step == 8 and finished.interrupted is None
    assert (out / "geometry.npz").stat().st_mtime_ns == built
    expected, found = state_of(whole), state_of(out)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.tobytes() == found[name].tobytes(), name
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_setting_that_contradicts_the_run_is_refused(whole, folder, config):
    before = (whole / "run.json").read_bytes()
    for assignment in ("field.hidden=32", "loss.color=2.0"):
        with pytest.raises(InputError, match=f"{assignment} contradicts"):
            train(folder, whole, override(config, [assignment]))
    with pytest.raises(InputError, match="seed 0, not 1"):
        train(folder, whole, config, seed=1)
    # How it is driven is not part of what is learned.
    assert train(folder, whole, override(config, ["loop.log_every=3"])).step == 8
    assert (whole / "run.json").read_bytes() == before


def copied(whole, tmp_path, **source):
    """A copy of a run whose record of its capture is changed."""
    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    document = json.loads((out / "run.json").read_text())
    document["sources"][0] |= source
    (out / "run.json").write_text(json.dumps(document))
    return out


def test_a_capture_that_has_moved_is_named_and_can_be_given(whole, folder, config, tmp_path):
    out = copied(whole, tmp_path, path=str(tmp_path / "gone"))
    with pytest.raises(InputError, match="gone"):
        train(None, out, config)
    assert train(folder, out, config).step == 8


def test_another_capture_is_refused(whole, folder, config, tmp_path):
    out = copied(whole, tmp_path, digest="f" * 64)
    with pytest.raises(InputError, match="made from ffffffffffff"):
        train(folder, out, config)
    with pytest.raises(InputError, match="made from ffffffffffff"):
        verbs.render_stream(out, RenderOptions(capture=str(folder)))


def test_a_run_needs_one_capture_to_begin(folder, config, tmp_path):
    with pytest.raises(InputError, match="expected a capture"):
        train(None, tmp_path / "run", config)
    with pytest.raises(InputError, match="2 were given"):
        verbs.train([folder, folder], tmp_path / "run", config=config, progress=QUIET)
    assert not (tmp_path / "run").exists()


def learner(config):
    """Small enough for seconds, large enough for a face of 64 pixels."""
    return dataclasses.replace(
        config,
        field=dataclasses.replace(config.field, levels=4, log2_size=12, hidden=32,
                                  expression_noise=0.0, direction_noise=0.0),
        torso=dataclasses.replace(config.torso, levels=4, log2_size=11, finest_resolution=64,
                                  motion_noise=0.0),
        surface=dataclasses.replace(config.surface, pool=12),
        sampling=dataclasses.replace(config.sampling, head_rays=96, torso_rays=64, samples=12,
                                     segments=32, occupancy_resolution=32, occupancy_every=16),
        steps=500,
        loop=dataclasses.replace(config.loop, steps_per_dispatch=10, log_every=50),
    )  # fmt: skip


@pytest.fixture(scope="module")
def learned(folder, config, tmp_path_factory):
    """A run that saw the twelve training frames until it knew them."""
    out = tmp_path_factory.mktemp("learned") / "run"
    assert train(folder, out, learner(config)).step == 500
    return out


def test_it_learns_the_frames_it_sees(learned, small):
    out = learned
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"]
    stream = verbs.render_stream(out, RenderOptions(split="train"))
    error, plate_error, depths = [], [], []
    for frame, picture in zip(stream.frame_ids, stream.frames):
        truth = small.capture.frame(frame) / 255
        error.append(np.mean((picture["rgb"] - truth) ** 2))
        plate_error.append(np.mean((small.capture.background / 255 - truth) ** 2))
        depths.append(picture["depth"].max())
    psnr, plate = (-10 * np.log10(np.mean(e)) for e in (error, plate_error))
    assert len(error) == 12 and min(depths) > 0.3
    assert psnr > 27 > plate + 8
    pictures = sorted((out / "samples").iterdir())
    assert pictures[-1].name == "step_000500.png"


def test_a_render_says_what_it_shows(learned, small, folder):
    out = learned
    stream = verbs.render_stream(out, RenderOptions(split="all", frames=2))
    assert stream.count == 2 and stream.frame_ids == [0, 1] and stream.size == (64, 64)
    assert stream.capture.digest == load_run(out).sources[0]["digest"]
    assert len(stream.audio) == 2 * 640 and stream.audio_rate == 16000
    meshes = list(stream.vertices)
    assert len(meshes) == 2 and stream.faces.max() < len(meshes[0])
    np.testing.assert_array_equal(meshes[0], small.capture.vertices[0])


def test_a_render_without_its_capture_says_so(whole, tmp_path):
    out = copied(whole, tmp_path, path=str(tmp_path / "gone"))
    stream = verbs.render_stream(out, RenderOptions())
    assert stream.capture is None and stream.audio is None
    assert any("gone" in note for note in stream.notes)


def test_rendering_and_evaluating_connect_to_nothing_and_listen_nowhere(
    learned, tmp_path, monkeypatch, unconnected
):
    """Also where the landmark model is missing: it is not fetched."""
    pytest.importorskip("av")
    for name in ("JAXHEAD_ASSETS", "JAXHEAD_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    assert main(["render", str(learned), "--out", str(tmp_path / "o.mp4"), "--frames", "2"]) == 0
    assert main(["evaluate", str(learned), "--out", str(tmp_path / "scores")]) == 0
    assert (tmp_path / "o.mp4").is_file() and (tmp_path / "scores" / "sheet.png").is_file()


def test_the_largest_preset_can_be_built(small):
    config = verbs.presets["insta"]()
    stage = small.stage(config=config)
    shapes = jax.eval_shape(stage.system.init, jax.random.key(0)).params["avatar"]
    assert sum(np.prod(t.shape) for t in shapes["head"]["tables"]) > 10e6
    assert stage.steps == 33000
