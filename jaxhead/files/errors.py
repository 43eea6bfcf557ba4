"""The one error for bad input."""

import contextlib
import os
from collections.abc import Iterator


class InputError(Exception):
    """The user's input is at fault: one line that names the file, the value and what was expected.

    The command line prints the message and exits with code 1; no traceback is shown.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class ConfigurationError(Exception):
    """A configuration does not hold: an unknown key, a wrong type, a value out of range.

    One line that names the key, the value and what was expected, with the nearest known key. The
    command line prints it and exits with code 2; nothing has been written.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


@contextlib.contextmanager
def about(path: str | os.PathLike) -> Iterator[None]:
    """A block whose `InputError`s name `path`: it is put in front of those that do not hold it.

    For parts that see what was read out of a file, but not the file.
    """
    try:
        yield
    except InputError as error:
        name = " ".join(os.fsdecode(path).split())
        if name in str(error):
            raise
        raise InputError(f"{name}: {error}") from error
