"""Which system a run belongs to."""

from __future__ import annotations

import pathlib
from types import ModuleType

from jaxhead.app.devices import prepare_jax
from jaxhead.files.errors import InputError


def system_of_run(path: str | pathlib.Path, *, devices: int | None = None) -> ModuleType:
    """Returns the module of the system that made a run, with jax prepared before it is imported.

    Args:
        path: the run folder.
        devices: see `prepare_jax`.

    Raises:
        InputError: no run, a damaged one, of another version, or of a system unknown here.
    """
    from jaxhead.training.runs import load_run

    run = load_run(path)
    from jaxhead.systems import registry

    if run.system not in registry.SYSTEMS:
        known = ", ".join(registry.SYSTEMS)
        raise InputError(f"{path}: made by the system {run.system!r}, expected one of {known}")
    prepare_jax(devices)
    return registry.load(run.system)
