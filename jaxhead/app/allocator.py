"""The C library's allocator, told to keep what is freed."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8  # of glibc's malloc.h
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets freed blocks of any size stay with the process; returns whether that could be said.

    XLA's CPU backend takes the scratch memory of a program anew at every call. Blocks of 32 MiB and
    more glibc maps and unmaps each time, and the system clears every page that is touched first:
    half the time of an avatar's step that is dispatched alone. A setting of the user's
    ($MALLOC_..., or glibc's tunables) stays, and other C libraries are left as they are. Memory in
    use is the same; what was in use once is not handed back before the process ends.
    """
    tuned = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tuned or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Before glibc 2.35 the threshold may not be raised; no mappings at all come to the same.
    whole = tell(_MMAP_THRESHOLD, _MOST) or tell(_MMAP_MAX, 0)
    # One arena: those of threads (pmap runs programs on its own) unmap what is free of theirs.
    return bool(whole and tell(_TRIM_THRESHOLD, _MOST) and tell(_ARENA_MAX, 1))
