"""The command line: `jaxhead VERB ...`.

Exit codes: 0 done, 1 the input is at fault (one line on stderr), 2 the command line or the
configuration is (one line on stderr), 130 interrupted, 143 terminated. Anything else that goes
wrong is a bug and shows its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

from jaxhead import __version__
from jaxhead.app import verbs
from jaxhead.app.flags import HelpRequest, UsageError, help_text, nearest, parse
from jaxhead.files.errors import ConfigurationError, InputError

# The user's disk and permissions, not our bug.
_USER_ERRNO = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
)


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: outputs are cleaned up as after Ctrl-C."""


def console() -> None:
    """The console script: runs the command line and exits with its code."""
    prepare_process()
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone (`jaxhead --help | head`): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def prepare_process() -> None:
    """Sets up what belongs to the process: SIGTERM as an exception, a stderr of Python's own.

    What native libraries log to descriptor 2 is caught while they run; our own progress and errors
    must not be caught with it.
    """

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    with contextlib.suppress(OSError):
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns its exit code.

    Args:
        argv: the arguments without the program's name.
    """
    # A file name that is not valid UTF-8 must not break the line that mentions it.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _dispatch(list(argv))
    except UsageError as error:
        complain(f"{error} (see jaxhead {_verb_name(argv)}--help)")
        return 2
    except ConfigurationError as error:
        complain(str(error))
        return 2
    except InputError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        complain("terminated" if terminated else "interrupted")
        return 143 if terminated else 130
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno not in _USER_ERRNO:
            raise
        complain(f"{error.filename or 'output'}: {error.strerror}")
        return 1


def overview() -> str:
    """Returns the help of the whole command line."""
    width = max(len(name) for name in verbs.VERBS)
    lines = [
        "jaxhead: a video or a photo of a head becomes a head that can be driven.",
        "",
        "usage: jaxhead VERB ... ; jaxhead VERB --help says more about one",
        "",
        *(f"  {verb.name:<{width}}  {verb.summary}" for verb in verbs.VERBS.values()),
        "",
        "examples:",
        "  jaxhead capture talk.mp4 --out talk --size 256",
        "  jaxhead train avatar talk --out run --minutes 10",
        "  jaxhead render run --out talk_orbit.mp4 --orbit 25",
        "  jaxhead evaluate run",
        "without a video:",
        "  jaxhead synthesize --out head",
        "",
        "exit codes: 0 done, 1 the input is at fault, 2 the command line is",
    ]
    return "\n".join(lines)


def _dispatch(argv: list[str]) -> int:
    if not argv:
        print(overview(), file=sys.stderr)
        return 2
    name, rest = argv[0], argv[1:]
    if name in ("--help", "-h", "-help", "help"):
        verb = verbs.VERBS.get(rest[0]) if rest else None
        print(help_text(verb) if verb else overview())
        return 0
    if name in ("--version", "version"):
        print(f"jaxhead {__version__}")
        return 0
    if name not in verbs.VERBS:
        kind = "flag" if name.startswith("-") else "verb"
        raise UsageError(f"unknown {kind} {name}{nearest(name, list(verbs.VERBS))}")
    verb = verbs.VERBS[name]
    try:
        arguments = parse(verb, rest)
    except HelpRequest:
        print(help_text(verb))
        return 0
    return importlib.import_module(verb.module).run(arguments) or 0


def _verb_name(argv: Sequence[str]) -> str:
    return f"{argv[0]} " if argv and argv[0] in verbs.VERBS else ""


def complain(message: str) -> None:
    """Prints one line on stderr; control characters of hostile file names are shown, not obeyed."""
    line = " ".join(message.split())
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    print(f"jaxhead: {shown}", file=sys.stderr)


if __name__ == "__main__":
    console()
