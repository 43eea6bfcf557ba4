"""PyTorch's checkpoints without PyTorch; the files were made by experiments/make_checkpoint_files.

What no PyTorch would write is made here: archives with wrong lengths, views, names and bytes.
"""

import pathlib
import zipfile

import ml_dtypes
import numpy as np
import pytest
from files import torch_pickles
from files.making import mutated
from files.torch_pickles import Call, Id, Name, packed

from jaxhead.files.errors import InputError
from jaxhead.files.pickles import read_pickle
from jaxhead.files.torch_files import read_torch

FILES = pathlib.Path(__file__).parent / "checkpoints"
ROW = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize("name", ["zip.pth", "stream_cuda.tar"])
def test_both_layouts_hold_the_same(name):
    values = read_torch(FILES / name)
    expected = {
        "whole": ROW,
        "strided": ROW.reshape(3, 4)[:, ::2],
        "transposed": ROW.reshape(3, 4).T,
        "offset": ROW[5:8],
        "expanded": np.full((3, 2), 7, np.float32),
        "scalar": np.array(3),
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
        "parameter": np.arange(2, dtype=np.float32),
        "numpy": np.arange(4.0).reshape(2, 2),
        "bfloat16": np.arange(3).astype(ml_dtypes.bfloat16),
    }
    for kind in "float64 float16 int64 int32 int16 int8 uint8 complex64 complex128".split():
        expected[kind] = np.arange(3).astype(kind)
    for key, value in expected.items():
        assert values[key].dtype == value.dtype and values[key].shape == value.shape, key
        np.testing.assert_array_equal(values[key], value)
    state = values["state"]
    assert list(state) == ["weight", "bias"] and type(state) is dict
    np.testing.assert_array_equal(state["weight"], np.arange(6).reshape(3, 2))
    ordered = {"a": 1, "b": [2.5, None, True, "x", b"bytes", (1, 2)]}
    assert values["ordered"] == ordered and values["numpy_scalar"] == 0.25
    assert values["size"] == (1, 2) and values["dtype"] == "torch.float16"
    assert values["device"] == "cuda:0" and values["step"] == 2**40
    assert values["optimizer"]["param_groups"][0]["lr"] == 0.5
    moments = values["optimizer"]["state"][0]
    np.testing.assert_allclose(moments["exp_avg"], 0.1, rtol=1e-6)
    assert moments["step"] == 1
    assert not set(values) - set(expected) - {"state", "optimizer", "ordered", "numpy_scalar",
                                              "size", "dtype", "device", "step"}  # fmt: skip


