"""Validation of a capture folder: every fault is an InputError that names file and expectation."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxhead.files.arrays import as_kind
from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile
from jaxhead.heads.model import HeadModel

FORMAT = "jaxhead-capture"
VERSION = 1
MEASURED, INTERPOLATED, DROPPED = 0, 1, 2
_MAX_JSON = 256 << 20

KINDS = {
    "K": np.float32,
    "head_to_camera": np.float32,
    "expression": np.float32,
    "vertices": np.float32,
    "landmarks": np.float32,
    "torso_motion": np.float32,
    "torso_measured": np.bool_,
    "status": np.uint8,
    "sway": np.float32,
    "sway_box": np.float32,
    "face_rect": np.float32,
    "eye_openness": np.float32,
}
OPTIONAL = (("sway", "sway_box"), ("vertices",), ("face_rect",), ("eye_openness",))
"""Groups of arrays that may be absent, all of a group together."""
LAYERS = {"depth": (np.uint16, 1), "parsing": (np.uint8, 1), "torso": (np.uint8, 4)}
"""Folders of further pictures per frame, in all frames or in none: type and channels."""


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_arrays(where: pathlib.Path, names: Collection[str]) -> None:
    """Raise InputError where an array is missing that has to be there."""
    free = {name for group in OPTIONAL if not set(group) & set(names) for name in group}
    missing = sorted(set(KINDS) - set(names) - free)
    if missing:
        raise InputError(f"{where}: lacks {', '.join(missing)}")


def typed(where: pathlib.Path, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The tracking arrays, each of its kind; rows of a file stay there where they are of it.

    Without sway nothing sways, without vertices there are none; what else is absent stays so.
    """
    frames = np.size(arrays["status"])
    absent = {
        "sway": np.zeros((frames, 2, 2, 2), np.float32),
        "sway_box": np.array([[-1.0, -1.0], [1.0, 1.0]], np.float32),
        "vertices": np.zeros((frames, 0, 3), np.float32),
    }
    arrays = {**absent, **arrays}
    result = {}
    for name, kind in KINDS.items():
        if name not in arrays:
            continue
        value = arrays[name]
        same = isinstance(value, RowFile) and value.dtype == kind
        result[name] = value if same else as_kind(value, kind, f"{where}: {name}")
    return result


def check_shapes(
    where: pathlib.Path, arrays: Mapping[str, Any], frames: int, head: HeadModel
) -> None:
    """Raise InputError unless every tracking array has its shape and is finite."""
    vertices = len(head.template)
    names = len(head.expression_names) or (*arrays["expression"].shape, 0)[1]
    marks = arrays["landmarks"].shape[1] if arrays["landmarks"].ndim == 3 else 0
    nodes = max(2, arrays["sway"].shape[1]) if arrays["sway"].ndim == 4 else 2
    expected = {
        "K": (3, 3),
        "head_to_camera": (frames, 4, 4),
        "expression": (frames, names),
        "vertices": (frames, vertices, 3),
        "landmarks": (frames, marks, 2),
        "torso_motion": (frames, 2, 3),
        "torso_measured": (frames,),
        "status": (frames,),
        "sway": (frames, nodes, nodes, 2),
        "sway_box": (2, 2),
        "face_rect": (frames, 4),
        "eye_openness": (frames,),
    }
    for name, shape in expected.items():
        if name not in arrays:
            continue
        if arrays[name].shape != shape:
            raise InputError(f"{where}: {name} has shape {arrays[name].shape}, expected {shape}")
        if arrays[name].dtype == np.float32 and not _finite(arrays[name]):
            raise InputError(f"{where}: {name} holds values that are not finite")
    if np.any(arrays["sway_box"][1] <= arrays["sway_box"][0]):
        found = arrays["sway_box"].tolist()
        raise InputError(f"{where}: sway_box {found}, expected a lower and an upper corner")
    if arrays["status"].size and arrays["status"].max() > DROPPED:
        raise InputError(f"{where}: status {arrays['status'].max()}, expected 0, 1 or 2")


def _finite(values: np.ndarray | RowFile) -> bool:
    blocks = values.blocks() if isinstance(values, RowFile) else (values,)
    return all(np.isfinite(block).all() for block in blocks)


def check_digest(folder: pathlib.Path, name: str, expected: str | None) -> None:
    """Raise InputError unless file `name` exists and has SHA-256 `expected`."""
    path = folder / name
    if expected is None or not path.is_file():
        raise InputError(f"{path}: missing from the capture")
    found = file_digest(path)
    if found != expected:
        raise InputError(f"{path}: damaged (SHA-256 {found[:12]}..., expected {expected[:12]}...)")


def frame_ids(folder: pathlib.Path, info: Mapping[str, Any], part: str) -> np.ndarray:
    """The int32 frame ids of `part` ("train" or "test")."""
    ids = info["split"][part]
    if any(not 0 <= item < info["frames"] for item in ids):
        last = info["frames"] - 1
        raise InputError(f"{folder / 'capture.json'}: {part} frames outside 0..{last}")
    return np.asarray(ids, np.int32).reshape(-1)


def read_document(
    folder: pathlib.Path, name: str, form: str, version: int, what: str
) -> dict[str, Any]:
    """The JSON object in `folder`/`name`, whose "format" and "version" have to be those given.

    Raises:
      InputError: absent (then the folder is not `what`), too large, not JSON, or something else.
    """
    path = folder / name
    if not path.is_file():
        raise InputError(f"{folder}: not {what} ({name} is missing)")
    if path.stat().st_size > _MAX_JSON:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_JSON}")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(info, dict) or info.get("format") != form:
        raise InputError(f"{path}: format is not {form!r}")
    if info.get("version") != version:
        raise InputError(f"{path}: version {info.get('version')!r}, this program reads {version}")
    return info


def read_info(folder: pathlib.Path) -> dict[str, Any]:
    """Parsed and checked capture.json."""
    info = read_document(folder, "capture.json", FORMAT, VERSION, "a capture folder")
    path = folder / "capture.json"
    checks = {
        "files": lambda v: isinstance(v, dict) and all(isinstance(x, str) for x in v.values()),
        "frames": lambda v: type(v) is int and 0 < v < 10_000_000,
        "fps": lambda v: isinstance(v, (int, float)) and 0 < v < 1000,
        "size": lambda v: isinstance(v, list) and len(v) == 2 and all(type(x) is int for x in v),
        "audio_rate": lambda v: type(v) is int and 0 < v < 1_000_000,
        "split": lambda v: (
            isinstance(v, dict) and all(_is_ids(v.get(part)) for part in ("train", "test"))
        ),
    }
    for name, valid in checks.items():
        if name not in info or not valid(info[name]):
            raise InputError(f"{path}: {name} is missing or malformed")
    return info


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def file_names(folder: pathlib.Path) -> list[str]:
    """Names of all files under `folder`, relative to it, sorted."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in paths]


def capture_digest(files: Mapping[str, str]) -> str:
    """One digest for the capture; the overlay is for people and does not count."""
    lines = (f"{name} {files[name]}\n" for name in sorted(files) if name != "overlay.mp4")
    # Names that are not UTF-8 stand in the document as lone surrogates.
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()
