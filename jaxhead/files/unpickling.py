"""One pickle out of a file's bytes: the names it may use, and one kind of error for all damage."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxhead.files.errors import InputError
from jaxhead.files.pickle_machine import Machine
from jaxhead.files.pickle_parts import Made

Find = Callable[[str, str], Made | None]


def unpickle(
    data: bytes,
    start: int,
    finders: Sequence[Find],
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """The value of the pickle that begins at `start`, and the place behind it.

    Args:
        data: the bytes of a file.
        start: where the pickle begins.
        finders: asked in turn for each name; what none of them knows is refused.
        persistent: gives the object of a persistent id; None refuses those.

    Returns:
        What `pickle_plain.plain` makes plain data of.

    Raises:
        InputError: damaged, too much, or asking for a name that is not known.
    """

    def find(module: str, name: str) -> Made:
        for finder in finders:
            found = finder(module, name)
            if found is not None:
                return found
        raise InputError(f"asks for {module[:80]}.{name[:80]}, which data has no need of: refused")

    return guarded(lambda: Machine(data, start, find, persistent).run())


def guarded(call: Callable[[], Any], what: str = "a pickle") -> Any:
    """What `call` returns; whatever damaged data makes it raise becomes an InputError."""
    try:
        return call()
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("needs more memory than there is") from error
    except Exception as error:  # a damaged pickle raises nearly every kind
        reason = str(error)[:100] or type(error).__name__
        raise InputError(f"damaged or not {what} ({reason})") from error
