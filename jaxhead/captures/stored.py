"""A capture in memory: what `format.load_capture` returns, pictures and sound read on demand."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxhead.captures.validate import LAYERS, check_digest
from jaxhead.files.arrays import as_kind, read_npz
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image, read_layer
from jaxhead.files.sound import read_audio
from jaxhead.heads.model import HeadModel

AUDIO_RATE = 16000


@dataclasses.dataclass(frozen=True, eq=False)
class Capture:
    """One recorded subject, in host memory except for its frames, masks and sound.

    Attributes:
      path: the capture folder.
      digest: SHA-256 over the names and digests of all files but the overlay; names the capture.
      info: the parsed capture.json.
      size: stored (height, width) in pixels.
      fps: frames per second.
      K: (3, 3) float32 intrinsics in stored pixels.
      head_to_camera: (N, 4, 4) float32 rigid pose per frame.
      expression: (N, E) float32 scores named by `head.expression_names`; in [0, 1], or deviations
        of either sign where a statistical head was fitted or imported.
      vertices: (N, V, 3) float32 metres in head space: expression applied, rigid pose removed;
        V = 0 for a capture without a mesh.
      landmarks: (N, L, 2) float32 stored pixels; L may be 0.
      torso_motion: (N, 2, 3) float32 affine in stored pixels: frame = A @ [reference, 1].
      torso_measured: (N,) bool, False where the motion was filled in.
      status: (N,) uint8: 0 measured, 1 interpolated, 2 dropped.
      sway: (N, G, G, 2) float32 metres in x and y of head space, indexed [frame, y, x]: what stands
        at p in the mean shape stands at p + sway in the frame, see `captures.sway`.
      sway_box: (2, 2) float32 metres, x and y of the lattice's first and last node.
      train: int32 ids of training frames; test: int32 ids of held-out frames; none dropped.
      head: the subject's head model; one without vertices where there is no mesh.
      background: (H, W, 3) uint8 clean plate.
      face_rect: (N, 4) float32 x, y, width, height in stored pixels, or None.
      eye_openness: (N,) float32, 0 closed to 1 open, or None.
    """

    path: pathlib.Path
    digest: str
    info: Mapping[str, Any]
    size: tuple[int, int]
    fps: float
    K: np.ndarray
    head_to_camera: np.ndarray
    expression: np.ndarray
    vertices: np.ndarray
    landmarks: np.ndarray
    torso_motion: np.ndarray
    torso_measured: np.ndarray
    status: np.ndarray
    sway: np.ndarray
    sway_box: np.ndarray
    train: np.ndarray
    test: np.ndarray
    head: HeadModel
    background: np.ndarray
    audio_rate: int = AUDIO_RATE
    face_rect: np.ndarray | None = None
    eye_openness: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.status)

    @property
    def has_mesh(self) -> bool:
        """Whether there is a head model with a mesh per frame."""
        return self.vertices.shape[1] > 0

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 picture of frame `index`; a damaged file is an InputError."""
        return self._picture("frames", index)

    def masks(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 soft masks of frame `index`: person, head, torso."""
        return self._picture("masks", index)

    def audio(self) -> np.ndarray | None:
        """float32 mono samples at `audio_rate`, sample 0 at frame 0; None for a silent clip."""
        if "audio.wav" not in self.info["files"]:
            return None
        return read_audio(self.path / "audio.wav", rate=self.audio_rate)

    def audio_features(self) -> dict[str, np.ndarray]:
        """(N, ...) float32 features of an extractor per frame, by its name; empty for none."""
        name = "audio_features.npz"
        if name not in self.info["files"]:
            return {}
        check_digest(self.path, name, self.info["files"][name])
        return checked_features(self.path / name, read_npz(self.path / name), len(self))

    def layers(self) -> tuple[str, ...]:
        """The names of the layers that this capture has, see `layer`."""
        return tuple(name for name in LAYERS if f"{name}/000000.png" in self.info["files"])

    def layer(self, name: str, index: int) -> np.ndarray:
        """Further pictures of frame `index`: "depth" (H, W) uint16 in units of `depth_unit` metres,
        0 for none; "parsing" (H, W) uint8 classes, which capture.json names; "torso" (H, W, 4)
        uint8 RGBA, the torso continued behind the head.
        """
        kind, channels = LAYERS[name]
        file = self._file(name, index)
        picture = read_layer(file)
        shape = (*self.size, channels) if channels > 1 else self.size
        if picture.shape != shape or picture.dtype != kind:
            found = f"{picture.shape} {picture.dtype}"
            raise InputError(f"{file}: {found}, expected {shape} {np.dtype(kind)}")
        return picture

    def _file(self, folder: str, index: int) -> pathlib.Path:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        name = f"{folder}/{index:06d}.png"
        check_digest(self.path, name, self.info["files"].get(name))
        return self.path / name

    def _picture(self, folder: str, index: int) -> np.ndarray:
        file = self._file(folder, index)
        picture = read_image(file)
        if picture.shape != (*self.size, 3):
            raise InputError(f"{file}: shape {picture.shape}, expected {self.size} RGB")
        return picture


def checked_features(
    where: pathlib.Path, arrays: Mapping[str, np.ndarray], frames: int
) -> dict[str, np.ndarray]:
    """Audio features (frames, ...) float32 by name; InputError where they are anything else."""
    result = {}
    for name, value in arrays.items():
        result[name] = as_kind(value, np.float32, f"{where}: {name}")
        if result[name].ndim < 2 or len(result[name]) != frames:
            found = result[name].shape
            raise InputError(f"{where}: {name} has shape {found}, expected {frames} rows")
        if not np.isfinite(result[name]).all():
            raise InputError(f"{where}: {name} holds values that are not finite")
    return result
