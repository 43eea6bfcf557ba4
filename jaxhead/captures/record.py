"""From a video to a capture: track the face, then write frames, masks, torso motion and the plate.

The video is read several times and never held: memory does not grow with its length but for the numbers
per frame.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxhead.captures.background import BackgroundCollector
from jaxhead.captures.crop import Crop, choose_crop, resize
from jaxhead.captures.format import CaptureWriter, file_digest
from jaxhead.captures.landmarks import PersonSegmenter, follow_face
from jaxhead.captures.masks import head_share, person_mask, segment, split_masks
from jaxhead.captures.overlay import draw_overlay, front_edges
from jaxhead.captures.torso import WORK_SIZE, TorsoReference, align_torso, torso_reference, trusted
from jaxhead.captures.torso_predictor import fill_torso
from jaxhead.captures.tracking import Tracking, dropped_reasons, track
from jaxhead.captures.validate import DROPPED, MEASURED
from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError
from jaxhead.files.sound import read_audio
from jaxhead.files.video import VideoWriter, decode, probe
from jaxhead.heads.mediapipe import canonical_face, closed_head, extend_vertices

Progress = Callable[[str, int, int], None]
_BATCH = 16


def record(
    video: str | os.PathLike,
    out: str | os.PathLike,
    *,
    size: int = 512,
    fps: float = 25.0,
    assets: str | os.PathLike | None = None,
    progress: Progress | None = None,
    overlay: bool = True,
    overwrite: bool = False,
) -> pathlib.Path:
    """Make the capture folder `out` from a video of one person.

    Args:
      video: a local mp4, mov, mkv, webm or avi file.
      out: the capture folder to make.
      size: stored side in pixels, 64 to 2048.
      fps: frames per second of the capture.
      assets: folder of third-party models, or None for the standard places.
      progress: called as progress(stage, frames done, frames in all).
      overlay: also write overlay.mp4.
      overwrite: replace an existing folder.

    Returns:
      The path of the capture.

    Raises:
      InputError: bad video, no face, an existing folder, a missing model.
    """
    if not 64 <= size <= 2048:
        raise InputError(f"size {size}: expected 64 to 2048 pixels")
    tell = progress or (lambda stage, done, total: None)
    info = probe(video)
    expected = max(1, round(info.duration * fps))
    with CaptureWriter(out, size=(size, size), fps=fps, overwrite=overwrite) as writer:
        face = follow_face(
            decode(video, fps=fps), assets, progress=lambda n: tell("landmarks", n, expected)
        )
        canonical = canonical_face(find_asset("face_landmarker", assets))
        rigid = np.zeros(len(canonical.vertices))
        rigid[canonical.procrustes_index] = canonical.procrustes_weights
        tracked = track(face, canonical.vertices.astype(np.float64), rigid)
        usable = tracked.train & (tracked.status == MEASURED)
        crop = choose_crop(tracked.pixels[usable], tracked.size, size)
        head, arrays = assemble(tracked, canonical, crop)
        with PersonSegmenter(assets) as segmenter:
            pictures = _Pictures(video, fps, crop, segmenter, arrays)
            plate, figures = _write_frames(
                writer, pictures, tracked, head, arrays, overlay=overlay, tell=tell
            )
        writer.finish(
            tracking=arrays,
            head=head,
            background=plate,
            audio=_audio(video, info.has_audio, len(face.found), fps),
            source={"name": pathlib.Path(video).name, "sha256": file_digest(video)},
            reasons=dropped_reasons(tracked.status, face.found),
            extra={
                "tracking": {**tracked.figures, **figures},
                "crop": {"left": crop.left, "top": crop.top, "side": crop.side},
            },
        )
    return pathlib.Path(out)


def assemble(tracked: Tracking, canonical: Any, crop: Crop) -> tuple[Any, dict[str, np.ndarray]]:
    """The subject's closed head model and the tracking arrays in stored pixels."""
    template, extension = closed_head(canonical)
    count = len(tracked.rotation)
    neutral = np.asarray(extend_vertices(extension, tracked.neutral.astype(np.float32)))
    posed = tracked.neutral + tracked.basis
    basis = np.asarray(extend_vertices(extension, posed.astype(np.float32))) - neutral
    blocks = np.array_split(tracked.vertices.astype(np.float32), max(1, count // 256))
    vertices = np.concatenate([np.asarray(extend_vertices(extension, b)) for b in blocks])
    head = template.replace(
        template=neutral, expression_basis=basis, expression_names=tuple(tracked.names)
    )
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = tracked.rotation
    poses[:, :3, 3] = tracked.translation
    arrays = {
        "K": crop.intrinsics(tracked.focal, tracked.size),
        "head_to_camera": poses,
        "expression": tracked.scores,
        "vertices": vertices,
        "landmarks": crop.points(tracked.pixels),
        "status": tracked.status,
    }
    return head, arrays


def project(vertices: np.ndarray, K: np.ndarray, head_to_camera: np.ndarray) -> np.ndarray:
    """(V, 2) stored pixels of (V, 3) head-space vertices of one frame, on the host."""
    points = vertices @ head_to_camera[:3, :3].T + head_to_camera[:3, 3]
    return points[:, :2] / points[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]


class _Pictures:
    """Frames of the clip with their masks, decoded anew at every pass."""

    def __init__(self, video, fps: float, crop: Crop, segmenter: PersonSegmenter, arrays: dict):
        self.video, self.fps, self.crop = video, fps, crop
        self.segmenter, self.arrays = segmenter, arrays

    def frames(self) -> Iterator[np.ndarray]:
        """The full frames."""
        return decode(self.video, fps=self.fps)

    def masks(self, window: np.ndarray, index: int) -> np.ndarray:
        """(S, S, 3) uint8 masks of a stored-size window of frame `index`."""
        size = window.shape[0]
        person = person_mask(window, segment(self.segmenter, window))
        marks = self.arrays["landmarks"][index, :468] * (size / self.crop.size)
        return split_masks(person, head_share(marks, size))

    def work(self, frame: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Grey picture (W, W) and torso mask at the size that torsos are aligned at."""
        window = self.crop.resample(frame, WORK_SIZE)
        grey = window.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
        return grey, self.masks(window, index)[..., 2].astype(np.float32) / 255


def _write_frames(
    writer: CaptureWriter,
    pictures: _Pictures,
    tracked: Tracking,
    head: Any,
    arrays: dict[str, np.ndarray],
    *,
    overlay: bool,
    tell: Progress,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Write frames and masks; measure torso motion (into `arrays`) and the plate on the way."""
    usable = tracked.train & (tracked.status == MEASURED)
    count = len(usable)
    reference = _reference(pictures, arrays, usable)
    collector = BackgroundCollector(int(usable.sum()))
    motions, errors, batch = [], [], []
    faces = np.asarray(head.faces)
    with contextlib.ExitStack() as stack:
        video = None
        if overlay:
            video = stack.enter_context(
                VideoWriter(writer.folder / "overlay.mp4", writer.fps, preset="veryfast", crf=23)
            )
        for index, frame in enumerate(pictures.frames()):
            if index >= count:
                break
            window = pictures.crop.resample(frame)
            masks = pictures.masks(window, index)
            writer.add(window, masks)
            if usable[index]:
                collector.add(window, masks[..., 0])
            if reference is not None:
                grey = _grey(pictures.crop.resample(frame, WORK_SIZE))
                batch.append((grey, resize(masks[..., 2], WORK_SIZE).astype(np.float32) / 255))
            if len(batch) == _BATCH or (batch and index == count - 1):
                motion, error = _align(reference, batch)
                motions.append(motion)
                errors.append(error)
                batch = []
            if video is not None:
                points = project(
                    arrays["vertices"][index], arrays["K"], arrays["head_to_camera"][index]
                )
                note = "" if tracked.status[index] == MEASURED else f"frame {index}: no face"
                video.write(
                    draw_overlay(
                        window,
                        masks,
                        points,
                        front_edges(faces, points),
                        arrays["landmarks"][index],
                        note=note,
                    )
                )
            tell("frames", index + 1, count)
    figures = _keep_torso(arrays, motions, errors, tracked, pictures.crop.size)
    plate, share = collector.plate()
    return plate, {**figures, "background_uncovered": share}


def _reference(
    pictures: _Pictures, arrays: dict[str, np.ndarray], usable: np.ndarray
) -> TorsoReference | None:
    """The torso of the training frame whose head stands nearest to its median place."""
    centres = arrays["landmarks"].mean(1)
    distance = np.linalg.norm(centres - np.median(centres[usable], axis=0), axis=1)
    chosen = int(np.where(usable, distance, np.inf).argmin())
    for index, frame in enumerate(pictures.frames()):
        if index == chosen:
            return torso_reference(*pictures.work(frame, index))
    return None


def _align(reference: TorsoReference, batch: list) -> tuple[np.ndarray, np.ndarray]:
    grey, torso = (np.stack(part) for part in zip(*batch))
    count = len(grey)
    # One compiled size: the last batch is filled up with its last frame.
    pad = [(0, _BATCH - count), (0, 0), (0, 0)]
    motion, error = align_torso(
        reference, np.pad(grey, pad, mode="edge"), np.pad(torso, pad, mode="edge")
    )
    return motion[:count], error[:count]


def _keep_torso(
    arrays: dict, motions: list, errors: list, tracked: Tracking, size: int
) -> dict[str, Any]:
    """Put torso_motion and torso_measured into `arrays`; figures for the report."""
    count = len(tracked.status)
    if not motions:
        arrays["torso_motion"] = np.tile(np.eye(2, 3), (count, 1, 1))
        arrays["torso_measured"] = np.zeros(count, bool)
        return {"torso_measured_share": 0.0}
    motion, error = np.concatenate(motions), np.concatenate(errors)
    measured = trusted(error, motion, WORK_SIZE) & (tracked.status != DROPPED)
    motion[..., 2] *= size / WORK_SIZE
    arrays["torso_motion"] = fill_torso(motion, measured)
    arrays["torso_measured"] = measured
    return {
        "torso_measured_share": float(measured.mean()),
        "torso_error": float(np.median(error)),
    }


def _grey(window: np.ndarray) -> np.ndarray:
    return window.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255


def _audio(video: str | os.PathLike, present: bool, frames: int, fps: float) -> np.ndarray | None:
    """16 kHz mono sound as long as the frames, or None."""
    samples = read_audio(video, rate=16000) if present else None
    if samples is None or not len(samples):
        return None
    length = round(frames / fps * 16000)
    samples = samples[:length]
    return np.pad(samples, (0, length - len(samples)))
