"""Outputs that appear whole or not at all: written beside their place, renamed when complete.

A temporary name is `.STEM.HOST-PID-RANDOM.partial.SUFFIX`: hidden, beside the target (so that the
rename stays inside one file system), with the target's suffix (encoders choose the format by it),
and with the writer's host and pid, so that `clean_leftovers` can tell what a killed process left
behind.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxhead.files.errors import InputError

_OURS = re.compile(
    r"^\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d{1,9})-[0-9a-f]{8}"
    r"\.(?P<kind>partial|replaced)(\..*)?$",
    re.DOTALL,
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def host_digest() -> str:
    """Eight hexadecimal digits that stand for this machine's name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def process_exists(pid: int) -> bool:
    """Whether a process of this machine has the number `pid` (a zombie counts as gone)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except (OverflowError, ValueError):
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in ("Z", "X")


def write_error(path: Path, error: OSError, *, needed: int | None = None) -> InputError:
    """The one-line error for a failed write to `path`; a full disk names the bytes needed and free.

    Args:
        path: the final name of what was written.
        error: what the system said.
        needed: size of the output in bytes, where it is known.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno not in _FULL:
        return InputError(f"{path}: cannot be written ({reason})")
    sizes = [f"{needed} bytes needed"] if needed is not None else []
    with contextlib.suppress(OSError):
        sizes.append(f"{shutil.disk_usage(path.parent).free} bytes free in its folder")
    detail = f" ({', '.join(sizes)})" if sizes else ""
    return InputError(f"{path}: no space left to write it: {reason}{detail}")


def _beside(path: Path, kind: str, suffix: str) -> Path:
    tag = f"{host_digest()}-{os.getpid()}-{secrets.token_hex(4)}.{kind}{suffix}"
    # File names hold 255 bytes on the usual systems; the stem is only there for people who look.
    stem = os.fsencode(path.name)[: max(1, 240 - len(os.fsencode(tag)))]
    return path.with_name(f".{os.fsdecode(stem)}.{tag}")


def _prepare(path: str | os.PathLike, overwrite: bool, folder: bool) -> Path:
    """The target as a Path whose parent exists; InputError where it stands in the way."""
    target = Path(path)
    try:
        if not target.name or "\0" in str(target):
            raise InputError(f"{str(path)!r}: expected the name of a {_kind(folder)} to write")
        if target.is_symlink() and not target.exists():
            raise InputError(f"{target}: is a link to nowhere, expected a place for a new output")
        if target.exists():
            if target.is_dir() != folder:
                raise InputError(f"{target}: exists and is not a {_kind(folder)}")
            empty = folder and not any(target.iterdir())
            if not overwrite and not empty:
                raise InputError(f"{target}: exists already, expected a new name")
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(target, error) from error
    return target


def _kind(folder: bool) -> str:
    return "folder" if folder else "file"


def _concerns(error: OSError, temporary: Path) -> bool:
    """Whether an error of the caller's block is about this output, not about something it reads."""
    name = error.filename
    name = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else ""
    return error.errno in _FULL or name.startswith(str(temporary))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def new_file(
    path: str | os.PathLike,
    *,
    overwrite: bool = False,
    sync: bool = True,
    needed: int | None = None,
) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends without an exception.

    The parent folder is made where it is missing. After an exception (also Ctrl-C) the temporary
    file is gone and `path` is as it was.

    Args:
        path: the final name.
        overwrite: replace a file that exists; without it that is an InputError.
        sync: wait until the bytes are on the disk before renaming (off for many small files).
        needed: size of the output in bytes, for the message on a full disk.

    Raises:
        InputError: the target exists, or the system refuses to write there.
    """
    target = _prepare(path, overwrite, folder=False)
    temporary = _beside(target, "partial", target.suffix)
    try:
        yield temporary
        if sync:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        if not overwrite and target.exists():
            raise InputError(f"{target}: was made by another process meanwhile; nothing replaced")
        os.replace(temporary, target)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and _concerns(error, temporary):
            raise write_error(target, error, needed=needed) from error
        raise


@contextlib.contextmanager
def new_folder(path: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block ends without an
    exception.

    An empty folder at `path` counts as free. With `overwrite` the former folder is kept aside until
    the new one has its name; `clean_leftovers` puts it back if the process dies in between.

    Args:
        path: the final name.
        overwrite: replace a folder that exists; without it that is an InputError.

    Raises:
        InputError: the target exists, or the system refuses to write there.
    """
    target = _prepare(path, overwrite, folder=True)
    temporary = _beside(target, "partial", "")
    try:
        temporary.mkdir()
        yield temporary
        _swap(temporary, target, overwrite)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and _concerns(error, temporary):
            raise write_error(target, error) from error
        raise


def _swap(temporary: Path, target: Path, overwrite: bool) -> None:
    if not (target.exists() and overwrite and any(target.iterdir())):
        if target.exists() and any(target.iterdir()):
            raise InputError(f"{target}: was made by another process meanwhile; nothing replaced")
        os.replace(temporary, target)
        return
    former = _beside(target, "replaced", "")
    os.replace(target, former)
    try:
        os.replace(temporary, target)
    except BaseException:
        os.replace(former, target)
        raise
    _remove(former)


def clean_leftovers(folder: str | os.PathLike) -> list[Path]:
    """Removes what killed writers of this machine left in `folder`; returns the removed paths.

    Files of running processes and of other machines stay. A folder that was being replaced when its
    writer died gets its name back if nothing new has it.
    """
    removed = []
    try:
        entries = sorted(Path(folder).iterdir())
    except OSError:
        return removed
    for entry in entries:
        match = _OURS.match(entry.name)
        if not match or match["host"] != host_digest() or process_exists(int(match["pid"])):
            continue
        former = entry.with_name(match["name"])
        if match["kind"] == "replaced" and not former.exists():
            with contextlib.suppress(OSError):
                os.replace(entry, former)
        else:
            _remove(entry)
            removed.append(entry)
    return removed


def write_bytes(
    path: str | os.PathLike, data: bytes, *, overwrite: bool = True, sync: bool = True
) -> None:
    """Writes `data` to `path` at once; a former file is replaced unless `overwrite` is off."""
    with new_file(path, overwrite=overwrite, sync=sync, needed=len(data)) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str, *, overwrite: bool = True) -> None:
    """Writes `text` as UTF-8 to `path` at once, replacing a former file if `overwrite` is on."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"), overwrite=overwrite)


def write_json(path: str | os.PathLike, value: Any, *, overwrite: bool = True) -> None:
    """Writes `value` as indented JSON to `path` at once; NaN and infinity raise ValueError."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", overwrite=overwrite)
