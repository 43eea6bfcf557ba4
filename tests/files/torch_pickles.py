"""Pickles that name what PyTorch names, without PyTorch."""

import io
import itertools
import pickle
import struct
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class Name:
    """A global in a pickle."""

    def __init__(self, name):
        self.name = name


class Call:
    """A call of a global."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Id:
    """A persistent id."""

    def __init__(self, *parts):
        self.parts = parts


class _Pickler(pickle._Pickler):
    """Writes names that do not exist here, calls of them, and persistent ids."""

    def persistent_id(self, obj):
        return obj.parts if isinstance(obj, Id) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            module, _, name = obj.name.rpartition(".")
            self.write(f"c{module}\n{name}\n".encode())
        elif isinstance(obj, Call):
            self.save(Name(obj.name))
            self.save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def packed(value) -> bytes:
    """The pickle of a value with names, calls and ids in it."""
    stream = io.BytesIO()
    _Pickler(stream, 2).dump(value)
    return stream.getvalue()


def stream(value, keys=(), count=0, data=b"", system=None) -> bytes:
    """The bytes of torch.save before 1.6; all storages of `keys` have `count` numbers, `data`."""
    system = {"little_endian": True} if system is None else system
    parts = [packed(part) for part in (MAGIC, 1001, system, value, list(keys))]
    return b"".join(parts) + b"".join(struct.pack("<q", count) + data for _ in keys)


def tensor_in_pickle(values) -> Call:
    """What a tensor is in a plain pickle: its storage is a stream of its own."""
    kind = {"f": "FloatStorage", "i": "LongStorage"}[np.asarray(values).dtype.kind]
    values = np.asarray(values, np.float32 if kind == "FloatStorage" else np.int64)
    storage = Id("storage", Name(f"torch.{kind}"), "0", "cpu", values.size)
    inner = stream(storage, ("0",), values.size, values.tobytes())
    strides = tuple(step // values.itemsize for step in values.strides)
    kept = Call("torch.storage._load_from_bytes", inner)
    return Call("torch._utils._rebuild_tensor_v2", kept, 0, values.shape, strides, False, {})


_STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i4": "Int", "u1": "Byte"}


def save(path, value, *, device: str = "cuda:0") -> None:
    """Writes what torch.save would have written of containers of arrays, as tensors of `device`."""
    with zipfile.ZipFile(path, "w") as archive:
        count = itertools.count()

        def described(part):
            if isinstance(part, dict):
                return {key: described(item) for key, item in part.items()}
            if isinstance(part, list | tuple):
                return type(part)(described(item) for item in part)
            if not isinstance(part, np.ndarray):
                return part
            key = str(next(count))
            archive.writestr(f"archive/data/{key}", np.ascontiguousarray(part).tobytes())
            kind = Name(f"torch.{_STORAGES[part.dtype.str[1:]]}Storage")
            strides = np.cumprod([1, *part.shape[:0:-1]])[: part.ndim][::-1]
            return Call(
                "torch._utils._rebuild_tensor_v2", Id("storage", kind, key, device, part.size),
                0, part.shape, tuple(int(step) for step in strides), False, {},
            )  # fmt: skip

        archive.writestr("archive/data.pkl", packed(described(value)))
        archive.writestr("archive/byteorder", "little")
