import json

import ml_dtypes
import numpy as np
import pytest
from files.making import mutated

from jaxhead.files.errors import InputError
from jaxhead.files.safetensors import read_safetensors


def entry(dtype="F32", shape=(2, 3), places=(0, 24)):
    return {"dtype": dtype, "shape": shape, "data_offsets": places}


NUMBERS = np.arange(6, dtype=np.float32).tobytes()


def write(path, header, data=NUMBERS, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def test_arrays_of_every_kind_are_read(tmp_path):
    kinds = {
        "F64": "f8", "F32": "f4", "F16": "f2", "BF16": ml_dtypes.bfloat16, "I64": "i8", "I32": "i4",
        "I16": "i2", "I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?",
        "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    }  # fmt: skip
    header, data, expected = {"__metadata__": {"format": "pt"}}, b"", {}
    for name, kind in kinds.items():
        expected[name] = np.array([[0], [1]]).astype(kind)
        piece = expected[name].tobytes()
        header[name] = entry(name, (2, 1), (len(data), len(data) + len(piece)))
        data += piece
    values = read_safetensors(write(tmp_path / "a.safetensors", header, data))
    assert list(values) == list(kinds)
    for name, value in expected.items():
        assert values[name].dtype == value.dtype
        np.testing.assert_array_equal(values[name], value)


@pytest.mark.parametrize(
    "header, message",
    [
        ({"a": entry("F31")}, "dtype 'F31'"),
        ({"a": entry(shape=(2, 2))}, "has 24 bytes"),
        ({"a": entry(shape=(2, -3))}, "shape"),
        ({"a": entry(shape=(2, 3.0))}, "shape"),
        ({"a": entry(places=(0, 25))}, "overlap or do not fill"),
        ({"a": entry(places=(4, 28))}, "overlap or do not fill"),
        ({"a": entry(shape=(5,), places=(0, 20))}, "overlap or do not fill"),
        ({"a": entry(), "b": entry()}, "overlap or do not fill"),
        ({"a": {"dtype": "F32"}}, "damaged"),
        ([1, 2], "not an object"),
        (b"[" * 100_000, "damaged"),
        (b'{"a": 1, "a": 2}', "twice"),
    ],
)
def test_headers_that_contradict_the_file_are_refused(tmp_path, header, message):
    path = write(tmp_path / "a.safetensors", header)
    with pytest.raises(InputError, match=message) as error:
        read_safetensors(path)
    assert str(path) in str(error.value)


def test_lengths_are_bounded(tmp_path):
    path = write(tmp_path / "a.safetensors", {"a": entry()})
    with pytest.raises(InputError, match="limit is 50"):
        read_safetensors(path, max_bytes=50)
    for length in (2**63, 2**31, 5000):
        with pytest.raises(InputError, match="declares a header"):
            read_safetensors(write(path, {"a": entry()}, length=length))


def test_damage_ends_in_one_line_or_in_data(tmp_path):
    path = write(tmp_path / "a.safetensors", {"a": entry(), "__metadata__": {"x": "y"}})
    whole, refused = path.read_bytes(), 0
    for seed in range(200):
        path.write_bytes(mutated(whole, seed))
        try:
            read_safetensors(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 50
