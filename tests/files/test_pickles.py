"""Pickles of head models are read; pickles that attack are refused, each in one line."""

import argparse
import collections
import io
import pathlib
import pickle
import struct

import numpy as np
import pytest
import scipy.sparse
from files import python2
from files.making import mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhead.files import pickle_machine, pickle_plain
from jaxhead.files.errors import InputError
from jaxhead.files.pickles import read_pickle


def model() -> dict:
    rng = np.random.default_rng(0)
    return {
        "f": np.arange(12, dtype=np.uint32).reshape(4, 3),
        "v_template": python2.chumpy(rng.normal(size=(5, 3))),
        "shapedirs": python2.chumpy(np.asfortranarray(rng.normal(size=(5, 3, 4)))),
        "J_regressor": scipy.sparse.csc_matrix(np.eye(2, 5)),
        "rows": scipy.sparse.csr_matrix(np.array([[0.0, 3, 0], [1, 0, 2]])),
        "kintree_table": np.array([[4294967295, 0], [0, 1]], np.uint32),
        "bs_style": "lbs",
        "names": ["a", "\xfc", ("b", 1, -(2**40), 2.5, None, True)],
        "masks": {"face": np.array([1, 2], np.int64), "empty": np.zeros((0, 3))},
        "scalar": np.float32(0.5),
        "odd": {3, 1, 2},
    }


