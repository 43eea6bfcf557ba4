import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from files.making import mutated

from jaxhead.files.errors import InputError
from jaxhead.files.mat_files import read_mat


def save(path, compress=False, **arrays):
    scipy.io.savemat(path, arrays, do_compression=compress)
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_numbers_of_the_wanted_names_are_read(tmp_path, compress):
    a, b = np.random.default_rng(0).normal(size=(3, 4)), np.arange(10, dtype=np.uint8)[None]
    path = save(tmp_path / "a.mat", compress, a=a, text="no numbers", b=b)
    found = read_mat(path, ("a", "b", "c"))
    assert sorted(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], a)
    np.testing.assert_array_equal(found["b"], b)
    assert found["b"].dtype == np.uint8


@pytest.mark.parametrize(
    "value", ["text", {"x": 1.0}, np.array([{"x": 1}, "a"], object), scipy.sparse.eye(3), 1j]
)
def test_anything_but_real_numbers_is_refused(tmp_path, value):
    path = save(tmp_path / "a.mat", a=value)
    with pytest.raises(InputError, match="'a' is not an array of numbers"):
        read_mat(path, ("a",))


def test_other_versions_and_other_files_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    for data, message in (
        (b"MATLAB 7.3 MAT-file" + bytes(200), "save it with -v7"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "save it with -v7"),
        (b"hello", "not a .mat file"),
        (bytes(300), "not a .mat file"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=message) as error:
            read_mat(path, ("a",))
        assert str(path) in str(error.value)


def test_what_unpacks_to_too_much_is_refused_first(tmp_path):
    path = save(tmp_path / "a.mat", True, a=np.zeros((1000, 1000)), b=np.zeros((1000, 1000)))
    assert path.stat().st_size < 40_000
    assert read_mat(path, ("b",), max_bytes=9_000_000)["b"].shape == (1000, 1000)
    with pytest.raises(InputError, match="'a' of shape .* exceeds the limit"):
        read_mat(path, ("a",), max_bytes=7_000_000)
    with pytest.raises(InputError, match="'b' of shape .* exceeds the limit"):
        read_mat(path, ("a", "b"), max_bytes=15_000_000)
    assert read_mat(path, (), max_bytes=100_000) == {}  # what nobody wants is not unpacked
    head = path.read_bytes()[:128]
    path.write_bytes(head + struct.pack("<II", 14, 1 << 30) + bytes(100))
    with pytest.raises(InputError, match="cut off"):
        read_mat(path, ("a",))


def variable(shape, size, kind=9, flags=6, data=bytes(16)) -> bytes:
    """A variable `a` of doubles that says what it likes."""
    body = struct.pack("<IIII", 6, 8, flags, 0) + struct.pack("<II", 5, 4 * len(shape))
    body += struct.pack(f"<{len(shape)}i", *shape) + bytes(-4 * len(shape) % 8)
    body += struct.pack("<HH4s", 1, 1, b"a") + struct.pack("<II", kind, size) + data
    return struct.pack("<II", 14, len(body)) + body


@pytest.mark.parametrize(
    "content, message",
    [
        (variable((1, 2), 16), None),
        (variable((1, 3), 24), "holds 24 bytes"),
        (variable((1, 3), 16), "holds 16 bytes"),
        (variable((1, -2), 16), "shape"),
        (variable((1 << 30, 1 << 30), 16), "exceeds"),
        (variable((1, 2), 16, kind=14), "elements of type 14"),
        (variable((1, 2), 16, flags=4), "not an array"),
        (variable((1, 2), 16, flags=17), "not an array"),
        (variable((1, 2), 16) + variable((1, 2), 16), "twice"),
        (variable((), 16), "shape"),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_variables_that_contradict_themselves_are_refused(tmp_path, content, message, compress):
    head = save(tmp_path / "b.mat", b=1.0).read_bytes()[:128]
    if compress and message != "twice":
        packed = zlib.compress(content)
        content = struct.pack("<II", 15, len(packed)) + packed
    path = tmp_path / "a.mat"
    path.write_bytes(head + content)
    if message is None:
        np.testing.assert_array_equal(read_mat(path, ("a",))["a"], [[0.0, 0.0]])
        return
    with pytest.raises(InputError, match=message) as error:
        read_mat(path, ("a",))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("compress", [False, True])
def test_damage_ends_in_one_line_or_in_data(tmp_path, compress):
    path = save(tmp_path / "a.mat", compress, a=np.eye(4), b=np.arange(6.0), text="abc")
    whole, refused = path.read_bytes(), 0
    for seed in range(400):
        path.write_bytes(mutated(whole, seed))
        try:
            read_mat(path, ("a", "b"), max_bytes=1 << 20)
        except InputError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 40
