"""From a video to a capture: track the face, then write frames, masks, torso motion and the plate.

The video is read several times and never held: memory does not grow with its length but for the
numbers per frame.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxhead.captures.background import BackgroundCollector
from jaxhead.captures.crop import Crop, choose_crop, resize
from jaxhead.captures.following import follow_face
from jaxhead.captures.format import CaptureWriter, file_digest
from jaxhead.captures.landmarks import PersonSegmenter
from jaxhead.captures.masks import person_mask, segment, split_masks
from jaxhead.captures.overlay import draw_overlay, front_edges
from jaxhead.captures.refine import refine_poses, surface_points
from jaxhead.captures.split import SplitCollector, SplitModel, face_coordinates, head_share
from jaxhead.captures.torso import WORK_SIZE, TorsoReference, TorsoTracker, torso_reference
from jaxhead.captures.torso_predictor import fill_torso
from jaxhead.captures.tracking import (
    Tracking,
    dropped_reasons,
    pose_coordinates,
    pose_from_coordinates,
    smooth_channels,
    track,
)
from jaxhead.captures.validate import DROPPED, MEASURED
from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError
from jaxhead.files.sound import read_audio
from jaxhead.files.video import VideoWriter, decode, probe
from jaxhead.heads.mediapipe import canonical_face, closed_head, extend_vertices

Progress = Callable[[str, int, int], None]
_STUDIED = 16
_REFINE_SIZE = 512
_LEAST_TORSO = 0.04
# Shoulders follow about half of the head's motion: one of two places where alignment starts.
_FOLLOWING = 0.6


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
        tracked = refine_tracking(video, fps, tracked, canonical.faces, crop)
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


def refine_tracking(
    video: str | os.PathLike, fps: float, tracked: Tracking, faces: np.ndarray, crop: Crop
) -> Tracking:
    """`tracked` with poses refined on the pixels of the window, and the figures of that."""
    window = dataclasses.replace(crop, size=min(_REFINE_SIZE, crop.side // 4 * 4))

    def pictures() -> Iterator[np.ndarray]:
        return (_grey(window.resample(frame)) for frame in decode(video, fps=fps))

    measured = tracked.status == MEASURED
    poses = np.tile(np.eye(4), (len(measured), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = tracked.rotation, tracked.translation
    refined = refine_poses(
        pictures,
        surface_points(tracked.neutral, faces, tracked.weights),
        tracked.vertices,
        window.intrinsics(tracked.focal, tracked.size),
        poses,
        tracked.train & measured,
        measured,
    )
    coordinates, mean = pose_coordinates(refined.poses[:, :3, :3], refined.poses[:, :3, 3])
    coordinates, strength = smooth_channels(coordinates, tracked.train)
    rotation, translation = pose_from_coordinates(coordinates, mean)
    figures = {
        "texture_error_before": float(refined.before[measured].mean()),
        "texture_error_after": float(refined.after[measured].mean()),
        "refined_share": float(refined.improved[measured].mean()),
        "kept_landmark_pose": np.flatnonzero(measured & ~refined.improved).tolist(),
        "refined_smoothing": strength,
    }
    return dataclasses.replace(
        tracked,
        rotation=rotation,
        translation=translation,
        figures={**tracked.figures, "refinement": figures},
    )


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
        self.split: SplitModel | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """The full frames."""
        return decode(self.video, fps=self.fps)

    def marks(self, index: int, size: int) -> np.ndarray:
        """(468, 2) landmarks of frame `index` in pixels of a window of `size`."""
        return self.arrays["landmarks"][index, :468] * (size / self.crop.size)

    def person(self, window: np.ndarray) -> np.ndarray:
        """(S, S) float32 person mask of a window of any size."""
        return person_mask(window, segment(self.segmenter, window))

    def masks(self, window: np.ndarray, index: int) -> np.ndarray:
        """(S, S, 3) uint8 masks of a window of frame `index`, once the split is known."""
        person = self.person(window)
        marks = self.marks(index, window.shape[0])
        return split_masks(person, head_share(self.split, window, person, marks))

    def study(self, usable: np.ndarray) -> tuple[np.ndarray, int]:
        """Learn the split from a few training frames; returns the torso's reference and its id.

        The reference is the training frame whose head stands nearest to its median place.
        """
        centres = self.arrays["landmarks"].mean(1)
        distance = np.linalg.norm(centres - np.median(centres[usable], axis=0), axis=1)
        chosen = int(np.where(usable, distance, np.inf).argmin())
        ids = np.flatnonzero(usable)
        studied = set(ids[:: max(1, len(ids) // _STUDIED)].tolist()) | {chosen}
        collector, reference = SplitCollector(), None
        for index, frame in enumerate(self.frames()):
            if index > max(studied):
                break
            if index in studied:
                window = self.crop.resample(frame, WORK_SIZE)
                collector.add(window, self.person(window), self.marks(index, WORK_SIZE))
            if index == chosen:
                reference = window
        self.split = collector.model()
        return reference, chosen


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
    window, chosen = pictures.study(usable)
    torsos = TorsoTracker(_torso_reference(pictures, window, chosen))
    centres = arrays["landmarks"].mean(1) * (WORK_SIZE / pictures.crop.size)
    collector = BackgroundCollector(int(usable.sum()))
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
            torsos.add(
                _grey(pictures.crop.resample(frame, WORK_SIZE)),
                _below_chin(pictures, masks[..., 0], index),
                _FOLLOWING * (centres[index] - centres[chosen]),
            )
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
    figures = _keep_torso(arrays, torsos, tracked, pictures.crop.size)
    plate, share = collector.plate()
    return plate, {**figures, "background_uncovered": share}


def _torso_reference(pictures: _Pictures, window: np.ndarray, index: int) -> TorsoReference | None:
    """The torso of the reference frame; where clothes hardly show, all below the chin."""
    masks = pictures.masks(window, index).astype(np.float32) / 255
    torso = masks[..., 2]
    if (torso > 0.9).mean() < _LEAST_TORSO:
        below, _ = face_coordinates(pictures.marks(index, WORK_SIZE), WORK_SIZE)
        torso = np.maximum(torso, masks[..., 0] * (below > 0.05))
    return torso_reference(_grey(window), torso)


def _keep_torso(arrays: dict, torsos: TorsoTracker, tracked: Tracking, size: int) -> dict[str, Any]:
    """Put torso_motion and torso_measured into `arrays`; figures for the report."""
    motion, error, measured = torsos.finish(len(tracked.status))
    measured = measured & (tracked.status != DROPPED)
    motion[..., 2] *= size / WORK_SIZE
    arrays["torso_motion"] = fill_torso(motion, measured)
    arrays["torso_measured"] = measured
    return {
        "torso_measured_share": float(measured.mean()),
        "torso_error": float(np.median(error)),
    }


def _below_chin(pictures: _Pictures, person: np.ndarray, index: int) -> np.ndarray:
    """(W, W) float32 the person outside the tracked face, which may hide the torso."""
    person = resize(person, WORK_SIZE).astype(np.float32) / 255
    below, aside = face_coordinates(pictures.marks(index, WORK_SIZE), WORK_SIZE)
    return person * ((below > 0) | (np.abs(aside) > 0.45))


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
