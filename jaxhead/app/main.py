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
    stops = prepare_process()
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone (`jaxhead --help | head`): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception:
        # Native code that calls back into Python makes errors of its own out of an interrupt.
        if not stops:
            raise
        code = _stopped(stops[-1]())
    finally:
        # An alarm (see `ignored` below) that nobody waits for any more would end the process.
        signal.setitimer(signal.ITIMER_REAL, 0)
    if code in (130, 143):
        # Outputs are closed by now. Native libraries that were stopped half-way may crash when
        # they are taken down in order, which would replace the exit code.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def prepare_process() -> list[type[KeyboardInterrupt]]:
    """Sets up what belongs to the process: signals as exceptions, a stderr of Python's own.

    What native libraries log to descriptor 2 is caught while they run; our own progress and errors
    must not be caught with it.

    Returns:
        A list to which each signal that arrives adds the exception that it raises.
    """
    stops: list[type[KeyboardInterrupt]] = []

    def raise_stop(number: int, *_: object) -> None:
        if number != signal.SIGALRM:
            stops.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        raise stops[-1]

    def ignored(unraisable) -> None:
        # An interrupt that hits a callback of the garbage collector or a finaliser is printed and
        # lost by Python: raise it again as soon as that is over.
        if stops and isinstance(unraisable.exc_value, KeyboardInterrupt):
            signal.signal(signal.SIGALRM, raise_stop)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            sys.__unraisablehook__(unraisable)

    # Whoever starts us with SIGINT ignored (a shell's background job) wants it ignored.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, raise_stop)
    signal.signal(signal.SIGTERM, raise_stop)
    sys.unraisablehook = ignored
    with contextlib.suppress(OSError):
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    return stops


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
        return _stopped(error)
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


def _stopped(error: KeyboardInterrupt) -> int:
    """Says that a signal ended the work; returns the exit code."""
    terminated = isinstance(error, Terminated)
    complain("terminated" if terminated else "interrupted")
    return 143 if terminated else 130


def _verb_name(argv: Sequence[str]) -> str:
    return f"{argv[0]} " if argv and argv[0] in verbs.VERBS else ""


def complain(message: str) -> None:
    """Prints one line on stderr; control characters of hostile file names are shown, not obeyed."""
    line = " ".join(message.split())
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    print(f"jaxhead: {shown}", file=sys.stderr)


if __name__ == "__main__":
    console()
