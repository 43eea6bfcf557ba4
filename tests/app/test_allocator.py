"""Freed memory stays with the process, unless the user has said something else."""

import os
import platform
import subprocess
import sys

import pytest

from jaxhead.app.allocator import keep_freed_memory

PAGES = """
import resource
import numpy as np
{first}

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    # Two at once: more than one heap of a thread's arena holds.
    blocks = [np.empty(36 << 20, np.uint8) for _ in range(2)]
    for block in blocks:
        block.fill(1)
    del block, blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""
BY_A_THREAD = """
import threading

def faults(alone=faults):
    found = []
    thread = threading.Thread(target=lambda: found.append([alone(), alone()][1]))
    thread.start()
    thread.join()
    return found[0]
"""
KEPT = "from jaxhead.app.allocator import keep_freed_memory; assert keep_freed_memory()"


def faults(first="", by_a_thread=False, **environment):
    """Pages that a process has to map for a block that it had and freed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    script = PAGES.format(first=first)
    if by_a_thread:
        script = script.replace("\nfaults()\n", BY_A_THREAD + "\nfaults()\n")
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True,
        env=clean | environment, text=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_freed_block_is_used_again():
    # Pages may be large ones: then there are few faults either way, but never none.
    assert faults() > 10 * faults(KEPT)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_thread_s_freed_block_is_used_again():
    assert faults(by_a_thread=True) > 10 * faults(KEPT, by_a_thread=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=4096")],
)
def test_what_the_user_has_set_stays(monkeypatch, name, value):
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("the allocator was changed"))
    monkeypatch.setenv(name, value)
    assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch):
    for name in [n for n in os.environ if n.startswith("MALLOC_")] + ["GLIBC_TUNABLES"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda *_: object())
    assert not keep_freed_memory()
