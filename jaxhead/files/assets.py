"""Third-party files that the project may not ship: found by name, checked by checksum, never
executed.

`find_asset` looks in the folder given (`--assets`), then in `$JAXHEAD_ASSETS`, then in the user's
cache. Nothing here opens a connection except `download_asset`, which only the user's own command
calls.
"""

import dataclasses
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from jaxhead.files.arrays import digest
from jaxhead.files.atomic import new_file
from jaxhead.files.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """One third-party file.

    Attributes:
        file: its name inside an asset folder.
        sha256: checksum of its bytes, 64 hexadecimal digits.
        size: its length in bytes.
        licence: the licence it is given under.
        url: where its publisher offers it.
        what: what it is, for messages.
    """

    file: str
    sha256: str
    size: int
    licence: str
    url: str
    what: str


ASSETS: dict[str, Asset] = {
    "face_landmarker": Asset(
        file="face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size=3_758_596,
        licence="Apache-2.0",
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
        "float16/1/face_landmarker.task",
        what="the MediaPipe face landmark model",
    ),
    "selfie_segmentation": Asset(
        file="selfie_segmentation.tflite",
        sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        size=249_505,
        licence="Apache-2.0",
        url="https://storage.googleapis.com/mediapipe-assets/selfie_segmentation.tflite",
        what="the MediaPipe person segmentation model",
    ),
}


def _asset(name: str) -> Asset:
    """The entry called `name`, which may also be its file name."""
    for key, asset in ASSETS.items():
        if name in (key, asset.file):
            return asset
    raise InputError(f"asset {name!r} is unknown, expected one of {', '.join(sorted(ASSETS))}")


def user_cache() -> Path | None:
    """The asset folder in the user's cache (it need not exist), or None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "jaxhead" / "assets"
    except RuntimeError:
        return None


def asset_folders(folder: str | os.PathLike | None = None) -> Iterator[Path]:
    """The folders that are searched, in order: `folder`, `$JAXHEAD_ASSETS`, the user's cache."""
    if folder is not None:
        yield Path(folder)
    if os.environ.get("JAXHEAD_ASSETS"):
        yield Path(os.environ["JAXHEAD_ASSETS"])
    cache = user_cache()
    if cache is not None:
        yield cache


def find_asset(name: str, folder: str | os.PathLike | None = None) -> Path:
    """The path of an asset whose checksum holds.

    Args:
        name: a key of `ASSETS` or the file name of one.
        folder: searched first (`--assets`).

    Raises:
        InputError: unknown name, no folder has the file (the message says where to get it and where
            to put it), `folder` does not exist, or the file found is not the one expected.
    """
    asset = _asset(name)
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder, expected one that holds {asset.file}")
    searched = list(asset_folders(folder))
    for place in searched:
        path = place / asset.file
        if path.is_file():
            _check(path, asset)
            return path
    put = searched[0] / asset.file if searched else Path(asset.file)
    folders = ", ".join(str(place) for place in searched) or "any folder"
    raise InputError(
        f"{asset.file} ({asset.what}, {asset.licence}) was not found in {folders}: get it from "
        f"{asset.url} and put it at {put}, or name its folder in $JAXHEAD_ASSETS"
    )


def _check(path: Path, asset: Asset) -> None:
    # The size is compared first, so that a huge file under this name is not read to its end.
    size = path.stat().st_size
    if size != asset.size:
        raise InputError(
            f"{path}: {size} bytes, expected {asset.size}; get it again from {asset.url}"
        )
    found = digest(path)
    if found != asset.sha256:
        raise InputError(
            f"{path}: checksum {found[:16]}..., expected {asset.sha256[:16]}...; "
            f"get it again from {asset.url}"
        )


def download_asset(
    name: str, folder: str | os.PathLike | None = None, *, timeout: float = 60.0
) -> Path:
    """Fetches an asset from its publisher into `folder` (default: the user's cache); returns its
    path.

    The one function of the library that opens a connection, and only on the user's request. At most
    the expected number of bytes is read, the checksum is compared, and only then the file gets its
    name.

    Args:
        name: a key of `ASSETS` or the file name of one.
        folder: where to put it.
        timeout: seconds to wait for the server at each read.

    Raises:
        InputError: unknown name, no folder, no connection, another size or checksum.
    """
    asset = _asset(name)
    place = Path(folder) if folder is not None else user_cache()
    if place is None:
        raise InputError(f"asset {name!r}: there is no home folder, name a folder to put it in")
    path = place / asset.file
    if path.is_file():
        _check(path, asset)
        return path
    if not asset.url.startswith("https://"):
        raise InputError(f"asset {name!r}: source {asset.url!r} is refused, expected https")
    with new_file(path, needed=asset.size) as temporary:
        temporary.write_bytes(_fetch(asset, timeout))
    return path


def _fetch(asset: Asset, timeout: float) -> bytes:
    try:
        with urllib.request.urlopen(asset.url, timeout=timeout) as response:
            if not response.geturl().startswith("https://"):
                raise InputError(f"{asset.url}: led to {response.geturl()!r}, expected https")
            data = response.read(asset.size + 1)
    except InputError:
        raise
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise InputError(
            f"{asset.url}: cannot be fetched ({error}); get {asset.file} by hand"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if len(data) != asset.size or found != asset.sha256:
        raise InputError(
            f"{asset.url}: sent {len(data)} bytes with checksum {found[:16]}..., expected "
            f"{asset.size} with {asset.sha256[:16]}...; nothing was kept"
        )
    return data
