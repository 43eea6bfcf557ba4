"""What a pickle describes before it is plain data, and which keys its dictionaries may have."""

from collections.abc import Callable
from typing import Any

from jaxhead.files.errors import InputError

_MAX_KEY = 64
_ATOMS = (str, bytes, int, float, bool, complex, type(None))


class Made:
    """What a file describes that is neither number, text nor container, before it is plain data."""

    def build(self, state: Any) -> None:
        """Takes the state that follows the object in the file."""
        raise InputError(f"gives a state to {type(self).__name__}, which has none")

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        """The plain data of it; `walk` gives that of what it holds."""
        raise InputError(f"{type(self).__name__} is not data")


class Maker(Made):
    """A name that a file may use: called with the arguments in the file, it gives plain data."""

    def __init__(self, name: str, make: Callable[..., Any]):
        self.name = name
        self.make = make

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        """A name that stands for itself, as a type does."""
        return self.name


class Inert(Made):
    """A name whose objects are skipped: neither they nor what they hold is looked at."""

    def __init__(self, name: str):
        self.name = name

    def build(self, state: Any) -> None:
        """Nothing: the state is dropped."""

    def plain(self, walk: Callable[[Any], Any]) -> Any:
        """The name, in brackets, so that a message can say what stood there."""
        return f"<{self.name}>"


def check_key(key: Any) -> Any:
    """`key`, if it can be one of a dictionary: hashing what is nested deeply would end Python."""
    parts = key if type(key) is tuple else (key,)
    if len(parts) > _MAX_KEY or not all(isinstance(part, (*_ATOMS, Made)) for part in parts):
        raise InputError(f"has a key of type {type(key).__name__}, expected text or numbers")
    # Numbers beyond this share their hashes, of which many make a dictionary crawl.
    if any(isinstance(part, int | float | complex) and abs(part) >= 2**60 for part in parts):
        raise InputError("has a number of 2^60 or more as a key")
    return key
