"""Pools on the devices: what the step says, read ahead, in place, and nothing more than that."""

import dataclasses
import os
import pathlib
import signal
import sys
import threading

import jax
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.files.errors import InputError
from jaxhead.training import checkpoints
from jaxhead.training import pool as pool_module
from jaxhead.training.feeding import Feeding
from jaxhead.training.loop import LoopConfig, checkpoint_folder, train
from jaxhead.training.pool import REFRESH_EVERY, FramePool
from jaxhead.training.progress import Progress
from jaxhead.training.system import Feed, Stage, System

SLOTS, ROTATE = 11, 100


class Frames:
    """Reads frames that hold their number, and remembers which were asked for, by which thread."""

    def __init__(self):
        self.asked, self.threads = [], set()
        self.go = threading.Event()
        self.go.set()
        self.bad = -1

    def __call__(self, frame):
        self.go.wait(timeout=30)
        if frame == self.bad:
            raise InputError(f"{frame}: damaged")
        self.asked.append(frame)
        self.threads.add(threading.current_thread())
        return {"frames": np.full((2, 3), frame, np.uint8), "half": np.float16(frame)}


@pytest.fixture(autouse=True)
def few_at_first(monkeypatch):
    monkeypatch.setattr(pool_module, "FIRST_FRAMES", 4)


def made_pool(read, slots=SLOTS, rotate_every=ROTATE):
    frames = np.arange(100, 130, dtype=np.int32)
    return FramePool(frames=frames, slots=slots, rotate_every=rotate_every, read=read)


def made(read, step=0, devices=1):
    pool = made_pool(read)
    still = {"still": np.arange(5.0)}
    feed = Feed(2, None, pool.empty() | still, refresh=pool.refresh, refresh_every=REFRESH_EVERY,
                pool=pool)  # fmt: skip
    stage = Stage("s", System(init=None, updates=()), {"f": feed}, {})
    return Feeding(stage, jax.local_devices()[:devices], 1, step, {})


def expected(step):
    """The whole arrays of the host at a step, from nothing."""
    pool = made_pool(Frames())
    return pool.refresh(pool.empty(), step) | {"still": np.arange(5.0)}


