"""The systems by name; a module is imported when its system is asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

from jaxhead.files.errors import InputError

SYSTEMS = {
    "avatar": "jaxhead.systems.avatar.verbs",
    "adnerf": "jaxhead.systems.adnerf.verbs",
}
MANY = {"avatar": "jaxhead.systems.avatar.many"}
"""What trains several captures at once, of the systems that can."""
CONVERTERS = {
    "avatar": "jaxhead.systems.avatar.convert",
    "adnerf": "jaxhead.systems.adnerf.convert",
}
"""What makes runs of published checkpoints, of the systems that have any."""


def load(name: str) -> ModuleType:
    """The module of a system's verbs: `presets`, `train`, `render_stream`.

    Raises:
      KeyError: no system of that name.
    """
    return importlib.import_module(SYSTEMS[name])


def load_many(name: str) -> ModuleType:
    """The module whose `train` takes several captures.

    Raises:
      InputError: the system trains on one capture at a time.
    """
    if name not in MANY:
        raise InputError(f"{name} trains on one capture at a time, several were given")
    return importlib.import_module(MANY[name])


def load_converter(name: str) -> ModuleType:
    """The module whose `convert` makes a run of a system's published checkpoints.

    Raises:
      KeyError: none for that name.
    """
    return importlib.import_module(CONVERTERS[name])
