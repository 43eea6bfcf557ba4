"""The capture folder: what one recorded subject looks like on disk, how it is read and written.

    capture.json       format "jaxhead-capture", version 1: source, fps, size, frame count, split,
                       frames that were interpolated or dropped and why, SHA-256 of every other file
    frames/000000.png  RGB, the stored crop of the video
    masks/000000.png   red = person, green = head with hair and neck, blue = torso; soft, 0..255
    background.png     the clean plate
    tracking.npz       K, head_to_camera, expression, vertices, landmarks, torso_motion,
                       torso_measured, status, sway, sway_box, face_rect, eye_openness
    head.npz           the subject's head model (template = neutral shape)
    audio.wav          16 kHz mono, sample 0 at the first frame (absent for a silent clip)
    overlay.mp4        mesh, landmarks and masks over the video, for a person to judge
    depth/ parsing/ torso/, audio_features.npz    of imported captures, see docs/capture-format.md

A capture without vertices and head.npz has no mesh: what needs one refuses it by name.
Conventions: OpenCV camera axes, pixel centres at +0.5, metres in head space (y up, +z out of the
face, x to the subject's left); `vertices` are in head space, rigid pose removed.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxhead.captures.stored import AUDIO_RATE, Capture, checked_features
from jaxhead.captures.validate import (
    DROPPED,
    FORMAT,
    INTERPOLATED,
    KINDS,
    LAYERS,
    VERSION,
    capture_digest,
    check_digest,
    check_shapes,
    file_digest,
    file_names,
    frame_ids,
    read_info,
    require_arrays,
    typed,
)
from jaxhead.files.arrays import read_npz, write_npz
from jaxhead.files.atomic import new_folder
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image, write_image
from jaxhead.files.rows import RowFile
from jaxhead.files.sound import write_wav
from jaxhead.heads.model import HeadModel, head_from_arrays, head_to_arrays, no_head


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

    def add(
        self, frame: np.ndarray, masks: np.ndarray, layers: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Append one frame.

        Args:
          frame: (H, W, 3) uint8 picture; masks: (H, W, 3) uint8 person, head, torso.
          layers: further pictures as `Capture.layer` returns them, the same names in every frame.
        """
        for name, picture in (layers or {}).items():
            kind, channels = LAYERS[name]
            shape = (*self.size, channels) if channels > 1 else self.size
            if picture.shape != shape or picture.dtype != kind:
                raise ValueError(f"{name}: {picture.shape} {picture.dtype}, expected {shape}")
            (self.folder / name).mkdir(exist_ok=True)
            write_image(self.folder / name / f"{self._frames:06d}.png", picture)
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
        head: HeadModel | None,
        background: np.ndarray,
        audio: np.ndarray | None = None,
        audio_features: Mapping[str, np.ndarray] | None = None,
        source: Mapping[str, Any] | None = None,
        reasons: Mapping[int, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        split: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Write everything that frames share, and capture.json last.

        Args:
          tracking: K, head_to_camera, expression, vertices, landmarks, torso_motion,
            torso_measured, status, shaped as in `Capture`, and where anything sways sway and
            sway_box; rows of a file where they are large. Vertices are absent without a head.
          head: the subject's head model; None for a capture without a mesh.
          background: (H, W, 3) uint8.
          audio: float32 mono at 16 kHz or None.
          audio_features: (N, ...) float32 per frame, by the name of their extractor.
          source: where it came from, e.g. {"name": ..., "sha256": ...}.
          reasons: frame id -> why it was interpolated or dropped.
          extra: further JSON entries, e.g. figures of the tracking.
          split: (train, test) ids; `split_frames` of the status by default.
        """
        require_arrays(self.folder, tracking)
        arrays = typed(self.folder, tracking)
        check_shapes(self.folder, arrays, self._frames, no_head() if head is None else head)
        features = checked_features(self.folder, audio_features or {}, self._frames)
        train, test = split_frames(arrays["status"]) if split is None else split
        if not len(train):
            raise InputError("no usable frame in the training part of the clip")
        if head is None:
            del arrays["vertices"]
        else:
            write_npz(self.folder / "head.npz", head_to_arrays(head))
        write_npz(self.folder / "tracking.npz", arrays)
        if features:
            write_npz(self.folder / "audio_features.npz", features)
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
    for name in ("tracking.npz", "background.png"):
        check_digest(folder, name, files.get(name))
    if "audio.wav" in files:
        check_digest(folder, "audio.wav", files["audio.wav"])
    layers = [name for name in LAYERS if f"{name}/000000.png" in files]
    for index in range(frames):
        for name in (f"{kind}/{index:06d}.png" for kind in ("frames", "masks", *layers)):
            if name not in files or not (folder / name).is_file():
                raise InputError(f"{folder / name}: missing from a capture of {frames} frames")
    arrays = read_npz(folder / "tracking.npz")
    require_arrays(folder / "tracking.npz", arrays)
    head = no_head()
    if "vertices" in arrays:
        check_digest(folder, "head.npz", files.get("head.npz"))
        head = head_from_arrays(read_npz(folder / "head.npz"), source=str(folder / "head.npz"))
    arrays = {name: value for name, value in arrays.items() if name in KINDS}
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
