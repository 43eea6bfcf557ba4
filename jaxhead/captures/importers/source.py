"""What an importer hands over: one subject in this project's conventions, pictures on demand."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.rows import RowFile
from jaxhead.heads.model import HeadModel
from jaxhead.heads.sequence import MeshSequence, read_sequence


class Picture(NamedTuple):
    """One frame.

    Attributes:
      frame: (H, W, 3) uint8.
      masks: (H, W, 3) uint8 person, head, torso.
      layers: further pictures, see `captures.stored.Capture.layer`.
    """

    frame: np.ndarray
    masks: np.ndarray
    layers: Mapping[str, np.ndarray]


@dataclasses.dataclass(eq=False)
class Source:
    """One subject as another program stored it.

    Attributes:
      format: name of the format.
      folder: where it is.
      digests: SHA-256 of the documents that describe it, by file name.
      size: (H, W) of the pictures.
      K: (3, 3) float64; head_to_camera: (N, 4, 4) float64.
      expression: (N, E) coefficients.
      picture: the frame of an index.
      background: (H, W, 3) uint8; None for a clean plate of the training frames.
      status: (N,) uint8; reasons: frame -> why it is not usable.
      split: (train, test) ids, or None for the first 80 % against the rest.
      found: lines for the user: what there was, what was missing, what was made up for.
      convention: how the source's own program saw it, for conversions of its checkpoints.
      vertices: (N, V, 3) metres with head, or both None.
      landmarks: (N, L, 2) pixels.
      face_rect: (N, 4) pixels or None; eye_openness: (N,) or None.
      audio: float32 mono at 16 kHz or None.
      audio_features: (N, ...) per extractor.
      extra: further entries of capture.json.
    """

    format: str
    folder: pathlib.Path
    digests: Mapping[str, str]
    size: tuple[int, int]
    K: np.ndarray
    head_to_camera: np.ndarray
    expression: np.ndarray
    picture: Callable[[int], Picture]
    background: np.ndarray | None
    status: np.ndarray
    split: tuple[np.ndarray, np.ndarray] | None
    found: list[str]
    convention: Mapping[str, Any]
    reasons: Mapping[int, str] = dataclasses.field(default_factory=dict)
    vertices: RowFile | None = None
    head: HeadModel | None = None
    landmarks: np.ndarray | None = None
    face_rect: np.ndarray | None = None
    eye_openness: np.ndarray | None = None
    audio: np.ndarray | None = None
    audio_features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.head_to_camera)


@dataclasses.dataclass(frozen=True)
class Options:
    """What an importer is told beside its folder.

    Attributes:
      fps: frames a second of the source, which no format states.
      head: a statistical head model's file, "kind:path": makes the meshes of formats that store
        its parameters, and names regions and landmarks of meshes with its vertices.
      assets: folder of third-party models or None.
      scratch: folder for large temporary files.
      held_out: how many last frames are held out; None for the stored split.
      tell: called as tell(stage, frames done, frames in all).
      stack: closes what an importer keeps open until its capture is written.
    """

    fps: float = 25.0
    head: str | None = None
    assets: str | None = None
    scratch: str | None = None
    held_out: int | None = None
    tell: Callable[[str, int, int], None] = lambda stage, done, total: None
    stack: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)

    def split(
        self, stored: tuple[np.ndarray, np.ndarray] | None, count: int, folder: pathlib.Path
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """(train, test) ids of `count` frames: the stored ones, or the last ones held out.

        Raises:
          InputError: as many are to be held out as there are, or more.
        """
        if self.held_out is None:
            return stored
        if self.held_out >= count:
            raise InputError(
                f"{folder}: {count} frames, expected more than the {self.held_out} that are to be "
                "held out"
            )
        ids = np.arange(count, dtype=np.int32)
        return ids[: count - self.held_out], ids[count - self.held_out :]

    def rows(self, row: tuple[int, ...]) -> RowFile:
        """An empty file of rows on the output's disk, closed with the import."""
        file = RowFile(self.scratch, row)
        self.stack.callback(file.close)
        return file

    def meshes(self, files: list[pathlib.Path], canonical: pathlib.Path) -> MeshSequence:
        """Meshes of one topology with their neutral one, closed with the import."""
        self.tell("meshes", 0, len(files))
        sequence = read_sequence(files, template=canonical, folder=self.scratch)
        self.stack.callback(sequence.vertices.close)
        self.tell("meshes", len(files), len(files))
        return sequence
