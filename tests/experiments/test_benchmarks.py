"""The benchmarks run from end to end at sizes at which their figures mean nothing."""

import json
import math
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = (
    "field.levels=1", "field.log2_size=8", "field.hidden=8", "field.finest_resolution=32",
    "surface.resolution=10", "sampling.frames=4", "sampling.head_rays=16", "sampling.torso_rays=4",
    "sampling.samples=4", "sampling.segments=8", "sampling.occupancy_resolution=8",
    "torso.levels=1", "torso.log2_size=6", "torso.hidden=8", "field.density_layers=1",
    "field.color_layers=1", "torso.layers=1",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def importable():
    """The repository's root on the path, as `python -m` has it."""
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """A synthetic capture with two novel views."""
    from jaxhead.captures.synthetic import synthesize

    folder = tmp_path_factory.mktemp("capture") / "head"
    return synthesize(folder, frames=10, size=32, novel_frames=1)


def test_naive_hash_equals_the_hash_grid():
    from experiments.benchmarks.paths import naive_hash
    from jaxhead.encodings.hash_grid import HashGridConfig, hash_encode, init_table

    config = HashGridConfig(levels=5, log2_size=9, base_resolution=4, finest_resolution=64)
    tables = init_table(jax.random.key(0), config)
    x = jax.random.uniform(jax.random.key(1), (50, 3))
    naive = naive_hash(jnp.concatenate(tables, axis=1).T, x, config)
    np.testing.assert_allclose(naive, hash_encode(tables, x, config), atol=1e-9)


def test_bound_names_the_resource_that_takes_longest():
    from experiments.benchmarks.timing import Work, bound

    rates = {"products": 10.0, "arithmetic": 10.0, "streamed": 1.0, "looked_up": 5.0, "added": 5.0}
    work = Work(products=10.0, streamed=3.0) + Work(streamed=2.0)
    assert bound(work, 10.0, rates) == ("streamed", pytest.approx(0.5))


@pytest.mark.long
def test_hot_paths_fill_the_table(capture, tmp_path, monkeypatch):
    from experiments.benchmarks import hot_paths
    from experiments.benchmarks.flags import multi_override
    from experiments.benchmarks.subject import open_subject

    names = ("products", "arithmetic", "streamed", "looked_up", "added")
    monkeypatch.setattr(hot_paths, "machine_rates", lambda **_: dict.fromkeys(names, 1e9))
    subject = open_subject(capture, tmp_path, multi_override("default", TINY))
    try:
        result = hot_paths.measure(subject, rounds=1, sizes=())
    finally:
        subject.geometry.close()
    assert all(row["ns"] > 0 for row in result["paths"])
    assert math.isfinite(result["volume"]["max_mm"]) and result["volume"]["wrong"] <= 1
    text = hot_paths.report(json.loads(json.dumps(result)))
    assert text.count("| ") > 50 and "nan" not in text


@pytest.mark.long
def test_every_novel_view_gets_its_camera_and_a_row(capture, tmp_path):
    from experiments.benchmarks import novel_views
    from experiments.benchmarks.flags import multi_override
    from experiments.benchmarks.subject import open_subject
    from experiments.benchmarks.tracked_views import tracked_camera
    from jaxhead.captures.synthetic import load_truth
    from jaxhead.files.errors import InputError

    subject = open_subject(capture, tmp_path, multi_override("default", TINY))
    subject.geometry.close()
    truth = load_truth(capture)
    requests = novel_views.view_requests(subject.spec, subject.inputs, truth, subject.config)
    np.testing.assert_array_equal(requests.head_to_camera, truth.head_to_camera)
    np.testing.assert_array_equal(
        requests.vertices, subject.inputs["vertices"][truth.view_ids].astype(np.float32)
    )
    draw = novel_views._skin_masks(subject.inputs)
    skin = draw(requests, requests.head_to_camera[0], 0)
    face = truth.masks[0, ..., 1] > 127
    assert skin.any() and np.mean(face[skin]) > 0.9 and skin.sum() < 0.9 * face.sum()
    # A run that shows the truth leaves the cameras where they are, whatever a part of it shows.
    for view in (0, len(truth.view_ids) - 1):
        depth = truth.frame_depth[np.flatnonzero(truth.frame_ids == truth.view_ids[view])[0]]
        depth = np.where(np.arange(len(depth))[:, None] < 10, 1.1 * depth, depth)
        world = tracked_camera(requests, truth, subject.capture, view, depth)
        assert abs(world.own - world.true) < 1e-5 and abs(world.larger - 1) < 1e-5
        np.testing.assert_allclose(world.head_to_camera, truth.head_to_camera[view], atol=1e-5)
    with pytest.raises(InputError, match="shows nothing of the head of frame"):
        tracked_camera(requests, truth, subject.capture, 0, 0 * depth)
    perfect = {
        "rgb": truth.frames[0] / np.float32(255), "depth": truth.depth[0], "skin": skin,
        "alpha": truth.masks[0, ..., 0] / np.float32(255),
    }
    rows = [novel_views.view_scores(perfect, truth, view, None) for view in range(2)]
    assert rows[0]["person"] == 100.0 and rows[1]["person"] < 100.0
    assert rows[0]["depth_mm"] == rows[0]["face_mm"] == 0.0
    assert rows[0]["holes"] == rows[0]["outline"] == 0
    result = {"views": 2, "runs": {"run": novel_views.means(rows)}, "reason": "no model"}
    assert "| run, all |" in novel_views.report(result)


def test_pictures_a_second_leave_out_the_first(monkeypatch):
    from experiments.benchmarks import pictures
    from jaxhead.files.errors import InputError
    from jaxhead.rendering.requests import RenderOptions

    made, now = [], [0.0]
    clock = types.SimpleNamespace(
        perf_counter=lambda: now[0], process_time=lambda: 2 * now[0] + 5.0
    )
    monkeypatch.setattr(pictures, "time", clock)

    def stream(count):
        def frames():
            for index in range(count):
                # The first one compiles.
                now[0] += 3.0 if index == 0 else 0.25
                made.append(index)
                yield {}

        return types.SimpleNamespace(frames=frames(), count=count, size=(48, 64))

    counts = iter([6, 6, 1])
    system = types.SimpleNamespace(render_stream=lambda run, options: stream(next(counts)))
    monkeypatch.setattr(pictures, "system_of_run", lambda run: system)
    result = pictures.measure("run", RenderOptions(), rounds=2)
    assert made == [*range(6)] * 2 and result["pictures"] == 5
    assert result["rounds"] == [{"fps": 4.0, "ms": 250.0, "cpu_ms": 500.0}] * 2
    text = pictures.report(json.loads(json.dumps(result)))
    assert "64 × 48" in text and text.count("\n| ") == 4 and "median" in text
    with pytest.raises(InputError, match="run: 1 pictures to make, expected at least two"):
        pictures.measure("run", RenderOptions(), rounds=1)


def test_a_hole_is_enclosed_and_an_outline_is_not():
    from experiments.benchmarks.novel_views import background_shows

    person = np.zeros((12, 12), bool)
    person[2:12, 2:10] = True
    alpha = person.astype(np.float32)
    assert background_shows(alpha, person) == (0, 0)
    alpha[5, 5:7] = 0.4
    alpha[2:4, 9] = 0.0
    # Touching by a corner lets nothing through.
    alpha[3, 3] = alpha[2, 2] = 0.0
    alpha[0, 0] = 1.0
    assert background_shows(alpha, person) == (3 / 80, 3 / 80)
    assert background_shows(np.zeros((2, 3)), np.ones((2, 3), bool)) == (1, 0)
    assert background_shows(np.zeros((2, 3)), np.zeros((2, 3), bool)) == (0, 0)


def test_all_reduced_bytes_are_those_of_the_parameters_and_the_loss():
    from experiments.benchmarks import scaling
    from experiments.benchmarks.field_stage import field_stage
    from jaxhead.training.state import parameter_count

    stage = field_stage(batch=8, levels=2, log2_size=8)
    count = parameter_count(stage.system.init(jax.random.key(0)).params)
    assert scaling.reduced_bytes(stage) == 4 * (count + 1)
    assert scaling.all_reduce_seconds(8e9, 4, 2e9) == pytest.approx(6.0)


@pytest.mark.long
def test_scaling_measures_a_layout_and_fills_its_tables(monkeypatch):
    from experiments.benchmarks import scaling

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    seconds = scaling.measure(2, 1, batch=64, log2_size=8, seconds=0.05)
    assert 0 < seconds < 60
    layouts = {f"{p} x {d}": 2.0 for p, d in scaling.LAYOUTS}
    text = scaling.report({"layouts": layouts, "bytes": 9e6})
    assert "| 2 x 2 | 2.00 | 1.00 |" in text and "9.00 MB" in text
    assert "| Ethernet 10 Gb/s | 7.200 | 12.600 |" in text


@pytest.mark.long
def test_pmap_ways_are_measured_and_reported():
    from experiments.benchmarks import pmap

    found = pmap.one_device(rounds=1, batch=16, log2_size=6)
    assert tuple(found) == pmap.WAYS and all(row["ms"] > 0 for row in found.values())
    assert pmap.under_way(4, seconds=120)
    text = pmap.report({"ways": found, "under_way": {"4": True, "200": False}})
    assert "| jit, donated |" in text and "| 200 | stalled |" in text


@pytest.mark.long
def test_many_subjects_are_measured_and_reported():
    from experiments.benchmarks import many
    from experiments.benchmarks.field_stage import field_stage

    found = many.measure([field_stage(batch=16, levels=2, log2_size=6)] * 2, rounds=1)
    assert tuple(found) == (many.ALONE, "in turns", "side by side")
    result = {"subjects": 2, "samples": 16, "device": "cpu"}
    seconds = {many.ALONE: 0.004, "in turns": 0.004, "side by side": 0.002}
    text = many.report({**result, "seconds": seconds})
    assert "| side by side | 2.00 | 0.02 | 2.00 x |" in text


def test_quality_prints_one_row_per_method():
    from experiments.benchmarks import quality

    block = {name: {"psnr": 30.0, "ssim": 0.9, "l1": 0.1} for name in ("image", "person", "face")}
    baselines = {"mean_frame": block, "nearest_expression": block, "nearest_pixels": block}
    scores = {"test": block, "driven": block, "baselines": baselines}
    text = quality.report({"may": {"mapped": scores, "unmapped": scores}})
    assert len(text.splitlines()) == 2 + len(quality.ROWS)
    assert "| may, without mapping | 30.00 | 30.00 | 30.00 | 0.9000 |" in text


def test_options_of_the_documentation_are_those_of_the_configuration():
    from experiments import options_table

    for document, kind in options_table.DOCUMENTS.items():
        text = document.read_text(encoding="utf-8")
        assert options_table.rewritten(text, kind) == text, "python -m experiments.options_table"


def test_machine_rates_are_positive_numbers():
    from experiments.benchmarks.timing import machine_rates

    rates = machine_rates(rounds=1, scale=16)
    assert len(rates) == 5 and all(0 < rate < math.inf for rate in rates.values())


def test_loudness_alone_tells_an_opening_that_follows_it_and_no_other():
    from experiments.benchmarks.speech import loudness_alone, loudness_windows
    from jaxhead.evaluation.landmarks import EYE_CORNERS, LIP_MIDDLES, FaceReading

    random, frames = np.random.default_rng(0), np.arange(300)
    loud = np.repeat(random.random(300), 640)
    samples = np.float32(10 ** (2 * loud - 3) * np.sin(0.3 * np.arange(len(loud))))

    def seen(opening):
        places = np.zeros((468, 2))
        places[list(EYE_CORNERS)] = [[0, 0], [1, 0]]
        places[LIP_MIDDLES[0]] = 0, opening
        return FaceReading(places, np.zeros(52), np.eye(3))

    def told(openings):
        faces = [None, *map(seen, openings[1:])]
        halves = [(frames[part], faces[part]) for part in (slice(150), slice(150, 300))]
        return loudness_alone(loudness_windows(samples, 16000, 25.0), *halves)

    assert told(loud[::640]) > 0.98
    assert abs(told(random.random(300))) < 0.3
