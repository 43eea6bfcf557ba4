"""One writer per run: a lock file that names its holder and outlives no crash."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxhead.files.atomic import process_exists, write_error
from jaxhead.files.errors import InputError

_NAME = ".lock"


def process_start(pid: int) -> str | None:
    """What tells a process from a later one of the same number, None where the system does not say.

    On Linux: the boot's identity and the start time of the process in clock ticks since then.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The command name, in brackets, may itself hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return f"{boot}:{fields[19]}"
    except (OSError, IndexError):
        return None


class RunLock:
    """A context manager that holds `FOLDER/.lock` for this process.

    The file says who holds it: process number, host, start time. A lock whose process is gone
    (killed, or its number now belongs to another process) is taken over; that of a running process,
    and of another host, which cannot be asked, is an InputError that names the holder.

        with RunLock(run_folder):
            train(...)
    """

    def __init__(self, folder: str | os.PathLike):
        self._path = Path(folder) / _NAME
        self._held: dict[str, Any] | None = None

    def acquire(self) -> "RunLock":
        """Takes the lock, or raises InputError with the number of the process that has it."""
        mine = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "start": process_start(os.getpid()),
        }
        with self._exclusive() as descriptor:
            holder = _parse(os.read(descriptor, 4096))
            if holder is not None and self._alive(holder):
                place = "" if holder["host"] == mine["host"] else f" on {holder['host']}"
                raise InputError(
                    f"{self._path.parent}: in use by process {holder['pid']}{place}; wait for it, "
                    f"or delete {self._path} if it is gone"
                )
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(mine).encode())
        self._held = mine
        return self

    def release(self) -> None:
        """Gives the lock back; nothing happens if it is not held."""
        held, self._held = self._held, None
        if held is None:
            return
        with contextlib.suppress(InputError), self._exclusive() as descriptor:
            # A lock that someone deleted by hand may be another's by now.
            if _parse(os.read(descriptor, 4096)) == held:
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> "RunLock":
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @staticmethod
    def _alive(holder: dict[str, Any]) -> bool:
        if holder["host"] != socket.gethostname():
            return True
        if not process_exists(holder["pid"]):
            return False
        start = process_start(holder["pid"])
        return start is None or holder["start"] is None or start == holder["start"]

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[int]:
        """The open lock file while no other process looks at or changes it."""
        import fcntl

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    with contextlib.suppress(OSError):  # file systems without flock
                        fcntl.flock(descriptor, fcntl.LOCK_EX)
                    # Meanwhile the former holder may have deleted the file that was opened.
                    if _same_file(descriptor, self._path):
                        yield descriptor
                        return
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise write_error(self._path, error) from error


def _same_file(descriptor: int, path: Path) -> bool:
    opened = os.fstat(descriptor)
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


def _parse(data: bytes) -> dict[str, Any] | None:
    """What a lock file says, None for an empty or damaged one (its writer died while writing)."""
    try:
        holder = json.loads(data)
        pid, host, start = holder["pid"], holder["host"], holder["start"]
    except (ValueError, TypeError, KeyError):
        return None
    valid = type(pid) is int and pid > 0 and isinstance(host, str)
    valid = valid and (start is None or isinstance(start, str))
    return {"pid": pid, "host": host, "start": start} if valid else None
