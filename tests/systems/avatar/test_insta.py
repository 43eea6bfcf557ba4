"""INSTA's own recipe on a miniature of its layout, and the terms that only it has."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captures.importers import folders
from PIL import Image

from experiments import insta as experiment
from jaxhead.captures.format import load_capture
from jaxhead.captures.importers.importing import import_capture
from jaxhead.files.errors import InputError
from jaxhead.rendering.occupancy import OccupancyGrid
from jaxhead.systems.avatar import verbs
from jaxhead.systems.avatar.config import AvatarConfig, insta
from jaxhead.systems.avatar.data import loss_layers
from jaxhead.systems.avatar.density import density_terms
from jaxhead.systems.avatar.depth_maps import DepthMaps
from jaxhead.systems.avatar.depths import distance_term
from jaxhead.systems.avatar.inputs import AvatarSpec, expression_condition
from jaxhead.systems.avatar.rays import Samples
from jaxhead.training import checkpoints
from jaxhead.training.configuration import override
from jaxhead.training.loop import checkpoint_folder
from jaxhead.training.progress import Progress
from jaxhead.training.runs import load_run
from jaxhead.training.system import Shard

TINY = override(insta(), [
    "field.levels=1", "field.features=2", "field.log2_size=8", "field.base_resolution=4",
    "field.density_layers=2", "field.color_layers=2", "field.hidden=8",
    "surface.resolution=12", "sampling.frames=2", "sampling.head_rays=24",
    "sampling.samples=8", "sampling.segments=16", "sampling.occupancy_resolution=8",
    "loss.region_from=2", "prior.distance=capture", "steps=4", "loop.steps_per_dispatch=1",
    "loop.log_every=1", "loop.save_every_seconds=0",
])  # fmt: skip
MOUTH = (slice(13, 16), slice(9, 15))


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """INSTA's layout in miniature, with a mouth in the parsed pictures."""
    path = folders.insta(tmp_path_factory.mktemp("insta") / "subject")
    for file in sorted((path / "seg_mask").iterdir()):
        classes = np.array(Image.open(file))
        classes[(*MOUTH, 0)] = 140
        folders.picture(file, classes)
    return path


@pytest.fixture(scope="module")
def captured(subject):
    import_capture("insta", subject, subject.parent / "capture")
    return subject.parent / "capture"


@pytest.fixture(scope="module")
def run(captured):
    out = captured.parent / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(verbs, "_sampler", lambda *_: lambda *_: None)
        result = verbs.train([captured], out, config=TINY, devices=1, progress=Progress(quiet=True))
    assert result.step == 4 and np.isfinite(result.loss)
    return out


