import json
import sys

import numpy as np
import pytest
from captures.small_captures import small_capture

from jaxhead.captures import shards
from jaxhead.captures.shards import read_index, write_shards
from jaxhead.files.errors import InputError

NEEDED = "needs array-record: pip install 'jaxhead[corpora]'"


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return [small_capture(folder / "a", dropped=(7,)), small_capture(folder / "b", subject=1)]


@pytest.fixture
def made(captures, tmp_path):
    pytest.importorskip("array_record", reason=NEEDED)
    return write_shards(captures, tmp_path / "s", frames=4, shard_bytes=1)


def test_index_and_files(made, captures):
    assert made.layout.frames == 4 and made.layout.size == (16, 16)
    # 16 of 20 frames train: runs of 7 and 8 beside the dropped one, and a run of 16.
    assert [row["clips"] for row in made.captures] == [3, 4]
    assert list(made.records.values()) == [1] * 7 and len(made) == 7
    assert sorted(path.name for path in made.folder.iterdir()) == [*made.records, "index.json"]
    assert read_index(made.folder) == made


def test_splits_strides_and_progress(captures, tmp_path):
    pytest.importorskip("array_record", reason=NEEDED)
    seen = []
    test = write_shards(captures, tmp_path / "test", frames=2, split="test", stride=1,
                        progress=lambda *x: seen.append(x))  # fmt: skip
    assert [row["clips"] for row in test.captures] == [3, 3] and seen == [(1, 2), (2, 2)]
    whole = write_shards(captures, tmp_path / "all", frames=12, split="all", masks=False)
    assert [row["clips"] for row in whole.captures] == [1, 1] and len(whole.records) == 1


def test_captures_that_do_not_fit_leave_nothing(captures, tmp_path):
    pytest.importorskip("array_record", reason=NEEDED)
    other = small_capture(tmp_path / "other", size=32)
    with pytest.raises(InputError, match=r"other: size \(32, 32\), the first capture has"):
        write_shards([captures[0], other], tmp_path / "s", frames=4)
    with pytest.raises(InputError, match="no run of 17 train frames in 2 captures"):
        write_shards(captures, tmp_path / "s", frames=17)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    swaying = [small_capture(tmp_path / f"sway{nodes}", sway=nodes, subject=1) for nodes in (5, 17)]
    with pytest.raises(InputError, match=r"sway5: counts .*'sway': 5}, the first capture has"):
        write_shards([captures[0], swaying[0]], tmp_path / "s", frames=4)
    mixed = write_shards([captures[0], swaying[1]], tmp_path / "mixed", frames=4)
    assert mixed.layout.counts["sway"] == 17
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "kept").write_text("")
    with pytest.raises(InputError, match="exists already"):
        write_shards(captures, tmp_path / "s", frames=4)


@pytest.mark.parametrize(
    "bad", [{"frames": 0}, {"stride": -1}, {"split": "half"}, {"margin": np.nan}]
)
def test_bad_options(captures, tmp_path, bad):
    with pytest.raises(InputError, match="expected at least 1"):
        write_shards(captures, tmp_path / "s", **bad)


def test_without_array_record_one_line_says_what_to_install(captures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record", None)
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(InputError, match=r"pip install 'jaxhead\[corpora\]'"):
        write_shards(captures, tmp_path / "s", frames=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i | {"format": "other"}, "format is not"),
        (lambda i: i | {"version": 1}, "version 1, this program reads 2"),
        (lambda i: i | {"version": 3}, "version 3, this program reads 2"),
        (lambda i: i | {"shards": {}}, "names no shards"),
        (lambda i: i | {"shards": {"../clips-00000.array_record": {"records": 1, "bytes": 1}}},
         "is no shard"),
        (lambda i: i | {"shards": {"clips-00000.array_record": {"records": 1, "bytes": 1}}},
         "missing or cut off"),
        (lambda i: i | {"layout": i["layout"] | {"fps": "x"}}, "malformed"),
        (lambda i: i | {"layout": i["layout"] | {"size": [999999, 999999]}}, "malformed"),
        (lambda i: i | {"layout": i["layout"] | {"counts": {"expression": 2, "vertices": 4,
         "landmarks": 6}}}, "malformed"),
        (lambda i: i | {"captures": 3}, "malformed"),
    ],
)
def test_a_bad_index_is_refused(tmp_path, change, words):
    layout = {"frames": 4, "fps": 25.0, "size": [16, 16], "audio_rate": 16000, "margin": 0.5,
              "masks": True, "counts": {"expression": 2, "vertices": 4, "landmarks": 6, "sway": 17}}
    good = {"format": shards.FORMAT, "version": 2, "layout": layout, "captures": [],
            "shards": {"clips-00000.array_record": {"records": 1, "bytes": 0}}}
    (tmp_path / "clips-00000.array_record").write_text("")
    (tmp_path / "index.json").write_text(json.dumps(good))
    assert len(read_index(tmp_path)) == 1
    (tmp_path / "index.json").write_text(json.dumps(change(good)))
    with pytest.raises(InputError, match=words):
        read_index(tmp_path)


def test_what_is_no_folder_of_shards(tmp_path):
    with pytest.raises(InputError, match="not a folder of shards"):
        read_index(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_index(tmp_path)
