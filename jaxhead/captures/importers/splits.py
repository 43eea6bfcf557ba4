"""Frames listed in transforms_train.json, transforms_test.json and transforms_val.json."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np

from jaxhead.captures.importers.documents import Fields, natural, read_json
from jaxhead.files.errors import InputError

_SPLITS = ("train", "test", "val")


def split_documents(folder: pathlib.Path) -> dict[str, Fields]:
    """The documents transforms_SPLIT.json by split; else transforms.json, which lists all, by "".

    Raises:
      InputError: neither is there.
    """
    found = {}
    for split in _SPLITS:
        path = folder / f"transforms_{split}.json"
        if path.is_file():
            found[split] = read_json(path)
    if "train" in found:
        return found
    if found or not (folder / "transforms.json").is_file():
        raise InputError(
            f"{folder}: lacks transforms_train.json, expected it or transforms.json alone"
        )
    return {"": read_json(folder / "transforms.json")}


def split_frames(
    documents: dict[str, Fields], keep: Callable[[Fields], bool] = lambda entry: True
) -> tuple[list[Fields], tuple[np.ndarray, np.ndarray] | None, list[str]]:
    """All frames in the order of their names, (train, test) ids or None, and what to tell.

    What is in another document than train's is held out; a frame that trains never is.

    Args:
      documents: of `split_documents`.
      keep: whether a frame is wanted.

    Raises:
      InputError: no frame to train on, or a frame with two cameras.
    """
    place: dict[str, Fields] = {}
    part: dict[str, str] = {}
    notes = []
    for split, document in documents.items():
        entries = document.entries()
        if len(entries) < len(document.value["frames"]):
            lost = len(document.value["frames"]) - len(entries)
            notes.append(f"{lost} entries of {document.where} are empty: they were left out")
        for entry in filter(keep, entries):
            name = entry.text("file_path")
            if name in place and not np.array_equal(entry.matrix(), place[name].matrix()):
                raise InputError(f"{entry.where}: {name} has another camera in {place[name].where}")
            place.setdefault(name, entry)
            if part.setdefault(name, split) == "train" and split != "train":
                notes.append(f"{name} is in train and in {split}: it trains")
    if not place:
        raise InputError(f"{next(iter(documents.values())).where}: lists no frame")
    order = sorted(place, key=natural)
    if len(notes) > 5:
        notes = [*notes[:4], f"and {len(notes) - 4} notes of this kind more"]
    if "" in documents:
        notes.append("no split is given: the last 20 % are held out")
        return [place[name] for name in order], None, notes
    train = np.flatnonzero([part[name] == "train" for name in order]).astype(np.int32)
    test = np.flatnonzero([part[name] != "train" for name in order]).astype(np.int32)
    if not len(train):
        raise InputError(f"{documents['train'].where}: lists no frame to train on")
    return [place[name] for name in order], (train, test), notes
