"""PyTorch's checkpoints (.pth, .pt, .tar, .ckpt) and .safetensors files as plain NumPy arrays.

PyTorch is not needed and nothing in a file is imported or called (see `pickle_machine`). Both
layouts of torch.save are read: the zip archive since 1.6 and the stream before, which is what
AD-NeRF's `*_head.tar` are.
"""

import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jaxhead.files.containers import local_file
from jaxhead.files.errors import InputError, about
from jaxhead.files.pickle_names import find_plain
from jaxhead.files.pickle_parts import Inert, Made
from jaxhead.files.pickle_plain import Budget, plain
from jaxhead.files.torch_stream import check_order, read_stream
from jaxhead.files.torch_types import Storages, find_tensors
from jaxhead.files.unpickling import Find, guarded, unpickle

_GIB = 1 << 30
_MAX_PICKLE = 1 << 28


def read_torch(
    path: str | os.PathLike, *, max_bytes: int = 8 * _GIB, skip: Collection[str] = ()
) -> Any:
    """What torch.save wrote, as plain data.

    Args:
        path: the checkpoint.
        max_bytes: bound on its storages and on what is made of them beyond that.
        skip: packages ("pytorch_lightning") or full names whose objects are skipped instead of
            refused: each becomes the text `<its name>` and what it holds is not looked at.

    Returns:
        Dictionaries, lists, tuples, numbers, text and read-only NumPy arrays; tensors and
        parameters on any device are arrays (bfloat16 and 8-bit floats with the dtypes of
        ml_dtypes). A whole pickled model is refused: a state dict is expected.

    Raises:
        InputError: missing, damaged, too large, or asking for anything else than numbers.
    """
    path = local_file(path, "a PyTorch checkpoint")
    with about(path):
        budget = Budget(max_bytes)
        with open(path, "rb") as file:
            head = file.read(512)
        if head[:2] == b"PK":
            return guarded(lambda: read_archive(path, budget, _skipped(skip)), "a checkpoint")
        if head[257:262] == b"ustar":
            raise InputError("is a tar from before PyTorch 0.1.10: save it anew with a later one")
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(f"has {size} bytes, the limit is {max_bytes}")
        read = lambda: plain(read_stream(path.read_bytes(), budget, _skipped(skip)))  # noqa: E731
        return guarded(read, "a checkpoint")


def _skipped(names: Collection[str]) -> Find:
    def find(module: str, name: str) -> Made | None:
        full = f"{module}.{name}"
        skip = any(full == part or full.startswith(f"{part}.") for part in names)
        return Inert(full) if skip else None

    return find


def read_archive(path: Path, budget: Budget, others: Find) -> Any:
    """The plain data of a zip archive of torch.save's.

    Args:
        path: the archive.
        budget: what all of it may take.
        others: names that it may use beyond those of plain data and tensors.

    Raises:
        InputError: not such an archive, or it asks for another name.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        roots = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(roots) != 1 or len(set(names)) != len(names):
            raise InputError("is a zip archive, but not one that torch.save wrote")
        root = roots[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names:
            with archive.open(f"{root}byteorder") as file:
                check_order(file.read(6) == b"little")
        if archive.getinfo(roots[0]).file_size > _MAX_PICKLE:
            raise InputError(f"has a pickle of more than {_MAX_PICKLE} bytes")

        def fetch(key: str, size: int) -> bytes:
            name = f"{root}data/{key}"
            stored = archive.getinfo(name).file_size if name in names else 0
            if stored != size:
                raise InputError(f"holds {stored} bytes of storage {key[:40]!r}, not {size}")
            return archive.read(name) if size else b""

        storages = Storages(budget, fetch)
        finders = (find_plain(budget), find_tensors(budget), others)
        value, _ = unpickle(archive.read(roots[0]), 0, finders, storages.persistent)
        return plain(value)
