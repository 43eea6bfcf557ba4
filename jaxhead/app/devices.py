"""Devices and the compilation cache: what must be settled before jax starts a backend."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import Iterator

from jaxhead.app.allocator import keep_freed_memory
from jaxhead.files.errors import ConfigurationError

# One host device: a step that is split over two of them on one machine gains nothing from it.
CPU_DEVICES = 1
_FLAG = "--xla_force_host_platform_device_count"


def prepare_jax(devices: int | None = None, *, started: bool = True) -> None:
    """Sets the number of host devices and the allocator, and switches the compilation cache on.

    Call it before jax is imported: a backend that has started keeps its devices. A count that the
    user has put into $XLA_FLAGS stays.

    Args:
        devices: how many devices the verb was asked to use; None for the default.
        started: jax may start its backend, so that the devices can be counted.

    Raises:
        ConfigurationError: there are fewer devices.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in given and "jax" not in sys.modules:
        os.environ["XLA_FLAGS"] = f"{given} {_FLAG}={devices or CPU_DEVICES}".strip()
    with held_signals():
        import jax
    keep_freed_memory()

    if started and devices is not None and jax.local_device_count() < devices:
        raise ConfigurationError(
            f"--devices {devices}: this machine offers {jax.local_device_count()}"
        )
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A read-only home costs compile time, nothing else.
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """A block that Ctrl-C and SIGTERM do not interrupt; they arrive when it ends.

    For imports of native modules: an exception in the middle of one can crash the process. It holds
    while the caller's is the only thread, as when the program starts; another would take it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not a POSIX system
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def cache_folder() -> pathlib.Path:
    """Returns the user's cache folder: $JAXHEAD_CACHE, else jaxhead in the platform's cache."""
    own = os.environ.get("JAXHEAD_CACHE")
    if own:
        return pathlib.Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "jaxhead"
