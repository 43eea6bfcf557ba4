"""Frozen graphs: constants of floats, and damage in every byte."""

import struct

import numpy as np
import pytest

from jaxhead.files.errors import InputError
from jaxhead.files.frozen_graph import read_frozen_graph


def _varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _field(number, value):
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _node(name, tensor, kind="Const", attribute="value"):
    entry = _field(1, attribute.encode()) + _field(2, _field(8, tensor))
    node = _field(1, name.encode()) + _field(2, kind.encode()) + _field(5, entry)
    return _field(1, node)


def _tensor(shape, values, kind=1):
    dims = b"".join(_field(2, _field(1, side)) for side in shape)
    return _field(1, kind) + _field(2, dims) + values


def _read(tmp_path, data):
    path = tmp_path / "graph.pb"
    path.write_bytes(data)
    return read_frozen_graph(path)


def test_constants_of_every_spelling(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    packed = _field(5, values.tobytes())
    single = b"".join(_varint(5 << 3 | 5) + struct.pack("<f", x) for x in (1.5, 2.5))
    graph = (
        _node("content", _tensor((2, 3), _field(4, values.tobytes())))
        + _node("packed", _tensor((2, 3), packed))
        + _node("one by one", _tensor((2,), single))
        + _node("one for all", _tensor((4,), _field(5, struct.pack("<f", 7))))
        + _node("scalar", _tensor((), _field(5, struct.pack("<f", 3))))
        + _node("double", _tensor((1,), _field(4, struct.pack("<d", 2)), kind=2))
        + _node("whole numbers", _tensor((1,), _field(4, b"\1\0\0\0"), kind=3))
        + _node("variable", _tensor((1,), _field(4, b"\0\0\0\0")), kind="VariableV2")
        + _node("other", _tensor((1,), _field(4, b"\0\0\0\0")), attribute="shape")
        + _field(4, _field(1, 24))
    )
    found = _read(tmp_path, graph)
    assert set(found) == {"content", "packed", "one by one", "one for all", "scalar", "double"}
    np.testing.assert_array_equal(found["content"], values)
    np.testing.assert_array_equal(found["packed"], values)
    np.testing.assert_array_equal(found["one by one"], [1.5, 2.5])
    np.testing.assert_array_equal(found["one for all"], [7] * 4)
    assert found["scalar"] == 3 and found["scalar"].shape == () and found["double"][0] == 2


def test_damage_ends_in_one_line(tmp_path):
    values = np.ones((3, 2), np.float32).tobytes()
    graph = _node("h1", _tensor((3, 2), _field(4, values)))
    rng = np.random.default_rng(0)
    for attempt in range(300):
        damaged = bytearray(graph)
        for place in rng.integers(0, len(graph), 1 + attempt % 3):
            damaged[place] = rng.integers(256)
        if attempt % 4 == 0:
            damaged = damaged[: rng.integers(1, len(graph))]
        try:
            for value in _read(tmp_path, bytes(damaged)).values():
                assert value.dtype == np.float32 and value.size < 1e6
        except InputError as error:
            assert "graph.pb" in str(error)


def test_repeated_values_are_no_bomb(tmp_path):
    one = _field(5, b"\0" * 4)
    with pytest.raises(InputError, match="more numbers than it holds"):
        _read(tmp_path, b"".join(_node(f"n{k}", _tensor((1 << 20,), one)) for k in range(17)))
    with pytest.raises(InputError, match="1 values for the shape"):
        _read(tmp_path, _node("a", _tensor((1 << 21,), one)))


@pytest.mark.parametrize(
    "data,message",
    [
        (b"", "is empty"),
        (b"RIFF....WAVE", "damaged or not a frozen"),
        (_node("a", _tensor((2,), _field(4, b"\0" * 4))), "1 values for the shape"),
        (_node("a", _tensor((1,), _field(4, b"\0" * 4))) * 2, "two nodes called 'a'"),
        (_node("a", _tensor((1 << 30, 1 << 30), _field(5, b"\0" * 4))), "1 values"),
        (_field(4, _field(1, 24)), "no nodes"),
    ],
)
def test_what_is_no_graph_is_named(tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, data)
