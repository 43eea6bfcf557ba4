"""The capture folder: what one recorded subject looks like on disk, how it is read and written.

    capture.json       format "jaxhead-capture", version 1: source, fps, size, frame count, split,
                       frames that were interpolated or dropped and why, SHA-256 of every other file
    frames/000000.png  RGB, the stored crop of the video
    masks/000000.png   red = person, green = head with hair and neck, blue = torso; soft, 0..255
    background.png     the clean plate
    tracking.npz       K, head_to_camera, expression, vertices, landmarks, torso_motion,
                       torso_measured, status, sway, sway_box
    head.npz           the subject's head model (template = neutral shape)
    audio.wav          16 kHz mono, sample 0 at the first frame (absent for a silent clip)
    overlay.mp4        mesh, landmarks and masks over the video, for a person to judge

Conventions: OpenCV camera axes, pixel centres at +0.5, metres in head space (y up, +z out of the
face, x to the subject's left); `vertices` are in head space, rigid pose removed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxhead.captures.validate import (
    DROPPED,
    FORMAT,
    INTERPOLATED,
    KINDS,
    OPTIONAL,
    VERSION,
    capture_digest,
    check_digest,
    check_shapes,
    file_digest,
    file_names,
    frame_ids,
    read_info,
    typed,
)
from jaxhead.files.arrays import read_npz, write_npz
from jaxhead.files.atomic import new_folder
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image, write_image
from jaxhead.files.rows import RowFile
from jaxhead.files.sound import read_audio, write_wav
from jaxhead.heads.model import HeadModel, head_from_arrays, head_to_arrays

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
      expression: (N, E) float32 scores in [0, 1], named by `head.expression_names`.
      vertices: (N, V, 3) float32 metres in head space: expression applied, rigid pose removed.
      landmarks: (N, L, 2) float32 stored pixels.
      torso_motion: (N, 2, 3) float32 affine in stored pixels: frame = A @ [reference, 1].
      torso_measured: (N,) bool, False where the motion was filled in.
      status: (N,) uint8: 0 measured, 1 interpolated, 2 dropped.
      sway: (N, G, G, 2) float32 metres in x and y of head space, indexed [frame, y, x]: what stands
        at p in the mean shape stands at p + sway in the frame, see `captures.sway`.
      sway_box: (2, 2) float32 metres, x and y of the lattice's first and last node.
      train: int32 ids of training frames; test: int32 ids of held-out frames; none dropped.
      head: the subject's head model.
      background: (H, W, 3) uint8 clean plate.
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

    def __len__(self) -> int:
        return len(self.status)

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

    def _picture(self, folder: str, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        name = f"{folder}/{index:06d}.png"
        check_digest(self.path, name, self.info["files"].get(name))
        picture = read_image(self.path / name)
        if picture.shape != (*self.size, 3):
            raise InputError(f"{self.path / name}: shape {picture.shape}, expected {self.size} RGB")
        return picture


def split_frames(status: np.ndarray, *, share: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out frame ids: the first `share` of the clip against the rest.

    The boundary depends on the frame count only, so that dropping a frame never moves a held-out
    frame into training. Both lists leave out dropped frames.

    Args:
      status: (N,) 0 measured, 1 interpolated, 2 dropped.
      share: of the frames that train; at least one frame trains.

    Returns:
      (train, test) int32 arrays.
    """
    boundary = max(1, int(share * len(status) + 1e-6))
    usable = np.flatnonzero(np.asarray(status) != DROPPED).astype(np.int32)
    return usable[usable < boundary], usable[usable >= boundary]


