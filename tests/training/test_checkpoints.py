import json
import pathlib
import shutil
import sys
import time

import jax
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.training import checkpoints as ckpt
from jaxhead.training import session
from jaxhead.training.checkpoint_writer import Checkpoints, is_disk_full
from jaxhead.training.loop import LoopConfig, checkpoint_folder, train
from jaxhead.training.progress import Progress

LOOP = LoopConfig(steps_per_dispatch=5, log_every=1, save_every_seconds=0, save_every_steps=5)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with toy_recipes.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


def tree(value=0.0):
    return {
        "a": {"w": np.full((64, 64), value, np.float32), "empty": np.zeros((0, 3), np.float32)},
        "b": (np.int32(7) * np.ones((), np.int32), np.array([True, False])),
        "c": np.asarray(jax.numpy.ones(3, jax.numpy.bfloat16)),
    }


def written(folder, steps=(1, 2), **options):
    made = Checkpoints(folder, **options)
    for step in steps:
        made.save(step, tree(step + 0.5), {"feeds": {"f": {"at": step}}})
    made.wait()
    made.close()


def test_every_kind_of_leaf_comes_back_bit_equal(tmp_path):
    written(tmp_path)
    found = ckpt.read_checkpoint(tmp_path, 2, tree())
    assert found.step == 2 and found.meta["feeds"] == {"f": {"at": 2}}
    for a, b in zip(jax.tree.leaves(found.state), jax.tree.leaves(tree(2.5))):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_newest_and_best_stay_and_disk_use_is_bounded(tmp_path):
    made = Checkpoints(tmp_path, keep=2)
    for step, score in enumerate([0.1, 0.9, None, 0.3, None, None]):
        made.save(step, tree(step), {}, score)
    made.wait()
    made.close()
    assert ckpt.steps_in(tmp_path) == [1, 4, 5]
    assert ckpt.best_step(tmp_path) == 1
    assert ckpt.size_on_disk(tmp_path) < 3 * 40_000


def biggest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(folder):
    file = biggest(folder / "state")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def truncate(folder):
    file = biggest(folder / "state")
    file.write_bytes(file.read_bytes()[:-5])


def empty(folder):
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove(name):
    def damage(folder):
        (folder / name).unlink()

    return damage


def garble(name):
    def damage(folder):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return damage


def replaced(change):
    """A checkpoint of other leaves, whole in itself, under the same step."""

    def damage(folder):
        other = folder.with_name("other")
        shutil.rmtree(folder)
        made = Checkpoints(other)
        made.save(int(folder.name), change(tree(1.5)), {})
        made.wait()
        made.close()
        shutil.move(other / folder.name, folder)
        shutil.rmtree(other)

    return damage


def values_of_the_one_before(folder):
    """Whole files of the right names, shapes and dtypes: only the digests of the leaves tell."""
    shutil.rmtree(folder / "state")
    shutil.copytree(folder.with_name("1") / "state", folder / "state")