def test_newer_types_and_tensors_in_a_plain_pickle():
    values = read_torch(FILES / "newer.pt")
    assert values["uint16"].dtype == np.uint16 and values["uint16"].tolist() == [1, 1]
    assert values["float8_e4m3fn"].dtype == ml_dtypes.float8_e4m3fn
    embedding = read_pickle(FILES / "embedding.npy")
    np.testing.assert_array_equal(embedding["static"], [0, 1, 2])
    np.testing.assert_array_equal(embedding["dynamic"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(embedding["view"], [[1, 2], [4, 5]])


def test_whole_models_are_refused_by_name_and_can_be_skipped():
    with pytest.raises(InputError, match=r"model.pth: asks for torch\.nn\.modules\.linear\.Linear"):
        read_torch(FILES / "model.pth")
    skipped = read_torch(FILES / "model.pth", skip=("torch.nn.modules",))
    assert skipped == "<torch.nn.modules.linear.Linear>"


def storage(count=6, kind="FloatStorage", key="0", device="cpu"):
    return Id("storage", Name(f"torch.{kind}"), key, device, count)


def tensor(size=(2, 3), stride=(3, 1), offset=0, kept=None):
    kept = storage() if kept is None else kept
    return Call("torch._utils._rebuild_tensor_v2", kept, offset, size, stride, False, {})


def archive(path, value, *, data=None, name="a/data/0", extra=(), kind=zipfile.ZIP_STORED):
    data = np.arange(6, dtype=np.float32).tobytes() if data is None else data
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("a/data.pkl", packed(value))
        file.writestr(name, data)
        for member, content in extra:
            file.writestr(member, content)
    return path


def stream(path, value, *, keys=("0",), count=6, data=None, system=None):
    data = np.arange(6, dtype=np.float32).tobytes() if data is None else data
    path.write_bytes(torch_pickles.stream(value, keys, count, data, system))
    return path


WRONG_TENSORS = {
    "beyond": (tensor(size=(3, 3)), "in a storage of 6"),
    "offset": (tensor(offset=1), "in a storage of 6"),
    "negative offset": (tensor(offset=-1), "without a storage"),
    "negative stride": (tensor(stride=(-3, 1)), "shape"),
    "negative size": (tensor(size=(2, -3)), "shape"),
    "more strides": (tensor(stride=(3, 1, 1)), "strides"),
    "float size": (tensor(size=(2, 3.0)), "shape"),
    "expanded without end": (tensor(size=(2**40,), stride=(0,)), "limit"),
    "many axes": (tensor(size=(1,) * 40, stride=(1,) * 40), "shape"),
    "no storage": (tensor(kept="0"), "without a storage"),
    "huge": (tensor(kept=storage(2**40)), "limit"),
    "negative": (tensor(kept=storage(-6)), "no known type or length"),
    "text as count": (tensor(kept=storage("6")), "no known type or length"),
    "unknown storage": (tensor(kept=storage(kind="QInt8Storage")), "QInt8Storage"),
    "storage that is none": (tensor(kept=Id("module", Name("torch.FloatStorage"))), "else than"),
    "other code": ({"a": Call("torch._utils._rebuild_device_tensor_from_numpy", 1)}, "asks for"),
    "system": ({"a": Call("os.system", "touch owned")}, r"asks for os\.system"),
    "jit": ({"a": Call("torch.jit._script.unpackage_script_module", 1)}, "asks for"),
    "a type called": ({"a": Call("torch.FloatStorage", 3)}, "calls a type"),
    "circle by type": (Call("torch._tensor._rebuild_from_type_v2", 1, 2, (), 3), "damaged"),
    "sizes differ": ([tensor(), tensor(kept=storage(5))], "twice with different"),
    "too little": (tensor(kept=storage(7)), "holds 24 bytes|not 7"),
}


@pytest.mark.parametrize("case", WRONG_TENSORS)
@pytest.mark.parametrize("layout", [archive, stream])
def test_tensors_that_do_not_hold_are_refused(tmp_path, monkeypatch, case, layout):
    monkeypatch.chdir(tmp_path)
    value, message = WRONG_TENSORS[case]
    path = layout(tmp_path / "a.pth", value)
    with pytest.raises(InputError, match=message) as error:
        read_torch(path, max_bytes=1 << 20)
    assert str(path) in str(error.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("layout", [archive, stream])
def test_right_ones_of_the_same_making_are_read(tmp_path, layout):
    value = [tensor(), tensor(size=(3,), stride=(2,), offset=1)]
    value += [Call("torch._utils._rebuild_tensor", storage(), 0, (6,), (1,))]
    value += [Call("torch._utils._rebuild_parameter", tensor(), True, {})]
    first, second, third, fourth = read_torch(layout(tmp_path / "a.pth", value))
    np.testing.assert_array_equal(first, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(second, [1, 3, 5])
    np.testing.assert_array_equal(third, np.arange(6))
    np.testing.assert_array_equal(fourth, first)
    double = [tensor(kept=storage(12, kind="cuda.HalfStorage")), tensor()]
    assert read_torch(layout(tmp_path / "a.pth", double[1:]))[0].dtype == np.float32


def test_views_of_storages_in_streams(tmp_path):
    """Until 1.0 a storage could be part of another."""
    part = Id("storage", Name("torch.cuda.FloatStorage"), "0", "cuda:1", 6, ("1", 2, 3))
    value = Call("torch._utils._rebuild_tensor_v2", part, 1, (2,), (1,), False, {})
    np.testing.assert_array_equal(read_torch(stream(tmp_path / "a.pth", value)), [3, 4])
    outside = Id("storage", Name("torch.FloatStorage"), "0", "cpu", 6, ("1", 4, 3))
    value = Call("torch._utils._rebuild_tensor_v2", outside, 0, (2,), (1,), False, {})
    with pytest.raises(InputError, match="ends behind it"):
        read_torch(stream(tmp_path / "a.pth", value))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_containers_that_do_not_hold_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    cases = [
        (lambda: archive(path, tensor(), name="a/data/1"), "holds 0 bytes"),
        (lambda: archive(path, tensor(), extra=[("b/data.pkl", b"")]), "not one that torch"),
        (lambda: archive(path, tensor(), extra=[("a/data/0", b"")]), "not one that torch"),
        (lambda: archive(path, tensor(), extra=[("a/byteorder", b"big")]), "big-endian"),
        (lambda: stream(path, tensor(), system={"little_endian": False}), "big-endian"),
        (lambda: stream(path, tensor(), keys=("0", "0")), "lists its storages"),
        (lambda: stream(path, tensor(), keys=("7",)), "which nothing uses"),
        (lambda: stream(path, tensor(), keys=()), "lacks the data"),
        (lambda: stream(path, tensor(), count=2**62), "storage '0'"),
        (lambda: stream(path, tensor(), data=b"abc"), "storage '0'"),
        (lambda: path.write_bytes(packed({"a": 1})), "not one that torch.save wrote"),
        (lambda: path.write_bytes(b"\0" * 257 + b"ustar" + b"\0" * 300), "0.1.10"),
        (lambda: path.write_bytes(b"PK\3\4"), "damaged"),
        (lambda: path.write_bytes(b"hello"), "damaged|opcode"),
    ]
    for make, message in cases:
        make()
        with pytest.raises(InputError, match=message) as error:
            read_torch(path)
        assert str(path) in str(error.value)


def test_an_archive_that_grows_is_refused_by_its_sizes(tmp_path):
    zeros = bytes(4 << 20)
    value = tensor(size=(1 << 20,), stride=(1,), kept=storage(1 << 20))
    path = archive(tmp_path / "a.pth", value, data=zeros, kind=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    assert read_torch(path, max_bytes=4 << 20).shape == (1 << 20,)
    with pytest.raises(InputError, match="limit"):
        read_torch(path, max_bytes=(4 << 20) - 1)
    path = archive(tmp_path / "b.pth", tensor(), extra=[("a/byteorder", zeros)],
                   kind=zipfile.ZIP_DEFLATED)  # fmt: skip
    with pytest.raises(InputError, match="big-endian"):
        read_torch(path, max_bytes=1000)


@pytest.mark.parametrize("name", ["zip.pth", "stream_cuda.tar", "embedding.npy"])
def test_damage_ends_in_one_line_or_in_data(tmp_path, name):
    whole, path, refused = (FILES / name).read_bytes(), tmp_path / name, 0
    read = read_pickle if name == "embedding.npy" else read_torch
    cut = [whole[: len(whole) * part // 20] for part in range(1, 20)]
    for data in [*cut, *(mutated(whole, seed) for seed in range(150))]:
        path.write_bytes(data)
        try:
            read(path, max_bytes=1 << 20)
        except InputError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 50
