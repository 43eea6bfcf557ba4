"""Tensors of a torch.save file as NumPy arrays; PyTorch itself is never imported.

A tensor in such a file is a storage (a row of numbers kept elsewhere in the file), an offset,
sizes and strides. All of them are checked before memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.pickle_parts import Made, Maker
from jaxhead.files.pickle_plain import Budget, check_shape
from jaxhead.files.unpickling import Find

_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexDouble": "complex128", "ComplexFloat": "complex64",
}  # fmt: skip
_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64"}
_DTYPES = {
    *_STORAGES.values(), "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
}  # fmt: skip


def dtype_named(name: str) -> np.dtype:
    """The NumPy dtype of PyTorch's `name` ("float32", "bfloat16"); little-endian on disk."""
    name = _ALIASES.get(name, name)
    if name not in _DTYPES:
        raise InputError(f"has numbers of type {name[:40]!r}, which are not supported")
    if name.startswith(("bfloat", "float8")):
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


class StorageType(Maker):
    """A class of storages: what its numbers are, None for bytes without a type."""

    def __init__(self, name: str, dtype: str | None):
        super().__init__(name, _not_called)
        self.dtype = dtype


class Dtype(Maker):
    """One of PyTorch's dtypes."""

    def __init__(self, name: str):
        super().__init__(f"torch.{name}", _not_called)
        self.dtype = name


def _not_called(*_: Any) -> Any:
    raise InputError("calls a type of PyTorch's, which is refused")


class Storages:
    """The storages of one file by key: declared while its pickle is read, fetched afterwards."""

    def __init__(self, budget: Budget, fetch: Callable[[str, int], bytes] | None = None):
        """Starts without any.

        Args:
            budget: what all of them may take.
            fetch: gives the bytes of a key, of which there must be as many; None where `fill` will.
        """
        self._budget = budget
        self._fetch = fetch
        self.sizes: dict[str, tuple[int, int]] = {}
        self._bytes: dict[str, bytes | memoryview] = {}

    def persistent(self, ident: Any) -> Storage:
        """The storage of a persistent id: ("storage", type, key, device, count[, view])."""
        if type(ident) is not tuple or len(ident) not in (5, 6) or ident[0] != "storage":
            raise InputError("refers to something else than a storage")
        kind, key, count = ident[1], str(ident[2]), ident[4]
        if not isinstance(kind, StorageType) or type(count) is not int or count < 0:
            raise InputError(f"has a storage {key[:40]!r} of no known type or length")
        width = dtype_named(kind.dtype).itemsize if kind.dtype else 1
        known = self.sizes.setdefault(key, (count, width))
        if known[0] * known[1] != count * width:
            raise InputError(f"declares storage {key[:40]!r} twice with different lengths")
        if count * width > self._budget.limit:
            raise InputError(f"declares {count * width} bytes, the limit is {self._budget.limit}")
        view = ident[5] if len(ident) == 6 else None
        start, count = (0, count) if view is None else (view[1], view[2])
        return Storage(self, key, kind.dtype, start * width, count * width)

    def fill(self, key: str, data: bytes | memoryview) -> None:
        """Takes the bytes of a key that has been declared."""
        self._bytes[key] = data

    def data(self, key: str) -> bytes | memoryview:
        """The bytes of a key."""
        if key not in self._bytes:
            if self._fetch is None:
                raise InputError(f"lacks the data of storage {key[:40]!r}")
            count, width = self.sizes[key]
            self._budget.spend(count * width)
            self._bytes[key] = self._fetch(key, count * width)
        return self._bytes[key]


