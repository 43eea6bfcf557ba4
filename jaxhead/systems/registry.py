"""The systems by name; a module is imported when its system is asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

SYSTEMS = {"avatar": "jaxhead.systems.avatar.verbs"}


def load(name: str) -> ModuleType:
    """The module of a system's verbs: `presets`, `train`, `render_stream`.

    Raises:
      KeyError: no system of that name.
    """
    return importlib.import_module(SYSTEMS[name])
