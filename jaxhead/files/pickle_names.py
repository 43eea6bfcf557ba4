"""The names of NumPy, SciPy, chumpy and Python that a pickle may use, and what each one makes.

Each gives numbers, text, lists or dictionaries; none runs code of a library whose behaviour a file
could choose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.pickle_parts import Inert, Made, Maker, check_key
from jaxhead.files.pickle_plain import (
    ArrayState,
    Budget,
    NumpyType,
    Record,
    SparseState,
    array,
    latin_bytes,
)

_SPARSE = re.compile(r"scipy\.sparse\._?(csc|csr)")
_SPARSE_NAMES = ("csc_matrix", "csr_matrix", "csc_array", "csr_array")
_BUILTINS = ("__builtin__", "builtins")


def _bytes(budget: Budget) -> Callable[..., bytes]:
    def make(text: Any = b"", encoding: Any = "latin1") -> bytes:
        if str(encoding).replace("-", "") not in ("latin1", "bytes"):
            raise InputError(f"has bytes encoded as {str(encoding)[:40]!r}, expected latin1")
        budget.spend(len(text))
        return latin_bytes(text)

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
    if not isinstance(dtype, NumpyType) or dtype.value.hasobject or order not in ("C", "F"):
        raise InputError("has an array of an unknown type or order")
    return array(raw, dtype.value, shape, fortran=order == "F")


def _scalar(dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, NumpyType) or dtype.value.hasobject:
        raise InputError("has a scalar that is no number")
    return array(raw, dtype.value, ())[()]


def find_plain(budget: Budget) -> Callable[[str, str], Made | None]:
    """The names of NumPy, SciPy, chumpy and Python that a file may use; None for others."""
    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "dtype"): NumpyType,
        ("numpy", "ndarray"): lambda *_: ArrayState(budget),
        ("_codecs", "encode"): _bytes(budget),
        ("collections", "OrderedDict"): _pairs(budget),
        ("collections", "defaultdict"): lambda _=None, items=(): _pairs(budget)(items),
        ("argparse", "Namespace"): lambda *_: Record("argparse.Namespace"),
        ("collections", "Counter"): _pairs(budget),
        ("copy_reg", "_reconstructor"): _new,
        ("copyreg", "_reconstructor"): _new,
    }
    for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
        # Python 3.13 alone writes the second name.
        for module in ("pathlib", "pathlib._local"):
            table[module, kind] = lambda *parts: _path(budget, parts)
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = lambda *_: ArrayState(budget)
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
            return Maker(full, lambda *_: SparseState(f"{name}", budget))
        make = table.get((module, name))
        return None if make is None else Maker(full, make)

    return find


def _new(kind: Any, *_: Any) -> Any:
    """An object without arguments, as Python 2 made those of classes."""
    return kind if isinstance(kind, Inert) else kind.make()


def _path(budget: Budget, parts: tuple[Any, ...]) -> str:
    """A path as text: that names nothing here."""
    texts = [str(part)[:4096] for part in parts[:64] if isinstance(part, str)]
    budget.spend(sum(map(len, texts)))
    return "/".join(texts).replace("//", "/")


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    if not all(isinstance(part, int | float) for part in (real, imaginary)):
        raise InputError("has a complex number of something else than numbers")
    return complex(real, imaginary)


def _refuse(*_: Any) -> Any:
    raise InputError("calls a type of Python's, which is refused")
