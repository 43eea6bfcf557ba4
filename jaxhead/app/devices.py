"""Devices and the compilation cache: what must be settled before jax starts a backend."""

from __future__ import annotations

import os
import pathlib
import sys

from jaxhead.files.errors import ConfigurationError

# One host device: a step that is split over two of them on one machine gains nothing from it.
CPU_DEVICES = 1
_FLAG = "--xla_force_host_platform_device_count"


def prepare_jax(devices: int | None = None) -> None:
    """Sets the number of host devices and switches the persistent compilation cache on.

    Call it before jax is imported: a backend that has started keeps its devices. A count that the
    user has put into $XLA_FLAGS stays.

    Args:
        devices: how many devices the verb was asked to use; None for the default.

    Raises:
        ConfigurationError: there are fewer devices.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in given and "jax" not in sys.modules:
        os.environ["XLA_FLAGS"] = f"{given} {_FLAG}={devices or CPU_DEVICES}".strip()
    import jax

    if devices is not None and jax.local_device_count() < devices:
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


def cache_folder() -> pathlib.Path:
    """Returns the user's cache folder: $JAXHEAD_CACHE, else jaxhead in the platform's cache."""
    own = os.environ.get("JAXHEAD_CACHE")
    if own:
        return pathlib.Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "jaxhead"