DAMAGES = {
    "bit flip": flip,
    "other values": values_of_the_one_before,
    "truncation": truncate,
    "emptied folder": empty,
    "no description": remove("meta/metadata"),
    "garbled description": garble("meta/metadata"),
    "no tree": remove("state/_METADATA"),
    "garbled tree": garble("state/_METADATA"),
    "no manifest": remove("state/manifest.ocdbt"),
    "missing leaf": replaced(lambda t: {**t, "a": {"w": t["a"]["w"]}}),
    "extra leaf": replaced(lambda t: {**t, "d": np.ones(3, np.float32)}),
    "wrong shape": replaced(lambda t: {**t, "a": {**t["a"], "w": t["a"]["w"][:-1]}}),
    "wrong dtype": replaced(lambda t: {**t, "a": {**t["a"], "w": t["a"]["w"].astype(np.float64)}}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, name):
    folder = tmp_path / "stage"
    written(folder, steps=(1, 2))
    DAMAGES[name](folder / "2")
    said = []
    found, damaged = ckpt.newest_good(folder, tree(), said.append)
    assert found is not None and found.step == 1 and damaged == [2]
    np.testing.assert_array_equal(found.state["a"]["w"], tree(1.5)["a"]["w"])
    assert len(said) == 1 and str(folder / "2") in said[0] and "damaged" in said[0]
    ckpt.set_aside(folder, damaged)
    written(folder, steps=(2, 3))
    assert ckpt.newest_good(folder, tree(), said.append)[0].step == 3


def test_a_flipped_bit_would_go_unnoticed_without_digests(tmp_path):
    """Orbax restores the leaf below without a complaint: only the digest tells."""
    made = Checkpoints(tmp_path)
    random = np.random.default_rng(0).integers(0, 256, 1 << 16).astype(np.uint8)
    made.save(1, {"w": random}, {})
    made.wait()
    made.close()
    flip(tmp_path / "1")
    with pytest.raises(ValueError, match="w is not what was written|checksum|corrupt|CRC"):
        ckpt.read_checkpoint(tmp_path, 1)


def test_all_damaged_is_one_error_that_names_the_folder(tmp_path):
    written(tmp_path)
    for step in (1, 2):
        flip(tmp_path / str(step))
    with pytest.raises(ckpt.CheckpointError, match=r"\[1, 2\]"):
        ckpt.newest_good(tmp_path, tree(), lambda line: None)


def test_training_goes_on_from_the_good_one(tmp_path):
    quiet = Progress(quiet=True)
    stage = toy_recipes.fit(optimizer=toy_recipes.optax.adam(0.01))
    one = jax.local_devices()[:1]
    train([stage], tmp_path / "a", steps=20, loop=LOOP, devices=one, progress=quiet)
    train([stage], tmp_path / "b", steps=15, loop=LOOP, devices=one, progress=quiet)
    flip(checkpoint_folder(tmp_path / "b", "fit") / "15")
    said = []
    quiet.say = said.append
    train([stage], tmp_path / "b", steps=20, loop=LOOP, devices=one, progress=quiet)
    assert any("damaged" in line for line in said) and any("step 10" in line for line in said)
    a, b = ((tmp_path / n / "metrics.jsonl").read_bytes() for n in "ab")
    assert a == b
    assert (tmp_path / "b" / "checkpoints" / "fit.damaged" / "15").is_dir()


def test_a_failed_save_in_the_background_stops_within_a_save_interval(tmp_path, monkeypatch):
    from orbax.checkpoint import future

    real = Checkpoints

    class Failing(future.Future):
        def result(self, timeout=None):
            time.sleep(0.05)
            raise RuntimeError("the cable is out")

    class Breaks(real):
        def save(self, step, state, meta, score=None):
            if step == 10:
                handler = self._ocp.StandardCheckpointHandler
                monkeypatch.setattr(handler, "async_save", broken)
            super().save(step, state, meta, score)

    async def broken(self, *args, **kwargs):
        return [Failing()]

    monkeypatch.setattr(session, "Checkpoints", Breaks)
    with pytest.raises(ckpt.CheckpointError, match=r"cable is out.*step 5") as error:
        train([toy_recipes.fit()], tmp_path, steps=4000, loop=LOOP, progress=Progress(quiet=True))
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert lines[-1]["step"] <= 20
    assert ckpt.steps_in(checkpoint_folder(tmp_path, "fit")) == [5]
    result = train([toy_recipes.fit()], tmp_path, steps=15, loop=LOOP,
                   progress=Progress(quiet=True))  # fmt: skip
    assert result.step == 15


def test_names_of_leaves_are_unique_or_refused():
    with pytest.raises(ValueError, match="dots"):
        ckpt.leaf_names({"a.b": np.ones(1), "a": {"b": np.ones(1)}})


def test_a_digest_sees_every_bit_and_ignores_strides():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert ckpt.digest(x) == ckpt.digest(np.asfortranarray(x))
    y = x.copy()
    y.view(np.uint32)[1, 1] ^= 1
    assert ckpt.digest(x) != ckpt.digest(y)




def test_full_disks_are_known_by_number_and_by_what_writers_say():
    deep = ValueError("OUT_OF_RANGE: Failed to write 9 bytes: File too large [os_error_code='27']")
    outer = RuntimeError("save failed")
    outer.__cause__ = deep
    assert is_disk_full(outer) and is_disk_full(OSError(28, "x"))
    assert not is_disk_full(PermissionError(13, "no"))
