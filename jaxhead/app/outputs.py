"""Outputs of the command line: what exists is never touched."""

from __future__ import annotations

import os

from jaxhead.files.atomic import clean_leftovers
from jaxhead.files.errors import InputError


def refuse_existing(path: str | os.PathLike) -> None:
    """Raises InputError where an output exists (an empty folder does not count).

    What killed processes of this machine left half-written beside it is removed.

    Args:
        path: the file or folder that a verb is about to make.
    """
    name = os.fspath(path)
    taken = os.path.lexists(name)
    if taken and os.path.isdir(name):
        with os.scandir(name) as entries:
            taken = next(entries, None) is not None
    if taken:
        raise InputError(f"{name}: exists already, expected a new name")
    clean_leftovers(os.path.dirname(os.path.abspath(name)))