def test_a_tiny_one_trains_without_a_torso(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    rows = [row for row in rows if "color" in row]
    assert len(rows) == 4 and all({"depth", "near", "thin"} <= row.keys() for row in rows)
    assert all(0 < row["depth"] < 1 and row["idle"] == 0 for row in rows)
    # The mouth weighs more from the third step on.
    assert max(r["color"] for r in rows[2:]) > 1.2 * max(r["color"] for r in rows[:2])
    state = checkpoints.read_checkpoint(checkpoint_folder(run, "avatar"), 4).state
    assert any("head" in name for name in state) and not any("torso" in name for name in state)


def opened(captured, run, config):
    loaded = load_run(run)
    return load_capture(captured), loaded.spec_as(AvatarSpec), loaded.inputs(), config


def test_coefficients_are_the_condition_as_they_are(captured, run):
    capture, spec, inputs, _ = opened(captured, run, TINY)
    assert spec.components == 3 and inputs["occupancy"].all() and not inputs["solid"].any()
    found = expression_condition(inputs, inputs["expression"], inputs["vertices"])
    np.testing.assert_array_equal(found, capture.expression)
    # Lips follow the expression or do not: nothing fades.
    assert set(np.unique(inputs["skin"][..., 2])) <= {0.0, 1.0}
    # The box is the neutral one, 15 % of its diagonal wider.
    template = np.asarray(capture.head.template)
    wider = 0.15 * np.linalg.norm(np.ptp(template, axis=0))
    np.testing.assert_allclose(inputs["box"][1], template.max(0) + wider, rtol=1e-6)


@pytest.mark.long
def test_the_paper_s_step_can_be_built(captured, run):
    capture, spec, inputs, config = opened(captured, run, insta())
    spec = dataclasses.replace(spec, components=16)
    (stage,) = verbs.build(config, spec, verbs.frozen_arrays(inputs), None)
    shapes = jax.eval_shape(stage.system.init, jax.random.key(0))
    head = shapes.params["avatar"]["head"]
    assert set(shapes.params["avatar"]) == {"head"} and shapes.state["occupancy"].thickness.size
    assert len(head["tables"]) == 16 and head["tables"][-1].size == 8 * 2**18
    kernels = [layer["kernel"].shape for layer in head["density"].values()]
    assert kernels == [(144, 64), (64, 64), (64, 16)]
    kernels = [layer["kernel"].shape for layer in head["color"].values()]
    assert kernels == [(32, 64), (64, 64), (64, 64), (64, 3)]

    class Geometry:
        shape, dtype = (*spec.shape, 3), np.dtype(np.float16)

    maps = DepthMaps(capture, config)
    inputs["expression"] = np.zeros((len(capture), 16), np.float32)
    inputs |= {"expression_scale": np.ones(16, np.float32)}
    wide = np.eye(16, 16 + len(inputs["expression_mean"]) - 3, dtype=np.float32)
    inputs |= {"expression_components": wide, "expression_mean": np.zeros(wide.shape[1])}
    feed = verbs.make_feed(capture, spec, inputs, Geometry(), config, maps)
    assert config.sampling.frames * config.sampling.head_rays * config.sampling.samples == 2**18

    def update(variables, arrays, key):
        shard = Shard(offset=jnp.int32(0), count=16, total=16)
        batch = {"rays": feed.sample(arrays, None, key, jnp.int32(0), shard)}
        (rule,) = stage.system.updates

        def objective(params):
            return rule.loss(variables.replace(params=params), None, batch, key, jnp.int32(500))[0]

        state = stage.system.refresh(variables, batch, key, jnp.int32(500))
        return jax.grad(objective)(variables.params), state

    gradient, state = jax.eval_shape(update, shapes, feed.arrays, jax.random.key(0))
    assert jax.tree.structure(gradient) == jax.tree.structure(shapes.params)
    assert state["occupancy"].thickness.shape == (8, 8, 8)


def test_layers_hold_the_mouth_and_depths_in_metres(captured):
    capture = load_capture(captured)
    layers = loss_layers(capture, TINY, DepthMaps(capture, TINY))
    assert set(layers) == {"region", "distance"}
    expected = np.zeros((24, 24), bool)
    expected[MOUTH] = True
    np.testing.assert_array_equal(layers["region"](1), expected)
    distance = layers["distance"](1)
    cloth = np.arange(24)[:, None] >= 18
    np.testing.assert_array_equal(distance, np.where(folders.disc() & ~cloth, 5010, 0))
    # By default nothing of this is read.
    assert loss_layers(capture, AvatarConfig(), None) == {}
    mesh = override(TINY, ["prior.distance=mesh"])
    drawn = DepthMaps(capture, mesh).metric(0)
    assert 3500 < drawn[12, 12] < 5000


def test_a_capture_without_parsed_pictures_is_refused_before_a_run_is_made(folder, tmp_path):
    config = override(AvatarConfig(), ["loss.region=40", "loss.semantic=0"])
    with pytest.raises(InputError, match="no layer parsing, which loss.region"):
        verbs.train([folder], tmp_path / "run", config=config, progress=Progress(quiet=True))
    assert not (tmp_path / "run").exists()


def samples(sigma, t, delta):
    sigma, t, delta = (np.asarray(x, np.float32) for x in (sigma, t, delta))
    weights = np.full_like(sigma, 0.25)
    nothing = np.zeros((*sigma.shape, 3), np.float32)
    return Samples(*map(jnp.asarray, (t, delta, sigma, weights, nothing, nothing)))


def test_density_terms_are_instas_sums():
    config = override(TINY, ["loss.near=1", "loss.thin=1"])
    rays = samples(
        np.exp([[-1.0, 2.0, -3.0], [-12.0, -0.5, 4.0]]),
        [[0.1, 0.15, 0.3], [0.1, 0.19, 0.1]], [[1, 1, 1], [1, 1, 0]],
    )  # fmt: skip
    frozen = {"box": jnp.array([[0.0] * 3, [1.0] * 3])}

    def terms(thickness, rays=rays):
        grid = OccupancyGrid(jnp.full((2, 2, 2), thickness), frozen["box"][0], frozen["box"][1])
        return density_terms(rays, grid, frozen, config)

    found = jax.jit(terms)(0.001)
    np.testing.assert_allclose(found["near"], ((-1 + 2) + -0.5) / 2, rtol=1e-5)
    np.testing.assert_allclose(found["thin"], ((1 + 3) + (12 + 0.5)) / 2, rtol=1e-5)
    assert jax.jit(terms)(0.02)["thin"] == 0
    empty = rays._replace(sigma=jnp.zeros((2, 3)))
    slope = jax.grad(lambda s: sum(terms(0.001, empty._replace(sigma=s)).values()))(empty.sigma)
    assert np.all(np.isfinite(slope))
    assert density_terms(rays, None, frozen, AvatarConfig()) == {}


def test_the_distance_is_along_the_ray():
    K = jnp.array([[10.0, 0, 5], [0, 10.0, 5], [0, 0, 1]])
    rays = samples(np.ones((2, 4)), np.full((2, 4), 0.5), np.ones((2, 4)))
    pixels = jnp.array([[[5.0, 5.0], [15.0, 5.0]]])
    wanted = jnp.array([[4000, 5000]], jnp.uint16)
    found = distance_term(rays, wanted, K, pixels)
    np.testing.assert_allclose(found, (0.1 + abs(0.5 - 0.5 * 2**0.5)) / 2, rtol=1e-5)
    assert distance_term(rays, jnp.zeros_like(wanted), K, pixels) == 0


def test_the_experiment_takes_a_subject_or_a_capture(subject, captured, folder, tmp_path):
    assert experiment.is_subject(str(subject)) and not experiment.is_subject(str(captured))
    assert experiment.settings_for(str(captured)) == ["prior.distance=capture"]
    own = experiment.settings_for(str(folder))
    assert "torso.shown=true" in own and "loss.region=1" in own
    config = override(insta(), own)
    assert config.torso.shown and config.loss.region == 1
    first, video, scores = experiment.commands("c", "o", ["a=1"])
    assert first[1][-4:] == ["--preset", "insta", "--set", "a=1"]
    assert "--preset" not in experiment.commands("c", "o", ["a=1"], begun=True)[0][1]


def test_the_last_frames_are_held_out_where_that_is_asked_for(subject, tmp_path):
    from jaxhead.app.main import main

    out = tmp_path / "capture"
    command = experiment.import_command(str(subject), str(out), 2)
    assert main(command) == 0
    capture = load_capture(out)
    assert capture.train.tolist() == [0, 1] and capture.test.tolist() == [2, 3]
    with pytest.raises(InputError, match="4 frames, expected more than the 4"):
        import_capture("insta", subject, tmp_path / "none", held_out=4)
    with pytest.raises(InputError, match="is for insta and metrical-tracker"):
        import_capture("vhap", subject, tmp_path / "none", held_out=4)
    assert main(["capture", "talk.mp4", "--out", str(tmp_path / "x"), "--held-out", "3"]) == 2
    assert not (tmp_path / "none").exists()
