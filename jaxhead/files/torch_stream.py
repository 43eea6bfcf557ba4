"""The layout of torch.save before PyTorch 1.6: five pickles, then the numbers of every storage.

It is also how a single storage lies inside a plain pickle that holds tensors.
"""

import struct
from typing import Any

from jaxhead.files.errors import InputError
from jaxhead.files.pickle_names import find_plain
from jaxhead.files.pickle_plain import Budget
from jaxhead.files.torch_types import Storages, find_tensors
from jaxhead.files.unpickling import Find, guarded, unpickle

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_stream(data: bytes, budget: Budget, skipped: Find | None = None) -> Any:
    """The value that such a file holds; `pickle_plain.plain` makes plain data of it.

    Args:
        data: the whole file.
        budget: of the file.
        skipped: knows names whose objects are skipped.

    Raises:
        InputError: damaged, cut off, too large, or asking for anything else than numbers.
    """
    storages = Storages(budget)
    finders = [find_plain(budget), find_tensors(budget)]
    if skipped is not None:
        finders.append(skipped)
    magic, place = unpickle(data, 0, ())
    if magic != _MAGIC:
        raise InputError("is a pickle, but not one that torch.save wrote")
    protocol, place = unpickle(data, place, ())
    system, place = unpickle(data, place, ())
    if protocol != _PROTOCOL or type(system) is not dict:
        raise InputError(f"has the unknown protocol {str(protocol)[:40]} of torch.save")
    check_order(system.get("little_endian") is True)
    value, place = unpickle(data, place, finders, storages.persistent)
    keys, place = unpickle(data, place, ())
    _fill(storages, keys, data, place)
    return value


def check_order(little: bool) -> None:
    """Refuses numbers whose bytes lie the other way round."""
    if not little:
        raise InputError("was written on a big-endian machine, which is not supported")


def _fill(storages: Storages, keys: Any, data: bytes, place: int) -> None:
    if type(keys) is not list or len(keys) != len(set(keys)):
        raise InputError("lists its storages wrongly")
    numbers = memoryview(data)
    for key in keys:
        if key not in storages.sizes:
            raise InputError(f"has data of storage {str(key)[:40]!r}, which nothing uses")
        count, width = storages.sizes[key]
        (stored,) = struct.unpack_from("<q", data, place)
        place += 8
        if stored != count or place + count * width > len(data):
            raise InputError(f"has {stored} numbers in storage {key[:40]!r}, not {count}, or less")
        storages.fill(key, numbers[place : place + count * width])
        place += count * width


def storage_from_bytes(budget: Budget) -> Any:
    """What reads a storage inside a plain pickle, whose bytes are a file of their own."""

    def make(data: Any) -> Any:
        if not isinstance(data, bytes):
            raise InputError("has a storage that is not bytes")
        budget.spend(len(data))
        return guarded(lambda: read_stream(data, budget))

    return make
