import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jaxhead.files import atomic
from jaxhead.files.atomic import (
    clean_leftovers,
    new_file,
    new_folder,
    write_bytes,
    write_json,
    write_text,
)
from jaxhead.files.errors import InputError

NAMES = [
    "plain.txt",
    "with space",
    "quo'te\".bin",
    "-dash",
    "ünï→.json",
    ".hidden",
    "a\nb",
    "x" * 250,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_written_whole(tmp_path, name):
    with new_file(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith((tmp_path / name).suffix)
        assert not (tmp_path / name).exists()
        temporary.write_bytes(b"abc")
    assert (tmp_path / name).read_bytes() == b"abc"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing(tmp_path, error):
    with pytest.raises(error), new_file(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise error
    with pytest.raises(error), new_folder(tmp_path / "b") as temporary:
        (temporary / "x").write_bytes(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_replaced(tmp_path):
    write_text(tmp_path / "a", "old")
    (tmp_path / "b" / "c").mkdir(parents=True)
    with pytest.raises(InputError, match="exists already"), new_file(tmp_path / "a"):
        pass
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "b"):
        pass
    with (
        pytest.raises(InputError, match="not a folder"),
        new_folder(tmp_path / "a", overwrite=True),
    ):
        pass
    with pytest.raises(InputError, match="not a file"), new_file(tmp_path / "b", overwrite=True):
        pass
    with pytest.raises(InputError), new_file(tmp_path / "a" / "below"):
        pass
    for name in ["", "a\0b", "x" * 300]:
        with pytest.raises(InputError), new_file(name) as temporary:
            temporary.write_bytes(b"")
    assert (tmp_path / "a").read_text() == "old"


def test_a_target_made_meanwhile_is_kept(tmp_path):
    with pytest.raises(InputError, match="meanwhile"), new_file(tmp_path / "a") as temporary:
        temporary.write_text("mine")
        (tmp_path / "a").write_text("theirs")
    assert (tmp_path / "a").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a"]


def test_folders_replace_only_when_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as temporary:
        (temporary / "x").write_text("1")
    with new_folder(tmp_path / "empty", overwrite=True) as temporary:
        (temporary / "y").write_text("2")
    with pytest.raises(ValueError), new_folder(tmp_path / "empty", overwrite=True) as temporary:
        raise ValueError
    assert [p.name for p in (tmp_path / "empty").iterdir()] == ["y"]
    assert os.listdir(tmp_path) == ["empty"]


def test_parents_are_made_and_json_is_strict(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", {"ü": [1, 2.5, None]})
    assert json.loads((tmp_path / "a" / "b" / "c.json").read_text("utf-8")) == {"ü": [1, 2.5, None]}
    write_json(tmp_path / "a" / "b" / "c.json", 1)
    with pytest.raises(ValueError):
        write_json(tmp_path / "d.json", float("nan"))
    with pytest.raises(InputError, match="exists"):
        write_bytes(tmp_path / "a" / "b" / "c.json", b"", overwrite=False)
    assert not (tmp_path / "d.json").exists()


def test_a_full_disk_names_place_and_bytes(tmp_path):
    with pytest.raises(InputError, match=r"no space left.*12 bytes needed, \d+ bytes free"):
        with new_file(tmp_path / "a", needed=12):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), new_file(tmp_path / "a"):
        open(tmp_path / "something else")


KILLED = """
import sys, time
from jaxhead.files.atomic import new_file, new_folder
with new_file(sys.argv[1] + "/a.bin") as file, new_folder(sys.argv[1] + "/b") as folder:
    file.write_bytes(b"half")
    (folder / "x").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        assert clean_leftovers(tmp_path) == []
        assert len(list(tmp_path.iterdir())) == 2
        os.kill(process.pid, signal.SIGKILL)
        for _ in range(100):  # a zombie, not yet waited for, counts as dead
            if len(clean_leftovers(tmp_path)) == 2:
                break
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_replacement_is_put_back(tmp_path, monkeypatch):
    with new_folder(tmp_path / "run") as temporary:
        (temporary / "x").write_text("former")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    aside = atomic._beside(tmp_path / "run", "replaced", "")
    aside = aside.with_name(aside.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    os.rename(tmp_path / "run", aside)
    other = tmp_path / ".keep.00000000-1-00000000.partial"
    other.write_text("another machine's")
    clean_leftovers(tmp_path)
    assert (tmp_path / "run" / "x").read_text() == "former"
    assert sorted(os.listdir(tmp_path)) == [other.name, "run"]


def test_cleaning_a_folder_that_is_not_there_is_harmless(tmp_path):
    assert clean_leftovers(tmp_path / "none") == []
