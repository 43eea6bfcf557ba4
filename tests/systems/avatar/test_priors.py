"""Weights of priors: found, missing and said so, missing and refused, exchanged and refused."""

import dataclasses
import json

import numpy as np
import pytest
from systems.avatar.tiny_clip import CONFIG, published_state, write_safetensors

from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar import verbs
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.systems.avatar.priors import open_priors
from jaxhead.systems.avatar.requests import make_requests
from jaxhead.training.configuration import from_document, override, to_document
from jaxhead.training.progress import Progress
from jaxhead.training.runs import create_run, load_run


@pytest.fixture(autouse=True)
def no_weights_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXHEAD_ASSETS", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def assets(tmp_path):
    folder = tmp_path / "assets"
    folder.mkdir()
    return folder


def test_without_weights_the_default_trains_without_the_term_and_says_so(assets, tmp_path):
    said = []
    priors = open_priors(AvatarConfig(), tmp_path / "run", assets, said.append)
    assert priors.clip is None and priors.config.loss.semantic == 0.0 and not priors.sources
    (line,) = said
    assert line.startswith("trains without the semantic term: CLIP's ViT-B/32")
    assert "\n" not in line and str(assets) in line


def test_without_weights_asking_for_the_term_is_refused_in_a_line(assets, tmp_path):
    config = override(AvatarConfig(), ["loss.semantic=0.1"])
    with pytest.raises(InputError, match="CLIP's ViT-B/32 .MIT. was not found as") as error:
        open_priors(config, tmp_path / "run", assets, print)
    assert "\n" not in str(error.value) and "put it at" in str(error.value)
    condition = override(AvatarConfig(), ["field.semantic_dims=2"])
    with pytest.raises(InputError, match="CLIP's ViT-B/32"):
        open_priors(condition, tmp_path / "run", assets, print)
    off = override(AvatarConfig(), ["loss.semantic=0"])
    said = []
    assert open_priors(off, tmp_path / "run", None, said.append).clip is None and not said


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_priors(AvatarConfig(), tmp_path / "run", tmp_path / "nowhere", print)


def test_with_weights_the_default_trains_with_the_term_and_keeps_to_them(assets, tmp_path):
    file = assets / "clip_vit_b32.safetensors"
    write_safetensors(file, published_state())
    said = []
    priors = open_priors(AvatarConfig(), tmp_path / "run", assets, said.append)
    assert priors.config.loss.semantic == 0.1 and str(file) in said[0]
    assert priors.clip.config == CONFIG
    run = create_run(
        tmp_path / "run", system="avatar", config=to_document(priors.config),
        sources=({"path": "c", "digest": "d"}, *priors.sources),
    )  # fmt: skip
    again = open_priors(AvatarConfig(), run.path, assets, said.append)
    again.check(load_run(run.path))
    assert again.config == priors.config and len(said) == 1
    write_safetensors(file, published_state(1))
    with pytest.raises(InputError, match="the run .* was made with"):
        open_priors(AvatarConfig(), run.path, assets, print).check(load_run(run.path))
    file.unlink()
    with pytest.raises(InputError, match="was not found"):
        open_priors(AvatarConfig(), run.path, assets, print)


def test_a_run_from_before_the_term_goes_on_without_it(assets, tmp_path):
    write_safetensors(assets / "clip_vit_b32.safetensors", published_state())
    document = to_document(AvatarConfig())
    del document["loss"]["semantic"], document["prior"]
    run = create_run(tmp_path / "run", system="avatar", config=document)
    said = []
    priors = open_priors(AvatarConfig(), run.path, assets, said.append)
    assert priors.clip is None and not said
    # What it then says of itself contradicts nothing that it was made with.
    assert priors.config == from_document(AvatarConfig, run.config)


def test_weights_of_something_else_are_refused_by_name(assets, tmp_path):
    state = published_state()
    del state["vision_model.post_layernorm.bias"]
    file = assets / "clip_vit_b32.safetensors"
    write_safetensors(file, state)
    with pytest.raises(InputError, match=f"{file}: lacks vision_model.post_layernorm.bias"):
        open_priors(AvatarConfig(), tmp_path / "run", assets, print)


def test_nothing_is_made_where_depths_are_missing(folder, config, tmp_path):
    config = override(config, ["loss.depth_ordinal=0.1", "prior.depth=capture"])
    with pytest.raises(InputError, match="has no layer depth"):
        verbs.train([folder], tmp_path / "run", config=config, progress=Progress(quiet=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_run_with_all_priors_trains_and_goes_on(folder, config, assets, tmp_path):
    write_safetensors(assets / "clip_vit_b32.safetensors", published_state())
    config = dataclasses.replace(config, steps=4)
    config = override(config, [
        "field.direction_encoding=frequency", "field.semantic_dims=2", "prior.every=2",
        "prior.size=16", "loss.depth_ordinal=0.01", "loss.depth_smoothness=0.01",
        "prior.pairs=8", "field.levels=1", "torso.levels=1",
    ])  # fmt: skip
    out = tmp_path / "run"
    verbs.train([folder], out, config=config, progress=Progress(quiet=True), assets=assets)
    lines = (out / "avatar" / "metrics.jsonl", out / "metrics.jsonl")
    text = next(path for path in lines if path.is_file()).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    semantic = {row["step"]: row["semantic"] for row in rows if "semantic" in row}
    assert semantic[1] == semantic[3] == 0 and semantic[2] > 0 and semantic[4] > 0
    assert all(0 < row["depth_ordinal"] < 10 for row in rows if "depth_ordinal" in row)
    assert any(row["depth_smoothness"] > 0 for row in rows if "depth_smoothness" in row)
    run = load_run(out)
    assert run.config["loss"]["semantic"] == 0.1
    assert run.sources[1]["weights"] == "clip_vit_b32"
    inputs = run.inputs()
    assert inputs["semantic"].shape == (run.spec["frames"], 2)
    shaped = len(inputs["expression_scale"])
    assert run.spec["components"] == shaped + 2 + 6
    train = inputs["semantic"][inputs["train"]]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(train.std(0, ddof=1), 1, rtol=1e-3)
    # A frame is rendered with its own code, a played expression with the mean.
    spec, head = run.spec_as(AvatarSpec), verbs.head_of(inputs)
    own = make_requests(RenderOptions(split="test"), spec, inputs, head, config)
    np.testing.assert_array_equal(
        own.condition[:, shaped : shaped + 2],
        np.clip(inputs["semantic"][inputs["test"]], -3, 3),
    )
    still = make_requests(RenderOptions(split="test", neutral=True), spec, inputs, head, config)
    assert not still.condition[:, shaped : shaped + 2].any() and still.notes
