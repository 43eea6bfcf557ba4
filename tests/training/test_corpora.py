"""The feed of clips: order, positions, processes, bounded reading ahead, damage."""

import json
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from captures.small_captures import small_capture

from jaxhead.captures.shards import write_shards
from jaxhead.files.errors import InputError
from jaxhead.training.corpora import Corpus, clip_feed
from jaxhead.training.feeding import Feeding
from jaxhead.training.system import Stage, System

NEEDED = "needs grain and array-record: pip install 'jaxhead[corpora]'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight clips of eight frames: four of each of two captures."""
    pytest.importorskip("grain", reason=NEEDED)
    pytest.importorskip("array_record", reason=NEEDED)
    root = tmp_path_factory.mktemp("corpora")
    made = [small_capture(root / str(k), subject=k, frames=40) for k in range(2)]
    write_shards(made, root / "shards", frames=8, shard_bytes=40_000)
    return root / "shards"


@pytest.fixture(scope="module")
def corpus(folder):
    return Corpus([folder])


def taken(feed, count, position=None):
    """Rows of `count` steps, and the positions behind each."""
    position, rows, positions = feed.start if position is None else position, [], []
    for _ in range(count):
        one, position = feed.next(position)
        rows.append(one)
        positions.append(json.loads(json.dumps(position)))
    return rows, positions


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], name)


def marks(rows):
    """(subject, first frame) of every example, in order."""
    return [(int(s), int(f)) for row in rows for s, f in zip(row["capture"], row["first"])]


def test_examples_are_parts_of_the_captures(corpus):
    rows, _ = taken(clip_feed(corpus, 4, seed=0, frames=5), 3)
    offsets = set()
    for row in rows:
        assert row["frames"].shape == (4, 5, 16, 16, 3) and row["frames"].dtype == np.uint8
        for k in range(4):
            expected = row["first"][k] + np.arange(5)
            np.testing.assert_array_equal(row["frames"][k, :, 0, 0, 0], expected)
            np.testing.assert_array_equal(row["masks"][k, :, 0, 0, 0], 255 - expected)
            np.testing.assert_array_equal(row["landmarks"][k, :, 0, 0], expected)
            assert (row["frames"][k, :, 0, 0, 1] == row["capture"][k]).all()
            assert row["K"][k, 0, 0] == 1 + row["capture"][k]
            centre = row["sound"][k][8000 + 320 : -8000 : 640]
            np.testing.assert_allclose(centre, expected / 100, atol=1e-4)
        offsets |= set(row["first"] % 8)
    assert len(offsets) > 1


def test_every_clip_comes_once_per_epoch_in_an_order_of_the_seed(corpus):
    one, _ = taken(clip_feed(corpus, 4, seed=0), 4)
    other, _ = taken(clip_feed(corpus, 4, seed=1), 4)
    first, second = marks(one[:2]), marks(one[2:])
    assert sorted(first) == sorted(second) == sorted((s, f) for s in (0, 1) for f in (0, 8, 16, 24))
    assert first != second and first != marks(other[:2])


def test_the_position_restores_the_remaining_sequence(corpus, folder):
    rows, positions = taken(clip_feed(corpus, 3, seed=5, frames=3), 9)
    for at in range(9):
        position = positions[at - 1] if at else 0
        again, _ = taken(clip_feed(Corpus([folder]), 3, seed=5, frames=3), 2, position)
        for expected, found in zip(rows[at:], again):
            same(found, expected)


def test_a_position_may_be_asked_for_twice_and_out_of_order(corpus):
    feed = clip_feed(corpus, 2, seed=0)
    rows, _ = taken(feed, 5)
    for position in (0, 0, 3, 1, 2, 4):
        same(feed.next(position)[0], rows[position])


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_read_disjoint_parts_of_the_same_batches(corpus, processes):
    whole, _ = taken(clip_feed(corpus, 4, seed=3, frames=4), 5)
    parts = [
        taken(clip_feed(corpus, 4, seed=3, frames=4, process=p, processes=processes), 5)
        for p in range(processes)
    ]
    assert all(positions == parts[0][1] for _, positions in parts)
    for step, expected in enumerate(whole):
        rows = [part[0][step] for part in parts]
        same({name: np.concatenate([r[name] for r in rows]) for name in expected}, expected)