def check(feeding, step, devices=1):
    wanted = expected(step // REFRESH_EVERY * REFRESH_EVERY)
    assert feeding.arrays["f"].keys() == wanted.keys()
    for name, value in feeding.arrays["f"].items():
        assert value.dtype == jax.dtypes.canonicalize_dtype(wanted[name].dtype)
        for place in range(devices):
            np.testing.assert_array_equal(value[place], wanted[name], f"{name} at {step}")


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("ahead", [True, False])
def test_arrays_are_those_of_the_host_at_every_step(devices, ahead):
    feeding = made(Frames(), devices=devices)
    if ahead:
        feeding.open()
    for step in range(0, 700, 25):
        feeding.refresh(step)
        check(feeding, step, devices)
    feeding.close()


def test_a_run_that_is_resumed_anywhere_has_the_same_arrays():
    for start in (0, 49, 50, 99, 250, 349, 350, 601):
        feeding = made(Frames(), step=start)
        feeding.open()
        for step in (start, start + 50, start + 100):
            feeding.refresh(step)
            check(feeding, step)
        feeding.close()


def test_steps_that_are_left_out_or_come_again():
    feeding = made(Frames())
    feeding.open()
    for step in (0, 400, 350, 1000, 1050, 500):
        feeding.refresh(step)
        check(feeding, step)
    feeding.close()


def test_each_frame_is_read_once_ahead_of_its_step_and_no_further():
    read = Frames()
    feeding = made(read, step=350)
    del read.asked[:]
    read.threads.clear()
    feeding.open()
    for step in range(350, 1000, 50):
        feeding.refresh(step)
    pool = made_pool(Frames())
    ends = [*range(350, 1000, 50), pool.next_change(950)]
    changes = [
        sorted(frame for _, frame in pool.changes(*two)) for two in zip(ends, ends[1:])
    ]
    feeding._rotations["f"]._next.take()
    asked = list(read.asked)
    for change in changes:
        assert sorted(asked[: len(change)]) == change
        del asked[: len(change)]
    assert not asked and any(changes)
    assert threading.current_thread() not in read.threads
    feeding.close()


def test_still_arrays_stay_and_the_pool_is_written_in_place():
    feeding = made(Frames(), step=350)
    before = feeding.arrays["f"]
    feeding.refresh(400)
    feeding.refresh(450)
    after = feeding.arrays["f"]
    assert after["still"] is before["still"] and not before["still"].is_deleted()
    assert before["frames"].is_deleted() and not after["frames"].is_deleted()


def test_a_frame_that_cannot_be_read_stops_the_training_at_its_step():
    read = Frames()
    feeding = made(read, step=350)
    coming = made_pool(Frames())
    at = coming.next_change(350)
    read.bad = coming.changes(350, at)[1][1]
    feeding.open()
    for step in range(350, at, 50):
        feeding.refresh(step)
    with pytest.raises(InputError, match=f"{read.bad}: damaged"):
        feeding.refresh(at)
    feeding.close()


def test_closing_ends_a_thread_that_still_reads():
    read = Frames()
    feeding = made(read, step=350)
    read.go.clear()
    feeding.open()
    thread = feeding._rotations["f"]._next._thread
    assert thread.is_alive()
    asked = len(read.asked)
    threading.Timer(0.1, read.go.set).start()
    feeding.close()
    assert not thread.is_alive() and len(read.asked) <= asked + 8


def test_the_first_steps_read_nothing_ahead_until_the_feed_is_open():
    read = Frames()
    made(read)
    assert len(read.asked) == 1 + 4  # one for the shapes, and the first frames


@pytest.mark.parametrize("slots, rotate", [(11, 100), (11, 70), (30, 100), (3, 1), (20, 1)])
def test_the_next_change_is_the_first(slots, rotate):
    pool = made_pool(Frames(), slots, rotate)
    for step in range(0, 1000, REFRESH_EVERY):
        found = pool.next_change(step)
        later = range(step + REFRESH_EVERY, step + 2000, REFRESH_EVERY)
        assert found == next((s for s in later if pool.changes(step, s)), None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with toy_recipes.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


def rotating(pooled):
    """A toy recipe whose points are those of a pool; with whole arrays where it is not `pooled`."""
    pool = FramePool(
        frames=np.arange(24, dtype=np.int32), slots=9, rotate_every=10,
        read=lambda index: {"x": toy_recipes.POINTS[index]},
    )  # fmt: skip
    stage = toy_recipes.fit(steps=60)
    feed = dataclasses.replace(
        stage.feeds["points"], arrays=pool.empty(), refresh=pool.refresh, refresh_every=5,
        pool=pool if pooled else None,
    )  # fmt: skip
    return dataclasses.replace(stage, feeds={**stage.feeds, "points": feed})


@pytest.mark.parametrize("devices", [1, 2])
def test_a_training_is_bit_equal_interrupted_or_not_and_with_whole_arrays(
    tmp_path, monkeypatch, cache, devices
):
    monkeypatch.setattr(pool_module, "REFRESH_EVERY", 5)
    def end(stage, step, variables, folder):
        if step in (12, 24):
            os.kill(os.getpid(), signal.SIGTERM)

    loop = LoopConfig(steps_per_dispatch=4, save_every_seconds=0, sample_every=12)
    options = {"loop": loop, "progress": Progress(quiet=True),
               "devices": jax.local_devices()[:devices]}  # fmt: skip
    train([rotating(True)], tmp_path / "once", steps=33, **options)
    train([rotating(False)], tmp_path / "whole", steps=33, **options)
    ended = [
        train([rotating(True)], tmp_path / "parts", on_sample=end, **more, **options).step
        for more in ({"steps": 33}, {}, {})
    ]
    assert ended == [12, 24, 33]
    found = []
    for name in ("once", "whole", "parts"):
        folder = checkpoint_folder(tmp_path / name, "fit")
        found.append(checkpoints.read_checkpoint(folder, 33).state)
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, value in found[0].items():
            assert other[name].tobytes() == value.tobytes(), name