class CaptureWriter:
    """Writes a capture folder frame by frame; the folder gets its name only on success.

        with CaptureWriter("may", size=(256, 256), fps=25.0) as writer:
            writer.add(frame, masks)  # once per frame, in order
            writer.finish(tracking=..., head=..., background=...)

    `folder` is the temporary folder; further files may be put there before `finish`.

    Args:
      path: the capture folder to make; one that exists is an InputError unless `overwrite`.
      size: stored (height, width).
      fps: frames per second.
      overwrite: replace an existing folder.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        size: tuple[int, int],
        fps: float,
        overwrite: bool = False,
    ):
        self.size = (int(size[0]), int(size[1]))
        self.fps = float(fps)
        self.folder = pathlib.Path(path)
        self._context = new_folder(path, overwrite=overwrite)
        self._frames = 0

    def __enter__(self) -> CaptureWriter:
        self.folder = pathlib.Path(self._context.__enter__())
        (self.folder / "frames").mkdir()
        (self.folder / "masks").mkdir()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._context.__exit__(*error)

    def add(self, frame: np.ndarray, masks: np.ndarray) -> None:
        """Append one frame: (H, W, 3) uint8 picture and (H, W, 3) uint8 person, head, torso."""
        for name, picture in (("frames", frame), ("masks", masks)):
            if picture.shape != (*self.size, 3) or picture.dtype != np.uint8:
                found = f"{picture.shape} {picture.dtype}"
                raise ValueError(f"{name}: {found}, expected {(*self.size, 3)} uint8")
            write_image(self.folder / name / f"{self._frames:06d}.png", picture)
        self._frames += 1

    def finish(
        self,
        *,
        tracking: Mapping[str, np.ndarray | RowFile],
        head: HeadModel,
        background: np.ndarray,
        audio: np.ndarray | None = None,
        source: Mapping[str, Any] | None = None,
        reasons: Mapping[int, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        split: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Write everything that frames share, and capture.json last.

        Args:
          tracking: K, head_to_camera, expression, vertices, landmarks, torso_motion,
            torso_measured, status, shaped as in `Capture`, and where anything sways sway and
            sway_box; rows of a file where they are large.
          head: the subject's head model.
          background: (H, W, 3) uint8.
          audio: float32 mono at 16 kHz or None.
          source: where it came from, e.g. {"name": ..., "sha256": ...}.
          reasons: frame id -> why it was interpolated or dropped.
          extra: further JSON entries, e.g. figures of the tracking.
          split: (train, test) ids; `split_frames` of the status by default.
        """
        arrays = typed(self.folder, tracking)
        check_shapes(self.folder, arrays, self._frames, head)
        train, test = split_frames(arrays["status"]) if split is None else split
        if not len(train):
            raise InputError("no usable frame in the training part of the clip")
        write_npz(self.folder / "tracking.npz", arrays)
        write_npz(self.folder / "head.npz", head_to_arrays(head))
        write_image(self.folder / "background.png", background)
        if audio is not None and len(audio):
            write_wav(self.folder / "audio.wav", audio, AUDIO_RATE)
        reasons = reasons or {}
        info = {
            "format": FORMAT,
            "version": VERSION,
            "source": dict(source or {}),
            "fps": self.fps,
            "size": list(self.size),
            "frames": self._frames,
            "audio_rate": AUDIO_RATE,
            "split": {"train": np.asarray(train).tolist(), "test": np.asarray(test).tolist()},
            "interpolated": _listed(arrays["status"], INTERPOLATED, reasons),
            "dropped": _listed(arrays["status"], DROPPED, reasons),
            **dict(extra or {}),
            "files": {name: file_digest(self.folder / name) for name in file_names(self.folder)},
        }
        text = json.dumps(info, indent=1, allow_nan=False)
        (self.folder / "capture.json").write_text(text + "\n", encoding="utf-8")


def load_capture(path: str | os.PathLike) -> Capture:
    """The capture in folder `path`, validated; its frames are read and checked one by one later.

    Raises:
      InputError: not a capture, another version, a missing or damaged file, wrong shapes, values
        that are not finite. The message names the file and what was expected.
    """
    folder = pathlib.Path(path)
    info = read_info(folder)
    files, frames = info["files"], info["frames"]
    for name in ("tracking.npz", "head.npz", "background.png"):
        check_digest(folder, name, files.get(name))
    if "audio.wav" in files:
        check_digest(folder, "audio.wav", files["audio.wav"])
    for index in range(frames):
        for name in (f"frames/{index:06d}.png", f"masks/{index:06d}.png"):
            if name not in files or not (folder / name).is_file():
                raise InputError(f"{folder / name}: missing from a capture of {frames} frames")
    arrays = read_npz(folder / "tracking.npz")
    optional = () if set(arrays) & set(OPTIONAL) else OPTIONAL
    missing = sorted(set(KINDS) - set(arrays) - set(optional))
    if missing:
        raise InputError(f"{folder / 'tracking.npz'}: lacks {', '.join(missing)}")
    head = head_from_arrays(read_npz(folder / "head.npz"), source=str(folder / "head.npz"))
    arrays = typed(folder / "tracking.npz", arrays)
    check_shapes(folder / "tracking.npz", arrays, frames, head)
    size = (info["size"][0], info["size"][1])
    background = read_image(folder / "background.png")
    if background.shape != (*size, 3):
        raise InputError(f"{folder / 'background.png'}: shape {background.shape}, expected {size}")
    return Capture(
        path=folder,
        digest=capture_digest(files),
        info=info,
        size=size,
        fps=float(info["fps"]),
        train=frame_ids(folder, info, "train"),
        test=frame_ids(folder, info, "test"),
        head=head,
        background=background,
        audio_rate=int(info["audio_rate"]),
        **arrays,
    )


def _listed(status: np.ndarray, kind: int, reasons: Mapping[int, str]) -> list[dict[str, Any]]:
    """Runs of consecutive frames of one status and reason, for capture.json."""
    runs: list[dict[str, Any]] = []
    for frame in np.flatnonzero(status == kind).tolist():
        reason = reasons.get(frame, "no face was found")
        if runs and runs[-1]["last"] == frame - 1 and runs[-1]["reason"] == reason:
            runs[-1]["last"] = frame
        else:
            runs.append({"first": frame, "last": frame, "reason": reason})
    return runs
