"""The documents of other programs: every field is checked, every fault names file and field."""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError

_MAX_JSON = 256 << 20
_MAX_TEXT = 1 << 20
_REQUIRED = object()


class Fields:
    """An object of a JSON document.

    Attributes:
      value: the object.
      where: file and place, for messages.
    """

    def __init__(self, value: Any, where: str):
        if not isinstance(value, dict):
            raise InputError(f"{where}: {type(value).__name__}, expected an object with fields")
        self.value, self.where = value, where

    def __contains__(self, name: str) -> bool:
        return self.value.get(name) is not None

    def number(
        self, name: str, low: float = -1e9, high: float = 1e9, *, default: Any = _REQUIRED
    ) -> float:
        """A finite number from `low` to `high`."""
        if name not in self and default is not _REQUIRED:
            return default
        value = self._get(name)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        # Compared first: a whole number may be too large for a float.
        if not known or not low <= value <= high or not math.isfinite(value):
            raise InputError(f"{self.where}: {name} {_shown(value)}, expected {low:g} to {high:g}")
        return float(value)

    def integer(self, name: str, low: int = 0, high: int = 10_000_000) -> int:
        """A whole number from `low` to `high`."""
        value = self.number(name, low, high)
        if value != int(value):
            raise InputError(f"{self.where}: {name} {value}, expected a whole number")
        return int(value)

    def text(self, name: str) -> str:
        """A string that is not empty."""
        value = self._get(name)
        if not isinstance(value, str) or not value:
            raise InputError(f"{self.where}: {name} {_shown(value)}, expected a text")
        return value

    def file(self, name: str, folder: pathlib.Path, suffixes: tuple[str, ...] = ("",)):
        """The path of a file inside `folder`; the first of `suffixes` with which there is one.

        Names that lead out of the folder are refused, whether or not something is there.
        """
        text = self.text(name)
        parts = pathlib.PurePosixPath(text.replace("\\", "/")).parts
        outside = ".." in parts or "\0" in text or (parts and parts[0].endswith(":"))
        if not parts or outside or text.startswith(("/", "\\")):
            raise InputError(f"{self.where}: {name} {_shown(text)} leads out of {folder}")
        path = folder.joinpath(*parts)
        for suffix in suffixes:
            if os.path.isfile(f"{path}{suffix}"):
                return pathlib.Path(f"{path}{suffix}")
        raise InputError(f"{self.where}: {name} names {path}, which is missing")

    def matrix(self, name: str = "transform_matrix") -> np.ndarray:
        """(4, 4) float64, finite, its last row 0 0 0 1."""
        matrix = self.numbers(name, (4, 4))
        if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
            raise InputError(f"{self.where}: {name} ends in {matrix[3].tolist()}, expected 0 0 0 1")
        return matrix

    def numbers(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Finite float64 numbers of a shape; -1 stands for any length."""
        value = self._get(name)
        try:
            array = np.array(value)
            known = array.dtype.kind in "if" and array.ndim == len(shape)
        except (ValueError, OverflowError):
            array, known = np.zeros(0), False
        fits = known and all(n in (-1, m) for n, m in zip(shape, array.shape))
        if not fits or not np.isfinite(array).all():
            wanted = " x ".join("n" if n < 0 else str(n) for n in shape)
            raise InputError(f"{self.where}: {name} {_shown(value)}, expected {wanted} numbers")
        return array.astype(np.float64)

    def entries(self, name: str = "frames") -> list[Fields]:
        """The objects of a list; null entries, which some writers leave, are skipped."""
        value = self._get(name)
        if not isinstance(value, list):
            raise InputError(f"{self.where}: {name} {_shown(value)}, expected a list")
        return [
            Fields(item, f"{self.where}: {name}[{number}]")
            for number, item in enumerate(value)
            if item is not None
        ]

    def _get(self, name: str) -> Any:
        if name not in self:
            close = [key for key in self.value if key.lower() == name.lower()]
            hint = f" (there is {close[0]!r})" if close else ""
            raise InputError(f"{self.where}: {name} is missing{hint}")
        return self.value[name]


def read_json(path: pathlib.Path) -> Fields:
    """A JSON document of any program.

    Raises:
      InputError: missing, too large, not JSON, or not an object.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > _MAX_JSON:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_JSON}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({str(error)[:120]})") from None
    return Fields(value, str(path))


def read_numbers(path: pathlib.Path, columns: int | None = None) -> np.ndarray:
    """Numbers of a text file: (n,) or, with `columns`, (n, columns) float64.

    Raises:
      InputError: missing, too large, or anything else than finite numbers.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected numbers")
    if path.stat().st_size > _MAX_TEXT:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_TEXT}")
    words = path.read_bytes().decode("latin-1").replace(",", " ").split()
    try:
        array = np.array([float(word) for word in words])
    except ValueError as error:
        raise InputError(f"{path}: {str(error)[:120]}, expected numbers") from None
    if not np.isfinite(array).all() or (columns and array.size % columns):
        wanted = f"rows of {columns} " if columns else ""
        raise InputError(f"{path}: {array.size} numbers, expected {wanted}finite ones")
    return array.reshape(-1, columns) if columns else array


def find_picture(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """The picture `name` in a folder, of whichever usual suffix, or None."""
    for suffix in (".png", ".jpg", ".jpeg", ".webp"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    return None


def natural(text: str) -> list[tuple[str, tuple[int, str]]]:
    """A key that sorts names by their numbers: 9 before 10."""
    parts = re.split(r"([0-9]+)", text)
    numbers = [part.lstrip("0") for part in parts[1::2]]
    # Of any length: compared as text of their lengths.
    keys = [*((len(number), number) for number in numbers), (-1, "")]
    return list(zip(parts[::2], keys))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
