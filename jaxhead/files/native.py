"""What native libraries print, caught at the file descriptor, so that users see our lines only."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

_LIMIT = 1 << 20


class NativeOutput:
    """What was written while the capture was on; `text` is complete once the block has ended."""

    def __init__(self) -> None:
        self.text = ""


@contextlib.contextmanager
def capture_native_output(*, stdout: bool = False) -> Iterator[NativeOutput]:
    """Catches what anything in this process writes to file descriptor 2 (and 1), also in C code.

    The descriptors are restored when the block ends, however it ends, and blocks nest. Python's own
    writes to `sys.stderr` are caught too: keep the block around the native call. A process without
    a standard error stream (a daemon) runs the block as it is. All threads share them, so
    output of other threads during the block is caught as well.

    Args:
        stdout: catch file descriptor 1 too.

    Returns:
        An object whose `text` holds what was written, its last MiB, decoded as UTF-8.
    """
    output = NativeOutput()
    with contextlib.ExitStack() as stack:
        try:
            sink = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # no place for temporary files: the logs stay visible, the work goes on
            sink = None
        if sink is not None:
            stack.callback(_collect, sink, output)
            for descriptor in (2, 1) if stdout else (2,):
                _redirect(stack, descriptor, sink)
        yield output


def _redirect(stack: contextlib.ExitStack, descriptor: int, sink: IO[bytes]) -> None:
    """Points `descriptor` at `sink` until the stack unwinds; nothing if it is closed."""
    _flush()
    try:
        saved = os.dup(descriptor)
    except OSError:
        return

    def restore() -> None:
        _flush()
        os.dup2(saved, descriptor)
        os.close(saved)

    stack.callback(restore)
    os.dup2(sink.fileno(), descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _collect(sink: IO[bytes], output: NativeOutput) -> None:
    size = sink.seek(0, os.SEEK_END)
    sink.seek(max(0, size - _LIMIT))
    output.text = sink.read().decode("utf-8", "replace")