def test_folders_join_and_their_captures_are_numbered_on(folder, tmp_path):
    more = write_shards([small_capture(tmp_path / "x", subject=9, frames=40)], tmp_path / "s",
                        frames=8)  # fmt: skip
    corpus = Corpus([folder, more.folder])
    assert len(corpus) == 12 and len(corpus.captures) == 3
    rows, _ = taken(clip_feed(corpus, 12, seed=0, fields=("capture", "K")), 1)
    assert set(rows[0]) == {"capture", "K"}
    assert dict(zip(rows[0]["capture"].tolist(), rows[0]["K"][:, 0, 0])) == {0: 1, 1: 2, 2: 10}
    other = write_shards([tmp_path / "x"], tmp_path / "t", frames=4)
    with pytest.raises(InputError, match="the first has"):
        Corpus([folder, other.folder])


def feeding(feed, positions=None):
    stage = Stage("s", System(init=lambda key: None, updates=()), {"f": feed}, {})
    made = Feeding(stage, jax.local_devices()[:2], 2, 0, positions or {})
    made.open()
    return made


def test_the_training_reads_on_where_its_checkpoint_says(corpus):
    one = feeding(clip_feed(corpus, 4, seed=0, frames=2, fields=("frames", "first")))
    try:
        one.example_rows()  # compiling looks at rows while the stream reads
        one.rows(2)
        saved = json.loads(json.dumps(one.positions()))
        expected = jax.device_get(one.rows(2)["f"])
    finally:
        one.close()
    assert saved == {"f": 2}
    again = feeding(clip_feed(corpus, 4, seed=0, frames=2, fields=("frames", "first")), saved)
    try:
        same(jax.device_get(again.rows(2)["f"]), expected)
    finally:
        again.close()


def test_no_more_is_read_ahead_than_was_asked_for(folder, monkeypatch):
    corpus = Corpus([folder])
    read, lock, clip = [], threading.Lock(), corpus.clip

    def counted(*arguments, **options):
        with lock:
            read.append(arguments)
        return clip(*arguments, **options)

    monkeypatch.setattr(corpus, "clip", counted)
    feed = clip_feed(corpus, 2, seed=0, threads=2, ahead=3)
    position = feed.start
    for step in range(1, 6):
        _, position = feed.next(position)
        time.sleep(0.1)
        # What was given, what lies ready, and what each thread is at.
        assert 2 * step <= len(read) <= 2 * step + 2 * 3 + 2 + 2


def test_a_damaged_record_is_named_when_it_is_read(folder, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        if path.name == "clips-00000.array_record":
            middle = slice(len(data) // 8, len(data) // 8 + 4000)
            data[middle] = bytes(byte ^ 255 for byte in data[middle])
        (bad / path.name).write_bytes(data)
    with pytest.raises(InputError, match="clips-00000|damaged shards"):
        taken(clip_feed(Corpus([bad]), 8, seed=0), 2)


def test_what_cannot_be_fed_is_refused(corpus):
    with pytest.raises(InputError, match="9 frames, expected 1 to 8"):
        clip_feed(corpus, 2, seed=0, frames=9)
    with pytest.raises(InputError, match="depth: expected some of frames"):
        clip_feed(corpus, 2, seed=0, fields=("depth",))
    with pytest.raises(ValueError, match="batches of 3"):
        clip_feed(corpus, 3, seed=0, processes=2)
    with pytest.raises(InputError, match="no shards"):
        Corpus([])


def test_without_grain_one_line_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(InputError, match=r"pip install 'jaxhead\[corpora\]'"):
        Corpus([folder])


def test_a_program_ends_while_clips_are_read_ahead(folder):
    code = (
        "import sys; from jaxhead.training.corpora import Corpus, clip_feed;"
        "feed = clip_feed(Corpus([sys.argv[1]]), 2, seed=0); feed.next(0); print('read')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout == "read\n", done.stderr
