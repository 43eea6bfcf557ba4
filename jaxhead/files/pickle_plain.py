"""What a pickle describes as plain data: arrays, sparse matrices, chumpy's objects, containers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.pickle_machine import MAX_OPCODES
from jaxhead.files.pickle_parts import Made

_MAX_DEPTH = 64
_NUMBERS = re.compile(r"[|<>=]?(b1|i[1248]|u[1248]|f(2|4|8|16)|c(8|16)|[SU]\d{1,6}|O\d?)")


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


class NumpyType(Made):
    """A type of NumPy's, whose byte order comes as its state."""

    def __init__(self, text: Any, *_: Any):
        text = text.decode("latin-1") if isinstance(text, bytes) else text
        if not isinstance(text, str) or not _NUMBERS.fullmatch(text):
            raise InputError(f"has an array of type {str(text)[:40]!r}, expected numbers or text")
        self.value = np.dtype("O" if text.lstrip("|<>=")[0] == "O" else text)

    def build(self, state: Any) -> None:
        order = latin_bytes(state[1])
        if order not in (b"<", b">", b"|", b"=") or any(part is not None for part in state[2:5]):
            raise InputError("has an array of a structured type, expected numbers or text")
        letter: Any = order.decode()
        self.value = self.value.newbyteorder(letter)

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        return self.value.str


class ArrayState(Made):
    """An array, made of the state that follows it; one of objects is a list, or its only item."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self._value: Any = None
        self._items: list[Any] | None = None
        self._shape: tuple[int, ...] = ()

    def build(self, state: Any) -> None:
        shape, dtype, fortran, raw = state[-4:]
        if not isinstance(dtype, NumpyType):
            raise InputError("has an array without a type")
        if isinstance(raw, str):
            self._budget.spend(len(raw))
        if dtype.value.hasobject:
            self._shape = check_shape(shape)
            if type(raw) is not list or len(raw) != math.prod(self._shape) or len(self._shape) > 1:
                raise InputError(f"has an array of objects of shape {self._shape}, expected a list")
            self._items = raw
        else:
            self._value = array(raw, dtype.value, shape, fortran=bool(fortran))

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        if self._items is not None:
            return walk(self._items) if self._shape else walk(self._items[0])
        if self._value is None:
            raise InputError("has an array without contents")
        return self._value


class SparseState(Record):
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
    shape, raw = check_shape(shape), latin_bytes(raw)
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise InputError(f"has an array of shape {shape} and type {dtype} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def latin_bytes(text: Any) -> bytes:
    """Bytes, also where Python 2 wrote them as text."""
    if isinstance(text, str):
        return text.encode("latin-1")
    if not isinstance(text, bytes):
        raise InputError(f"has a {type(text).__name__} where bytes belong")
    return text


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