class Storage(Made):
    """A row of numbers inside a file, from byte `start` of `size` bytes."""

    def __init__(self, storages: Storages, key: str, dtype: str | None, start: int, size: int):
        if not all(type(part) is int and part >= 0 for part in (start, size)):
            raise InputError(f"has a view of storage {key[:40]!r} that is not in it")
        self._place = (storages, key, start, size)
        self.dtype = dtype

    def elements(self, dtype: str | None) -> np.ndarray:
        """The numbers, read-only."""
        storages, key, start, size = self._place
        data = storages.data(key)
        if start + size > len(data):
            raise InputError(f"has a view of storage {key[:40]!r} that ends behind it")
        kind = dtype_named(dtype or self.dtype or "uint8")
        if size % kind.itemsize:
            raise InputError(f"has {size} bytes of {kind} in storage {key[:40]!r}")
        if kind == np.bool_:  # any byte but 0 means true, where NumPy expects 1
            return np.frombuffer(data, np.uint8, size, start) != 0
        return np.frombuffer(data, kind, size // kind.itemsize, start)

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        return self.elements(None)


class Tensor(Made):
    """A view of a storage; which class of tensors it was, and its gradient's hooks, are dropped."""

    def __init__(self, budget: Budget, dtype: str | None, view: tuple[Any, Any, Any, Any]):
        storage, offset, size, stride = view
        if not isinstance(storage, Storage) or type(offset) is not int or offset < 0:
            raise InputError("has a tensor without a storage")
        self._budget, self._storage, self._dtype = budget, storage, dtype
        self._offset, self._size, self._stride = offset, check_shape(size), check_shape(stride)
        if len(self._size) != len(self._stride):
            raise InputError(f"has a tensor of sizes {self._size} and strides {self._stride}")

    def build(self, state: Any) -> None:
        """Nothing: Python attributes of a tensor are dropped."""

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        numbers = self._storage.elements(self._dtype)
        size, count = self._size, math.prod(self._size)
        if not count:
            return np.zeros(size, numbers.dtype)
        last = self._offset + sum((n - 1) * step for n, step in zip(size, self._stride))
        if last >= len(numbers):
            raise InputError(
                f"has a tensor of sizes {size}, strides {self._stride} and offset {self._offset} "
                f"in a storage of {len(numbers)}"
            )
        if all(n == 1 or step == math.prod(size[axis + 1 :])
               for axis, (n, step) in enumerate(zip(size, self._stride))):  # fmt: skip
            return numbers[self._offset : self._offset + count].reshape(size)
        self._budget.spend(count * numbers.itemsize)
        strides = [step * numbers.itemsize for step in self._stride]
        view = np.lib.stride_tricks.as_strided(numbers[self._offset :], size, strides)
        return np.ascontiguousarray(view)


def find_tensors(budget: Budget, from_bytes: Callable[[bytes], Any] | None = None) -> Find:
    """The names of PyTorch that a file of numbers may use; None for others.

    Args:
        budget: what tensors that are not contiguous may take.
        from_bytes: reads a storage that was saved on its own, as tensors in a plain pickle are.
    """

    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        return Tensor(budget, None, (storage, offset, size, stride))

    def typed(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, dtype: Any,
              *___: Any) -> Tensor:  # fmt: skip
        if not isinstance(dtype, Dtype):
            raise InputError("has a tensor without a type")
        return Tensor(budget, dtype.dtype, (storage, offset, size, stride))

    table: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": typed,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "torch._tensor._rebuild_from_type_v2": lambda make, _, args, __: make.make(*args),
        "torch.Size": lambda size=(): check_shape(size),
        "torch.device": lambda *parts: ":".join(str(part)[:40] for part in parts),
        "torch.Tensor": _not_called,
        "torch.nn.parameter.Parameter": _not_called,
    }
    if from_bytes is not None:
        table["torch.storage._load_from_bytes"] = from_bytes

    def find(module: str, name: str) -> Made | None:
        full = f"{module}.{name}"
        if module in ("torch", "torch.cuda") and name.removesuffix("Storage") in _STORAGES:
            return StorageType(full, _STORAGES[name.removesuffix("Storage")])
        if module == "torch.storage" and name in ("UntypedStorage", "_UntypedStorage"):
            return StorageType(full, None)
        if module == "torch" and _ALIASES.get(name, name) in _DTYPES:
            return Dtype(name)
        return Maker(full, table[full]) if full in table else None

    return find
