import io
import zipfile

import numpy as np
import pytest
from files.making import mutated

from jaxhead.files.arrays import (
    digest,
    pack_npz,
    read_npy_mmap,
    read_npz,
    unpack_npz,
    write_npz,
)
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile


def sample() -> dict:
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(size=(3, 4)).astype(np.float32),
        "scalar": np.float64(2.5),
        "flags": np.array([True, False]),
        "names": np.array(["jawOpen", "ü"]),
        "empty": np.zeros((0, 3), np.int32),
        "fortran": np.asfortranarray(rng.integers(0, 9, (4, 5))),
        "folder/inside": np.arange(3, dtype=np.uint8),
    }


@pytest.mark.parametrize("compress", [True, False])
def test_round_trip_is_exact_and_bytes_are_reproducible(tmp_path, compress):
    arrays = sample()
    write_npz(tmp_path / "a.npz", arrays, compress=compress)
    write_npz(tmp_path / "b", arrays, compress=compress)
    back = read_npz(tmp_path / "a.npz")
    assert list(back) == list(arrays)
    for name, value in arrays.items():
        assert back[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(back[name], value)
    assert digest(tmp_path / "a.npz") == digest(tmp_path / "b")


def header(shape, descr="<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def test_rows_of_a_file_are_stored_as_the_array_is(tmp_path):
    values = np.random.default_rng(0).normal(size=(600, 4, 3)).astype(np.float32)
    rows = RowFile(tmp_path, (4, 3))
    rows.append(values)
    write_npz(tmp_path / "a.npz", {"v": rows, "w": values})
    write_npz(tmp_path / "b.npz", {"v": values, "w": values})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    "members, message",
    [
        ([("a.npy", header((1 << 40,)))], "exceeds"),
        ([("a.npy", header((1 << 62, 1 << 62)))], "exceeds"),
        (
            [("a.npy", header((1 << 29,)) + bytes(16)), ("b.npy", header((1 << 29,)))],
            "needs|exceeds",
        ),
        ([("a.npy", header((8,)) + bytes(16))], "holds 16 bytes, its shape"),
        ([("a.npy", header((4,)) + bytes(17))], "holds 17 bytes"),
        ([("a.npy", header((-4,)))], "shape"),
        ([("a.npy", header((2,), "|O") + bytes(16))], "objects"),
        ([("a.npy", b"\x93NUMPY\x03\x00" + bytes(8))], "version"),
        ([("a.npy", b"cos\nsystem\n(S'true'\ntR.")], "damaged"),
        ([("a.txt", b"hello")], "not one array"),
        ([("a.npy", header((0,))), ("a.npy", header((0,)))], "not one array"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives_are_refused(tmp_path, members, message):
    path = archive(tmp_path / "a.npz", members)
    with pytest.raises(InputError, match=message) as error:
        read_npz(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "name", ["../a", "/a", "../../../../../tmp/a", "a/../../b", "C:\\a", "~/a", "a\nb", "x" * 300]
)
def test_names_inside_an_archive_are_names(tmp_path, name, monkeypatch):
    """Nothing is unpacked, so nothing can be written outside: a name is a key."""
    (tmp_path / "in" / "there").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "in" / "there")
    path = archive("a.npz", [(f"{name}.npy", header((0,)))])
    before = sorted(tmp_path.rglob("*"))
    assert list(read_npz(path)) == [name]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_sum_is_bounded_before_reading(tmp_path):
    write_npz(tmp_path / "a.npz", {"a": np.zeros(1000, np.uint8), "b": np.zeros(1000, np.uint8)})
    assert len(read_npz(tmp_path / "a.npz", max_bytes=2000)) == 2
    with pytest.raises(InputError, match="exceeds the limit of 1999 bytes"):
        read_npz(tmp_path / "a.npz", max_bytes=1999)


def test_pickled_arrays_are_refused_both_ways(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(InputError, match="objects"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="plain numbers"):
        write_npz(tmp_path / "b.npz", {"a": np.array([None])})
    np.save(tmp_path / "a.npy", np.array([None]))
    with pytest.raises(InputError, match="objects"):
        read_npy_mmap(tmp_path / "a.npy")


def test_damage_never_raises_anything_else(tmp_path):
    write_npz(tmp_path / "a.npz", sample())
    data = (tmp_path / "a.npz").read_bytes()
    path = tmp_path / "m.npz"
    for seed in range(200):
        path.write_bytes(mutated(data, seed))
        try:
            read_npz(path, max_bytes=1 << 20)
        except InputError as error:
            assert str(path) in str(error)


def test_missing_files_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ["none", "folder", "a\0b"]:
        for function in (read_npz, read_npy_mmap, digest):
            with pytest.raises(InputError):
                function(tmp_path / name)


def test_memory_maps_check_the_length(tmp_path):
    for array in [np.arange(12).reshape(3, 4), np.asfortranarray(np.eye(3)), np.zeros((0, 2))]:
        np.save(tmp_path / "a.npy", array)
        mapped = read_npy_mmap(tmp_path / "a.npy")
        np.testing.assert_array_equal(mapped, array)
        if array.size:
            assert not mapped.flags.writeable
    np.save(tmp_path / "a.npy", np.arange(100))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[:-8])
    with pytest.raises(InputError, match="needs 800"):
        read_npy_mmap(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(header((1 << 50,)))
    with pytest.raises(InputError, match="needs"):
        read_npy_mmap(tmp_path / "a.npy")


def test_the_digest_depends_on_names_types_shapes_values_only(tmp_path):
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2)
    base = digest({"a": a, "b": b})
    assert base == digest({"b": b, "a": np.asfortranarray(a)})
    assert base == digest({"a": np.repeat(a, 2, axis=1)[:, ::2], "b": b})
    others = [{"a": a, "c": b}, {"a": a.T, "b": b}, {"a": a.astype(np.float64), "b": b}, {"a": a}]
    others += [{"a": a.reshape(-1), "b": b}, {"a": a + 1, "b": b}]
    assert len({base, *(digest(other) for other in others)}) == len(others) + 1
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(str(tmp_path / "a")).startswith("ba7816bf8f01cfea")
    assert digest(a) == digest(a.copy()) and digest(np.float32(1)) != digest(np.ones(1, np.float32))


def test_archives_in_memory_are_those_of_files(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True)}
    data = pack_npz(arrays)
    write_npz(tmp_path / "x.npz", arrays, compress=False)
    assert data == (tmp_path / "x.npz").read_bytes()
    found = unpack_npz(data, "x")
    np.testing.assert_array_equal(found["a"], arrays["a"])
    with pytest.raises(InputError, match="x: member .* exceeds the limit of 20 bytes"):
        unpack_npz(data, "x", max_bytes=20)
    for bad in (data[:-9], b"", b"x" * 100):
        with pytest.raises(InputError, match="^x: "):
            unpack_npz(bad, "x")
    with pytest.raises(ValueError, match="plain numbers"):
        pack_npz({"a": np.array([None])})
