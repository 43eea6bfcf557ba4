"""The numbers of a TorchScript archive (torch.jit.save), as OpenAI publishes CLIP.

Beside code, which is not looked at, such an archive holds its modules as a pickle like that of
torch.save, in which a module is nothing but its attributes.
"""

import os
import zipfile
from typing import Any

import numpy as np

from jaxhead.files.containers import local_file
from jaxhead.files.errors import InputError, about
from jaxhead.files.pickle_parts import Made, Maker
from jaxhead.files.pickle_plain import Budget, Record
from jaxhead.files.torch_files import read_archive
from jaxhead.files.unpickling import guarded

_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


def is_torchscript(path: str | os.PathLike) -> bool:
    """Whether a file is a zip archive with a table of constants, as torch.jit.save writes it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_torchscript(
    path: str | os.PathLike, *, max_bytes: int = 8 << 30
) -> dict[str, np.ndarray]:
    """The parameters and buffers of an archive: read-only arrays by the names of its state dict.

    Args:
        path: the archive.
        max_bytes: bound on its storages.

    Raises:
        InputError: missing, damaged, too large, or asking for anything else than numbers.
    """
    path = local_file(path, "a TorchScript archive")
    with about(path):
        read = lambda: read_archive(path, Budget(max_bytes), _modules)  # noqa: E731
        value = guarded(read, "a TorchScript archive")
        if not isinstance(value, dict):
            raise InputError(f"holds a {type(value).__name__}, expected a module")
        return _flat(value, "")


def _modules(module: str, name: str) -> Made | None:
    full = f"{module}.{name}"
    if module == "__torch__" or module.startswith("__torch__."):
        return Maker(full, lambda *_: Record(full))
    if module == "torch.jit._pickle" and name in _LISTS:
        return Maker(full, lambda items=(): items)
    return None


def _flat(value: dict[str, Any], prefix: str) -> dict[str, np.ndarray]:
    """Arrays of nested dictionaries by dotted names; flags and numbers of modules are dropped."""
    found: dict[str, np.ndarray] = {}
    for name, part in value.items():
        if isinstance(part, dict):
            found |= _flat(part, f"{prefix}{name}.")
        elif isinstance(part, np.ndarray):
            found[f"{prefix}{name}"] = part
    return found
