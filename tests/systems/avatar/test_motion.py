"""Sway measured again: shifts that are known are found, and a run that does so."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxhead.captures.format import load_capture
from jaxhead.captures.sheet import NODES, make_sheet
from jaxhead.captures.sway_predictor import less_of_pose
from jaxhead.captures.validate import file_digest
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar import motion, verbs
from jaxhead.systems.avatar.config import MotionConfig
from jaxhead.training.configuration import override
from jaxhead.training.progress import Progress
from jaxhead.training.revising import newest_revision

SIDE = 128
QUIET = Progress(quiet=True)


def with_motion(config, **options):
    return dataclasses.replace(config, motion=dataclasses.replace(MotionConfig(), **options))


def smooth_shifts(count, seed, largest=0.005):
    """(count, NODES, NODES, 2) metres that bend slowly over the lattice."""
    random = np.random.default_rng(seed)
    shifts = ndimage.gaussian_filter(random.normal(size=(count, NODES, NODES, 2)), (0, 3, 3, 0))
    return (largest * shifts / np.abs(shifts).max()).astype(np.float32)


class Painted:
    """A flat head with a pattern, before a camera that looks at it from the front."""

    def __init__(self, count):
        x = np.linspace(-0.12, 0.12, NODES)
        self.box = np.array([[x[0], x[0]], [x[-1], x[-1]]], np.float32)
        self.K = np.array([[SIDE / 0.26, 0, SIDE / 2], [0, SIDE / 0.26, SIDE / 2], [0, 0, 1]])
        pose = np.diag([1.0, -1.0, -1.0, 1.0])
        pose[2, 3] = 1.0
        self.poses = np.tile(pose, (count, 1, 1))
        random = np.random.default_rng(5)
        coarse = random.normal(size=(80, 80))
        self.pattern = ndimage.gaussian_filter(coarse, 1.2)
        self.pattern = 0.5 + 0.2 * self.pattern / self.pattern.std()

    def sheet(self):
        side = 9 * (NODES - 1)
        steps = (np.arange(side) + 0.5) / side
        x = self.box[0, 0] + steps * (self.box[1, 0] - self.box[0, 0])
        across, up = np.meshgrid(x, x[::-1])
        points = np.stack([across, up, np.zeros_like(across)], -1).reshape(-1, 3)

        def of(vertices):
            return np.tile(points, (len(vertices), 1, 1)).astype(np.float32)

        skin = np.zeros((NODES, NODES), np.float32)
        return SimpleNamespace(points=of, skin=skin, pitch=x[1] - x[0], box=self.box)

    def picture(self, sway):
        """(SIDE, SIDE, 3): what the pattern looks like under a lattice of shifts."""
        v, u = np.mgrid[:SIDE, :SIDE] + 0.5
        x, y = (u - SIDE / 2) * 0.26 / SIDE, -(v - SIDE / 2) * 0.26 / SIDE

        def on(grid, x, y):
            scale = (np.shape(grid)[0] - 1) / 0.24
            return ndimage.map_coordinates(
                grid, [(y + 0.12) * scale, (x + 0.12) * scale], order=1, mode="nearest"
            )

        at = np.stack([x, y])
        for _ in range(8):  # what stands at p in the mean shape stands at p + shift in the frame
            at = np.stack([x, y]) - np.stack([on(sway[..., k], *at) for k in (0, 1)])
        return np.repeat(on(self.pattern, *at)[..., None], 3, -1).astype(np.float32)


@pytest.fixture(scope="module")
def painted():
    """Frames whose true shifts are known, beside what they are thought to be at first."""
    scene = Painted(5)
    true = smooth_shifts(5, 1)
    start = true + smooth_shifts(5, 2, 0.003)
    shown = [scene.picture(sway) for sway in true]
    requests = SimpleRequests(
        sway=start, vertices=np.zeros((5, 1, 3), np.float32), head_to_camera=scene.poses,
        K=scene.K, size=(SIDE, SIDE),
    )

    def truth(frame):
        return np.stack([shown[frame][..., 0], np.ones((SIDE, SIDE), np.float32)])

    def render(requests, place):
        return {"rgb": scene.picture(requests.sway[place])}

    return SimpleNamespace(scene=scene, true=true, requests=requests, truth=truth, render=render)


@dataclasses.dataclass(frozen=True)
class SimpleRequests:
    sway: np.ndarray
    vertices: np.ndarray
    head_to_camera: np.ndarray
    K: np.ndarray
    size: tuple


def looked_at(painted, places):
    return SimpleNamespace(
        requests=painted.requests, sheet=painted.scene.sheet(), all=np.arange(5),
        places=np.asarray(places), ids=np.asarray(places), truth=painted.truth,
    )


def error(found, true):
    inner = (slice(None), slice(2, -2), slice(2, -2))
    return 1e3 * np.sqrt(np.mean((found - true)[inner] ** 2))


def test_known_shifts_are_found(painted, config):
    frames = looked_at(painted, range(5))
    found = motion._measured(frames, painted.render, with_motion(config), 3, lambda: False)
    before = error(painted.requests.sway, painted.true)
    assert before > 0.6 and error(found, painted.true) < 0.25 * before
    assert found.dtype == np.float32
    one = motion._measured(frames, painted.render, with_motion(config), 1, lambda: False)
    assert error(found, painted.true) < error(one, painted.true)


@pytest.mark.long
def test_what_is_right_already_stays(painted, config):
    right = dataclasses.replace(painted.requests, sway=painted.true)
    frames = looked_at(painted, range(5))
    frames.requests = right
    found = motion._measured(frames, painted.render, with_motion(config), 2, lambda: False)
    assert error(found, painted.true) < 0.1


def test_a_stiff_lattice_does_not_bend(painted, config):
    frames, stiff = looked_at(painted, range(5)), with_motion(config, stiffness=1000.0)
    frames.requests = dataclasses.replace(painted.requests, sway=0 * painted.true)
    found = motion._measured(frames, painted.render, stiff, 2, lambda: False)
    bends = [np.abs(np.diff(sway, n=2, axis=1)).max() for sway in (found, painted.true)]
    assert bends[0] < 0.1 * bends[1]


def test_frames_between_those_looked_at_take_what_lies_between(painted, config):
    frames = looked_at(painted, [0, 4])
    found = motion._measured(frames, painted.render, with_motion(config), 2, lambda: False)
    moved = found - painted.requests.sway
    np.testing.assert_allclose(moved[1], 0.75 * moved[0] + 0.25 * moved[4], atol=1e-7)
    alone = motion._measured(
        looked_at(painted, range(5)), painted.render, with_motion(config), 2, lambda: False
    )
    np.testing.assert_allclose(found[[0, 4]], alone[[0, 4]], atol=1e-6)


def test_it_ends_when_it_is_told_to(painted, config):
    asked = []

    def stopped():
        asked.append(1)
        return len(asked) > 1

    frames = looked_at(painted, range(5))
    assert motion._measured(frames, painted.render, with_motion(config), 2, stopped) is None


@pytest.fixture(scope="module")
def swaying(folder, tmp_path_factory):
    """The tiny capture, as if its hair had been found to move."""
    path = tmp_path_factory.mktemp("swaying") / "made"
    shutil.copytree(folder, path)
    arrays = dict(np.load(path / "tracking.npz"))
    capture = load_capture(folder)
    arrays["sway"] = smooth_shifts(len(capture), 3, 0.002)
    arrays["sway_box"] = make_sheet(capture.head).box
    np.savez(path / "tracking.npz", **arrays)
    document = json.loads((path / "capture.json").read_text())
    if "tracking.npz" in document["files"]:
        document["files"]["tracking.npz"] = file_digest(path / "tracking.npz")
    (path / "capture.json").write_text(json.dumps(document))
    return path


def opened(folder, out, config):
    run, capture = verbs._opened([folder], out, config, 0)
    inputs = run.inputs()
    spec = run.spec_as(verbs.AvatarSpec)
    return capture, spec, inputs, verbs.frozen_arrays(inputs), capture.head, config


@pytest.mark.long
def test_there_is_something_to_measure_only_where_something_moves(
    small, swaying, config, tmp_path
):
    still = (small.capture, small.spec, small.inputs, small.frozen, small.head, config)
    assert motion.revision(*still) is None
    moving = opened(swaying, tmp_path / "run", config)
    found = motion.revision(*moving)
    assert found is not None and found.feed == "rays"
    assert found.steps(4000) == (1200, 2400, 4000) and found.steps(1) == (1,)
    assert motion.revision(*moving[:-1], with_motion(config, again=0.0)) is None
    without = override(config, ["surface.sway=false"])
    assert motion.revision(*opened(swaying, tmp_path / "without", without)) is None
    elsewhere = moving[2] | {"sway_box": moving[2]["sway_box"] + 0.1}
    assert motion.revision(*moving[:2], elsewhere, *moving[3:]) is None


@pytest.mark.long
def test_only_the_frames_of_a_split_are_measured(swaying, config, tmp_path):
    config = override(with_motion(config, rounds=1), ["field.levels=1", "torso.levels=1"])
    capture, spec, inputs, frozen, *rest = opened(swaying, tmp_path / "run", config)
    found = motion.revision(capture, spec, inputs, frozen, *rest)
    (stage,) = verbs.build(config, spec, frozen, None, None, found)
    assert stage.revision is found is not None
    variables, lines = stage.system.init(jax.random.key(0)), []
    for last, split in ((False, capture.train), (True, capture.test)):
        made = found.measure(
            variables, {"sway": inputs["sway"]}, last, lines.append, lambda: False
        )
        moved = np.abs(made["sway"] - inputs["sway"]).max((1, 2, 3)) > 0
        np.testing.assert_array_equal(np.flatnonzero(moved), split)
        assert made["sway"].dtype == inputs["sway"].dtype
    assert "sway of 12 training frames" in lines[0] and "3 held-out frames" in lines[2]
    assert found.measure(variables, inputs, True, lines.append, lambda: True) is None


def test_frames_keep_no_more_of_sway_that_follows_the_pose_than_they_are_told(
    swaying, config, tmp_path
):
    whole, none = (
        opened(swaying, tmp_path / f"{kept}", with_motion(config, pose=kept))[2]
        for kept in (1.0, 0.0)
    )
    expected = less_of_pose(whole["head_to_camera"], whole["sway"], whole["train"], 0.0)
    np.testing.assert_allclose(none["sway"], expected, atol=1e-7)
    assert np.abs(none["sway"] - whole["sway"]).max() > 1e-4


@pytest.mark.long
def test_nor_when_they_are_measured_again(swaying, config, tmp_path):
    config = override(with_motion(config, rounds=1), ["field.levels=1", "torso.levels=1"])
    capture, spec, inputs, frozen, head, _ = opened(swaying, tmp_path / "run", config)
    made = []
    for kept in (1.0, 0.0):
        told = override(config, [f"motion.pose={kept}"])
        found = motion.revision(capture, spec, inputs, frozen, head, told)
        assert found is not None
        (stage,) = verbs.build(told, spec, frozen, None, None, found)
        variables = stage.system.init(jax.random.key(0))
        arrays = {"sway": inputs["sway"]}
        for last in (False, True):
            measured = found.measure(variables, arrays, last, lambda _: None, lambda: False)
            assert measured is not None
            made.append(measured["sway"])
    whole, last, none, last_none = made
    train = capture.train
    expected = less_of_pose(inputs["head_to_camera"], whole, train, 0.0)
    np.testing.assert_allclose(none[train], expected[train], atol=1e-6)
    assert np.abs(none[train] - whole[train]).max() > 1e-5
    # Held-out frames are registered with what the field became.
    np.testing.assert_array_equal(last, last_none)


@pytest.mark.long
def test_a_run_measures_training_frames_on_its_way_and_the_others_at_its_end(
    swaying, config, tmp_path, monkeypatch
):
    monkeypatch.setattr(verbs, "_sampler", lambda *_: lambda *_: None)
    out, lines = tmp_path / "run", []
    progress = Progress(quiet=True)
    monkeypatch.setattr(progress, "say", lines.append)
    # What compiles fast: one level, one registration each time.
    config = override(with_motion(config, rounds=1), ["field.levels=1", "torso.levels=1"])
    verbs.train([swaying], out, config=config, devices=1, progress=progress)
    inputs, capture = verbs.load_run(out).inputs(), load_capture(swaying)
    assert [path.name[7:15] for path in sorted((out / "revised").iterdir())] == [
        "00000002", "00000005", "00000008"
    ]
    first, last = (newest_revision(out, "avatar", step)["sway"] for step in (5, 8))
    moved = [np.abs(a - b).max((1, 2, 3)) > 0 for a, b in ((first, inputs["sway"]), (last, first))]
    np.testing.assert_array_equal(np.flatnonzero(moved[0]), capture.train)
    np.testing.assert_array_equal(np.flatnonzero(moved[1]), capture.test)
    assert sum("sway of 12 training frames" in line for line in lines) == 2
    assert sum("sway of 3 held-out frames" in line for line in lines) == 1
    modes = verbs.evaluation_modes(out)
    assert [name for name, _ in modes] == ["test", "driven", "captured"]

    def pictures(torso):
        frames = verbs.render_stream(out, RenderOptions(torso=torso)).frames
        return np.stack([frame["rgb"] for frame in frames])

    shown = {torso: pictures(torso) for torso in ("measured", "captured", "predicted")}
    assert np.any(shown["measured"] != shown["captured"])
    assert np.any(shown["measured"] != shown["predicted"])
    # A run without its revisions shows what the capture found.
    shutil.rmtree(out / "revised")
    np.testing.assert_array_equal(pictures("measured"), shown["captured"])
    assert [name for name, _ in verbs.evaluation_modes(out)] == ["test", "driven"]


def test_what_was_measured_again_is_predicted_from_the_pose_anew(swaying, config, tmp_path):
    inputs = opened(swaying, tmp_path / "run", config)[2]
    assert motion.revised_inputs(inputs, {}) is inputs
    sway = inputs["sway"] + np.float32(0.01)
    made = motion.revised_inputs(inputs, {"sway": sway})
    np.testing.assert_array_equal(made["sway"], sway)
    names = [name for name in inputs if name.startswith("sway_predictor/")]
    assert names and all(name in made for name in names)
    assert any(np.any(made[name] != inputs[name]) for name in names)


def test_large_pictures_are_looked_at_smaller(small, config):
    capture, sheet = small.capture, make_sheet(small.head)
    made = motion._Frames(capture, sheet, small.spec, small.inputs, small.head, config, "test")
    assert made.requests.size == (64, 64) and list(made.ids) == list(capture.test)
    whole = made.truth(int(capture.test[0]))
    assert whole.shape == (2, 64, 64) and 0 <= whole.min() and whole.max() <= 1
    made.requests = dataclasses.replace(made.requests, size=(32, 32))
    half = made.truth(int(capture.test[0]))
    np.testing.assert_allclose(half, whole.reshape(2, 32, 2, 32, 2).mean((2, 4)), atol=1e-6)
