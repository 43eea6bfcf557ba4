"""What NumPy, SciPy, chumpy and Python itself name in a pickle, as plain data.

Every name of `TYPES` gives numbers, text, lists or dictionaries; none of them runs code of a
library whose behaviour a file could choose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.pickle_machine import MAX_OPCODES
from jaxhead.files.pickle_parts import Made, Maker, check_key

_MAX_DEPTH = 64
_NUMBERS = re.compile(r"[|<>=]?(b1|i[1248]|u[1248]|f(2|4|8|16)|c(8|16)|[SU]\d{1,6}|O\d?)")
_SPARSE = re.compile(r"scipy\.sparse\._?(csc|csr)")
_SPARSE_NAMES = ("csc_matrix", "csr_matrix", "csc_array", "csr_array")
_BUILTINS = ("__builtin__", "builtins")


class Budget:
    """Bytes that the makers of one file may take together: few opcodes could ask for much."""

    def __init__(self, limit: int):
        self.limit = limit
        self._left = limit

    def spend(self, count: int) -> None:
        """Takes `count` bytes, or refuses."""
        self._left -= count
        if self._left < 0:
            raise InputError(f"needs more than the limit of {self.limit} bytes")


class Record(Made):
    """An object that is nothing but its attributes, as a dictionary; of chumpy's, the array `x`."""

    def __init__(self, name: str):
        self.name = name
        self.state: dict[str, Any] = {}

    def build(self, state: Any) -> None:
        for part in state if type(state) is tuple else (state,):
            if type(part) is not dict:
                if part is None:
                    continue
                raise InputError(f"gives {self.name} a {type(part).__name__} as state")
            self.state.update(part)

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        if not self.name.startswith("chumpy."):
            return walk(self.state)
        return walk(self.state["x"]) if "x" in self.state else f"<{self.name}>"


class _Dtype(Made):
    """A type of NumPy's, whose byte order comes as its state."""

    def __init__(self, text: Any, *_: Any):
        text = text.decode("latin-1") if isinstance(text, bytes) else text
        if not isinstance(text, str) or not _NUMBERS.fullmatch(text):
            raise InputError(f"has an array of type {str(text)[:40]!r}, expected numbers or text")
        self.value = np.dtype("O" if text.lstrip("|<>=")[0] == "O" else text)

    def build(self, state: Any) -> None:
        order = _latin(state[1])
        if order not in (b"<", b">", b"|", b"=") or any(part is not None for part in state[2:5]):
            raise InputError("has an array of a structured type, expected numbers or text")
        self.value = self.value.newbyteorder(order.decode())

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        return self.value.str


class _Array(Made):
    """An array, made of the state that follows it; one of objects is a list, or its only item."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self._value: Any = None
        self._items: list[Any] | None = None
        self._shape: tuple[int, ...] = ()

    def build(self, state: Any) -> None:
        shape, dtype, fortran, raw = state[-4:]
        if not isinstance(dtype, _Dtype):
            raise InputError("has an array without a type")
        if isinstance(raw, str):
            self._budget.spend(len(raw))
        if dtype.value.hasobject:
            self._items, self._shape = raw, check_shape(shape)
            if type(raw) is not list or len(raw) != math.prod(self._shape) or len(self._shape) > 1:
                raise InputError(f"has an array of objects of shape {self._shape}, expected a list")
        else:
            self._value = array(raw, dtype.value, shape, fortran=bool(fortran))

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        if self._items is not None:
            return walk(self._items) if self._shape else walk(self._items[0])
        if self._value is None:
            raise InputError("has an array without contents")
        return self._value


class _Sparse(Record):
    """A matrix of SciPy's in compressed columns or rows, as a dense array."""

    def __init__(self, name: str, budget: Budget):
        super().__init__(name)
        self._budget = budget

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        values, index, start = (walk(self.state[key]) for key in ("data", "indices", "indptr"))
        shape = check_shape(self.state.get("_shape", self.state.get("shape")))
        by_column = "csc" in self.name
        rows = [isinstance(part, np.ndarray) and part.ndim == 1 for part in (values, index, start)]
        if not all(rows) or len(shape) != 2 or values.dtype.kind not in "fiub":
            raise InputError(f"has a {self.name} that does not hold together")
        lines, across = shape[::-1] if by_column else shape
        counts = np.diff(start)
        whole = len(start) == lines + 1 and start[0] == 0 and start[-1] == len(index)
        if not whole or len(values) != len(index) or (counts < 0).any():
            raise InputError(f"has a {self.name} whose indices contradict its shape {shape}")
        if len(index) and not 0 <= index.min() <= index.max() < across:
            raise InputError(f"has a {self.name} that refers beyond its shape {shape}")
        self._budget.spend(lines * across * values.dtype.itemsize)
        dense = np.zeros((lines, across), values.dtype)
        np.add.at(dense, (np.repeat(np.arange(lines), counts), index), values)
        return dense.T if by_column else dense


def check_shape(shape: Any) -> tuple[int, ...]:
    """The shape of an array, if it can be one."""
    shape = tuple(shape)
    if not all(type(side) is int and 0 <= side < 2**48 for side in shape) or len(shape) > 16:
        raise InputError(f"has an array of shape {str(shape)[:60]}")
    return shape


