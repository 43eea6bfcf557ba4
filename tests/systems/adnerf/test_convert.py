"""A released checkpoint becomes a run that renders and goes on."""

import dataclasses

import numpy as np
import pytest
from systems.adnerf.published_files import body_file, head_file, write_stream

from jaxhead.app.main import main
from jaxhead.captures.format import load_capture
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.adnerf import convert, verbs
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.training.configuration import from_document
from jaxhead.training.progress import Progress
from jaxhead.training.runs import load_run

SIZES = {"width": 16, "depth": 6}


@pytest.fixture
def with_features(folder, monkeypatch):
    """The synthetic capture as if it had been imported with DeepSpeech features."""
    capture = load_capture(folder)
    windows = np.random.default_rng(0).normal(size=(len(capture), 16, 29)).astype(np.float32)
    object.__setattr__(capture, "audio_features", lambda: {"deepspeech": windows})
    monkeypatch.setattr(convert, "load_capture", lambda path: capture)
    return windows


def small(config: AdnerfConfig) -> AdnerfConfig:
    sampling = dataclasses.replace(
        config.nerf.sampling, coarse=4, fine=4, rays=32, torso_rays=16, chunk=512
    )
    return dataclasses.replace(config, nerf=dataclasses.replace(config.nerf, sampling=sampling))


@pytest.mark.long
@pytest.mark.slow
def test_a_pair_of_files_renders_and_trains_on(folder, tmp_path, with_features, monkeypatch):
    files = [
        write_stream(tmp_path / "000005_body.tar", body_file(4, **SIZES)),
        write_stream(tmp_path / "300000_head.tar", head_file(299_999, **SIZES)),
    ]
    presets = {"published": lambda: small(verbs.presets["published"]())}
    monkeypatch.setattr(convert, "PRESETS", presets)
    out = tmp_path / "run"
    arguments = ["convert", "adnerf", *map(str, files), "--capture", str(folder)]
    assert main([*arguments, "--out", str(out)]) == 0
    run = load_run(out)
    assert dict(run.steps) == {"head": 200_000, "attention": 100_000, "torso": 400_000}
    config = from_document(AdnerfConfig, run.config)
    assert config.nerf.field.width == 16 and config.nerf.field.pose_code == "published"
    assert config.nerf.sampling.rect_transposed and config.audio.features == "deepspeech"
    rows = run.inputs()["speech"]
    np.testing.assert_array_equal(rows[::2], with_features[:, 8])
    stream = verbs.render_stream(out, RenderOptions(frames=1))
    (picture,) = [frame["rgb"] for frame in stream.frames]
    assert picture.shape == (48, 48, 3) and np.all(np.isfinite(picture))
    monkeypatch.setattr(verbs, "_sampler", lambda *_: lambda *_: None)
    run = dataclasses.replace(run, steps={**run.steps, "torso": 7}).write()
    result = verbs.train([folder], out, config=config, devices=1, progress=Progress(quiet=True))
    assert result.step == 7 and np.isfinite(result.loss)


def test_a_young_head_is_in_its_first_stage(folder, tmp_path, with_features):
    file = write_stream(tmp_path / "000010_head.tar", head_file(9, **SIZES))
    convert.convert([file], tmp_path / "run", capture=folder)
    run = load_run(tmp_path / "run")
    assert run.steps["head"] == 200_000
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["head"]
    assert (run.path / "checkpoints" / "head" / "10").is_dir()


def test_what_cannot_be_converted_leaves_nothing(folder, tmp_path, with_features):
    head = write_stream(tmp_path / "h.tar", head_file(9, **SIZES))
    body = write_stream(tmp_path / "b.tar", body_file(9, **SIZES))
    wide = write_stream(tmp_path / "w.tar", head_file(9, features=44, **SIZES))
    out = tmp_path / "run"
    for files, message in (
        ([body], "b.tar: a body without its head"),
        ([head, head], "h.tar: a head, as .*h.tar is"),
        ([wide], r"audio features deepspeech \(16, 29\), expected windows of 44"),
        ([tmp_path / "none.tar"], "none.tar"),
    ):
        with pytest.raises(InputError, match=message):
            convert.convert(files, out, capture=folder)
        assert not out.exists()
    assert main(["convert", "geneface", str(head), "--capture", str(folder), "--out", "x"]) == 2
    assert main(["convert", "adnerf", str(head), "--out", "x"]) == 2