def check(value):
    expected = model()
    for key in ("v_template", "shapedirs"):
        np.testing.assert_array_equal(value[key], expected[key].x)
    for key in ("J_regressor", "rows"):
        np.testing.assert_array_equal(value[key], expected[key].toarray())
    for key in ("f", "kintree_table"):
        assert value[key].dtype == np.uint32
        np.testing.assert_array_equal(value[key], expected[key])
    assert value["bs_style"] == "lbs" and value["names"] == expected["names"]
    assert value["scalar"] == 0.5 and value["odd"] == [1, 2, 3]
    np.testing.assert_array_equal(value["masks"]["face"], [1, 2])
    assert value["masks"]["empty"].shape == (0, 3)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_pickles_of_python_2_are_read(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(python2.dumps(model(), protocol))
    check(read_pickle(tmp_path / "a.pkl"))


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_python_3_are_read(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(model(), protocol))
    check(read_pickle(tmp_path / "a.pkl"))


def test_arrays_of_objects_are_their_content(tmp_path):
    np.save(tmp_path / "a.npy", model(), allow_pickle=True)
    check(read_pickle(tmp_path / "a.npy"))
    np.save(tmp_path / "b.npy", np.array([{"x": 1}, None], object), allow_pickle=True)
    assert read_pickle(tmp_path / "b.npy") == [{"x": 1}, None]
    np.savez(tmp_path / "c.npz", a=np.eye(2), b=np.array({"x": np.ones(2)}, object))
    archive = read_pickle(tmp_path / "c.npz")
    np.testing.assert_array_equal(archive["a"], np.eye(2))
    np.testing.assert_array_equal(archive["b"]["x"], np.ones(2))
    np.save(tmp_path / "d.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    np.testing.assert_array_equal(read_pickle(tmp_path / "d.npy"), [[0, 1, 2], [3, 4, 5]])


def test_chumpy_without_an_array_is_its_name(tmp_path):
    wrapped = python2.chumpy(0)
    del wrapped.__dict__["x"]
    (tmp_path / "a.pkl").write_bytes(python2.dumps({"posedirs": wrapped}))
    assert read_pickle(tmp_path / "a.pkl") == {"posedirs": "<chumpy.ch.Ch>"}


def call(module: str, name: str, *, opcodes: bytes = b"tR.") -> bytes:
    """A pickle that calls a name with the shell command that leaves a file behind."""
    return f"c{module}\n{name}\n(S'touch owned'\n".encode() + opcodes


def stacked(module: str, name: str) -> bytes:
    text = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return b"\x80\x04" + text + b"\x93\x8c\x0btouch owned\x85R."


ATTACKS = {
    "os.system": call("os", "system"),
    "posix.system": call("posix", "system"),
    "builtins.eval": call("builtins", "eval"),
    "__builtin__.exec": call("__builtin__", "exec"),
    "builtins.__import__": call("builtins", "__import__"),
    "builtins.getattr": call("builtins", "getattr"),
    "subprocess.Popen": b"csubprocess\nPopen\n((lp0\nS'touch'\naS'owned'\natR.",
    "runpy.run_path": call("runpy", "run_path"),
    "pydoc.locate": call("pydoc", "locate"),
    "functools.partial": call("functools", "partial"),
    "operator.attrgetter": call("operator", "attrgetter"),
    "types.FunctionType": call("types", "FunctionType"),
    "numpy.load": call("numpy", "load"),
    "numpy.testing._private.utils.runstring": call("numpy.testing._private.utils", "runstring"),
    "numpy.core.multiarray.fromfile": call("numpy.core.multiarray", "fromfile"),
    "scipy.sparse.csc.os": call("scipy.sparse.csc", "os"),
    "chumpyx.system": call("chumpyx", "system"),
    "torch.load": call("torch", "load"),
    "torch.storage.io": call("torch.storage", "io"),
    "posix.system by INST": b"(S'touch owned'\niposix\nsystem\n.",
    "posix.system by OBJ": b"(cposix\nsystem\nS'touch owned'\no.",
    "posix.system by NEWOBJ": b"\x80\x02cposix\nsystem\nX\x0b\0\0\0touch owned\x85\x81.",
    "posix.system by NEWOBJ_EX": b"\x80\x04cposix\nsystem\nX\x0b\0\0\0touch owned\x85}\x92.",
    "posix.system by STACK_GLOBAL": stacked("posix", "system"),
    "os.system by a dotted name": stacked("numpy", "ndarray.os.system"),
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pos.system\n.",
    "a buffer outside": b"\x80\x05\x97.",
    "encoding by another codec": b"c_codecs\nencode\n(X\x02\0\0\0aaX\x03\0\0\0hextR.",
    "a state for a list": b"](S'append'\nI1\ndb.",
    "a call of a text": b"S'os.system'\n(S'touch owned'\ntR.",
    "a state for a name": b"cnumpy\nndarray\n}S'__setstate__'\ncbuiltins\nobject\nsb.",
    "named arguments": b"\x80\x04ccollections\nOrderedDict\n)}X\x01\0\0\0aK\x01s\x92.",
    "a list that is no list": b"ccollections\nOrderedDict\n(tRS'x'\na.",
    "an array of records": pickle.dumps(np.zeros(2, [("a", "f4")])),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_in_one_line(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    for name, data in (("a.pkl", ATTACKS[attack]), ("a.npy", npy(ATTACKS[attack]))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError) as error:
            read_pickle(name)
        message = str(error.value)
        assert message.startswith(name) and "\n" not in message and "damaged" not in message
        if "." in attack.split()[0]:
            assert f"asks for {attack.split()[0]}" in message or "numpy.ndarray.os" in message
    assert not (tmp_path / "owned").exists()


def npy(content: bytes) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


def test_the_attacks_work_on_an_unpickler_that_trusts(tmp_path, monkeypatch):
    """The payload is real: Python's own reader runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("os.system", "posix.system by INST", "posix.system by STACK_GLOBAL"):
        pickle.loads(ATTACKS[name])
        (tmp_path / "owned").unlink()


def test_what_chumpy_names_is_never_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("chumpy.ch.os", "chumpy.os"):
        (tmp_path / "a.pkl").write_bytes(call(name, "system"))
        assert read_pickle("a.pkl") == f"<{name}.system>"
    assert not (tmp_path / "owned").exists()


def laughs() -> bytes:
    """Lists of two references to the list before, forty deep."""
    data = b"]q\x00"
    for level in range(40):
        data += b"](h" + bytes([level]) + b"h" + bytes([level]) + b"eq" + bytes([level + 1])
    return b"\x80\x02" + data + b"."


def sparse(shape) -> bytes:
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    matrix._shape = shape
    return pickle.dumps(matrix, 2)


def wrong(field, value) -> bytes:
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    setattr(matrix, field, np.array(value))
    return pickle.dumps(matrix, 2)


BOMBS = {
    "a billion laughs": (laughs(), "more than"),
    "depth": (b"\x80\x02)" + b"\x85" * 100_000 + b".", "nested"),
    "depth of a key": (b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.", "key of type tuple"),
    "depth in a set": (b"\x80\x04\x8f()" + b"\x85" * 100_000 + b"\x90.", "key of type tuple"),
    "a circle": (b"]q\x00h\x00a.", "contains itself"),
    "a circle of a table": (b"}q\x00K\x01h\x00s.", "contains itself"),
    "a length": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.", "cut off"),
    "a negative length": (b"\x80\x02T" + struct.pack("<i", -5) + b"abc.", "cut off"),
    "a number": (b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b"abc.", "number of"),
    "digits": (b"I" + b"9" * 10_000 + b"\n.", "digits"),
    "opcodes": (b"N0" * 2_000 + b"N.", "opcodes"),
    "keys that collide": (
        b"\x80\x02}" + b"".join(b"\x8a\x09" + (n * (2**61 - 1)).to_bytes(9, "little") + b"Ns"
                              for n in range(1, 9)) + b".", "2.60"),
    "a dense matrix": (sparse((2**40, 2**40)), "contradict"),
    "a wide matrix": (sparse((2**40, 2)), "limit"),
    "a matrix that points outside": (wrong("indices", [0, 2]), "beyond"),
    "a matrix that runs back": (wrong("indptr", [0, 3, 2]), "contradict"),
    "bytes over and over": (
        b"X\xe8\x03\0\0" + b"a" * 1000 + b"q\x00c_codecs\nencode\nq\x01X\x06\0\0\0latin1q\x02"
        + b"h\x01h\x00h\x02\x86R0" * 200 + b".", "limit"),
    "containers over and over": (
        b"](" + b"N" * 500 + b"eq\x00ccollections\nOrderedDict\nq\x010"
        + b"h\x01)R0cbuiltins\ntuple\nq\x02h\x00\x85R0" + b"h\x02h\x00\x85R0" * 200 + b".",
        "limit"),
    "a shape": (
        b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01(\x8a\x08" + b"\xff" * 7 + b"\x7ftcnumpy\n"
        b"dtype\n(S'f8'\nI0\nI1\ntR\x89S''\ntb.", "shape"),
    "a shape that is not filled": (
        b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01(K\x03tcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"
        b"\x89S'12345678'\ntb.", "in 8 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_before_they_grow(tmp_path, monkeypatch, bomb):
    data, message = BOMBS[bomb]
    if bomb in ("opcodes", "a billion laughs"):
        monkeypatch.setattr(pickle_machine, "MAX_OPCODES", 3_000)
        monkeypatch.setattr(pickle_plain, "MAX_OPCODES", 3_000)
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_pickle(tmp_path / "a.pkl", max_bytes=110_000)
    assert "a.pkl" in str(error.value)


def test_files_are_bounded_and_missing_ones_named(tmp_path):
    (tmp_path / "a.pkl").write_bytes(python2.dumps(model()))
    with pytest.raises(InputError, match="a.pkl: has .* the limit is 100"):
        read_pickle(tmp_path / "a.pkl", max_bytes=100)
    with pytest.raises(InputError, match="b.pkl.*not found"):
        read_pickle(tmp_path / "b.pkl")
    with pytest.raises(InputError, match="is a|not a file"):
        read_pickle(tmp_path)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_damage_ends_in_one_line_or_in_data(tmp_path, protocol):
    whole = python2.dumps(model(), protocol) if protocol < 5 else pickle.dumps(model(), protocol)
    path, refused = tmp_path / "a.pkl", 0
    cut = [whole[: len(whole) * part // 20] for part in range(1, 20)]
    for data in [*cut, *(mutated(whole, seed) for seed in range(150))]:
        path.write_bytes(data)
        try:
            read_pickle(path, max_bytes=1 << 20)
        except InputError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 50


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner, max_size=5) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(PLAIN, st.integers(0, 5))
def test_plain_data_is_what_python_s_own_reader_gives(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_pickle(path) == value


KINDS = [f"{order}{kind}" for kind in ("f4", "f8", "i2", "u8", "c8", "f2") for order in "<>"]


@pytest.mark.parametrize("kind", [*KINDS, "?", "S3", "<U4"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_arrays_of_every_kind_are_what_numpy_gives(tmp_path, kind, protocol):
    values = np.arange(24).reshape(2, 3, 4).astype(kind)
    part = values[::-1, :, 1:3]
    content = [values, np.asfortranarray(values), part, values[0, 0, 1], np.zeros((0, 2), kind)]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    for found, expected in zip(read_pickle(tmp_path / "a.pkl"), content, strict=True):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


def test_names_that_checkpoints_have_besides_arrays(tmp_path):
    value = {
        "counter": collections.Counter(a=2),
        "default": collections.defaultdict(list, {1: [2]}),
        "ordered": collections.OrderedDict(x=1),
        "path": pathlib.PurePosixPath("/a/b"),
        "options": argparse.Namespace(lr=0.5, names=["x"]),
        "frozen": frozenset([2, 1]),
        "bytes": bytearray(b"abc"),
    }
    for protocol in range(6):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol))
        assert read_pickle(tmp_path / "a.pkl") == {
            "counter": {"a": 2}, "default": {1: [2]}, "ordered": {"x": 1}, "path": "/a/b",
            "options": {"lr": 0.5, "names": ["x"]}, "frozen": [1, 2], "bytes": b"abc",
        }  # fmt: skip


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
def test_paths_are_read_by_the_names_that_every_python_gives_them(tmp_path, module):
    (tmp_path / "a.pkl").write_bytes(f"c{module}\nPosixPath\n(S'/'\nS'a'\nS'b'\ntR.".encode())
    assert read_pickle(tmp_path / "a.pkl") == "/a/b"