def array(raw: Any, dtype: np.dtype, shape: Any, *, fortran: bool = False) -> np.ndarray:
    """A read-only array over the bytes that a file holds of it.

    Args:
        raw: bytes, or text where Python 2 wrote it.
        dtype: of the elements, none of objects.
        shape: sizes, unchecked.
        fortran: whether the first axis varies fastest.
    """
    shape, raw = check_shape(shape), _latin(raw)
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise InputError(f"has an array of shape {shape} and type {dtype} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def _latin(text: Any) -> bytes:
    if isinstance(text, str):
        return text.encode("latin-1")
    if not isinstance(text, bytes):
        raise InputError(f"has a {type(text).__name__} where bytes belong")
    return text


def _bytes(budget: Budget) -> Callable[..., bytes]:
    def make(text: Any = b"", encoding: Any = "latin1") -> bytes:
        if str(encoding).replace("-", "") not in ("latin1", "bytes"):
            raise InputError(f"has bytes encoded as {str(encoding)[:40]!r}, expected latin1")
        budget.spend(len(text))
        return _latin(text)

    return make


def _pairs(budget: Budget) -> Callable[..., dict[Any, Any]]:
    def make(items: Any = ()) -> dict[Any, Any]:
        items = list(items.items()) if type(items) is dict else items
        budget.spend(64 * len(items))
        return {check_key(key): value for key, value in items}

    return make


def _items(budget: Budget, kind: Callable[[Any], Any]) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        if type(items) not in (list, tuple, set):
            raise InputError(f"makes a container of a {type(items).__name__}")
        budget.spend(64 * len(items))
        return kind(check_key(item) for item in items) if kind is set else kind(items)

    return make


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or dtype.value.hasobject or order not in ("C", "F"):
        raise InputError("has an array of an unknown type or order")
    return array(raw, dtype.value, shape, fortran=order == "F")


def _scalar(dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.value.hasobject:
        raise InputError("has a scalar that is no number")
    return array(raw, dtype.value, ())[()]


def find_plain(budget: Budget) -> Callable[[str, str], Made | None]:
    """The names of NumPy, SciPy, chumpy and Python that a file may use; None for others."""
    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "dtype"): _Dtype,
        ("numpy", "ndarray"): lambda *_: _Array(budget),
        ("_codecs", "encode"): _bytes(budget),
        ("collections", "OrderedDict"): _pairs(budget),
        ("collections", "defaultdict"): lambda _=None, items=(): _pairs(budget)(items),
        ("argparse", "Namespace"): lambda *_: Record("argparse.Namespace"),
        ("copy_reg", "_reconstructor"): lambda kind, *_: kind.make(),
        ("copyreg", "_reconstructor"): lambda kind, *_: kind.make(),
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = lambda *_: _Array(budget)
        table[f"{core}.multiarray", "scalar"] = _scalar
        table[f"{core}.numeric", "_frombuffer"] = _from_buffer
    for module in _BUILTINS:
        table |= {(module, "object"): lambda *_: None, (module, "bytes"): _bytes(budget)}
        table |= {(module, "bytearray"): _bytes(budget), (module, "complex"): _complex}
        table |= {(module, "dict"): _pairs(budget), (module, "list"): _items(budget, list)}
        table |= {(module, "tuple"): _items(budget, tuple), (module, "set"): _items(budget, set)}
        table |= {(module, "frozenset"): _items(budget, set)}
        table |= {(module, name): _refuse for name in ("int", "float", "long", "str", "bool")}

    def find(module: str, name: str) -> Made | None:
        full = f"{module}.{name}"
        if module.split(".")[0] == "chumpy":
            return Maker(full, lambda *_: Record(full))
        if _SPARSE.fullmatch(module) and name in _SPARSE_NAMES:
            return Maker(full, lambda *_: _Sparse(f"{name}", budget))
        make = table.get((module, name))
        return None if make is None else Maker(full, make)

    return find


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    if not all(isinstance(part, int | float) for part in (real, imaginary)):
        raise InputError("has a complex number of something else than numbers")
    return complex(real, imaginary)


def _refuse(*_: Any) -> Any:
    raise InputError("calls a type of Python's, which is refused")


def plain(value: Any) -> Any:
    """What a pickle described, as dictionaries, lists, tuples, numbers, text and arrays.

    Shared parts stay shared. What refers to itself, is nested too deeply, or would be too large
    for a reader that walks through all of it, is refused.
    """
    done: dict[int, tuple[Any, int, Any]] = {}
    seen, open_parts = [0], set[int]()

    def walk(part: Any) -> Any:
        seen[0] += 1
        if seen[0] > MAX_OPCODES:
            raise InputError(f"describes more than {MAX_OPCODES} values")
        if not isinstance(part, dict | list | tuple | set | Made):
            return part
        key = id(part)
        if key in done:
            seen[0] += done[key][1]
            return done[key][0]
        if key in open_parts:
            raise InputError("contains itself")
        if len(open_parts) >= _MAX_DEPTH:
            raise InputError(f"is nested more than {_MAX_DEPTH} deep")
        open_parts.add(key)
        before = seen[0]
        result = _parts(part, walk)
        open_parts.remove(key)
        done[key] = (result, seen[0] - before, part)  # the part stays, or its id could be another's
        return result

    return walk(value)


def _parts(part: Any, walk: Callable[[Any], Any]) -> Any:
    if isinstance(part, Made):
        return part.plain(walk)
    if isinstance(part, dict):
        return {walk(key): walk(value) for key, value in part.items()}
    if isinstance(part, set):
        return sorted((walk(item) for item in part), key=repr)
    return type(part)(walk(item) for item in part)
