"""The second reading of a video: frames, masks, plate, torso motion and sway of a tracked clip."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxhead.captures.background import BackgroundCollector
from jaxhead.captures.crop import Crop, resize
from jaxhead.captures.format import CaptureWriter
from jaxhead.captures.landmarks import PersonSegmenter
from jaxhead.captures.masks import person_mask, segment, split_masks
from jaxhead.captures.overlay import draw_overlay, front_edges
from jaxhead.captures.split import SplitCollector, face_coordinates, head_share
from jaxhead.captures.sway import measure_sway
from jaxhead.captures.sway_predictor import fit_sway_predictor
from jaxhead.captures.torso import WORK_SIZE, TorsoReference, TorsoTracker, torso_reference
from jaxhead.captures.torso_predictor import fill_torso, fit_torso_predictor, predict_torso
from jaxhead.captures.validate import DROPPED, MEASURED
from jaxhead.files.behind import Behind
from jaxhead.files.rows import RowFile
from jaxhead.files.video import VideoWriter, decode
from jaxhead.heads.model import HeadModel

_STUDIED = 16
_LEAST_TORSO = 0.04
# Shoulders follow about half of the head's motion: one of two places where alignment starts.
_FOLLOWING = 0.6


class Pictures:
    """Frames of the clip with their masks, decoded anew at every pass."""

    def __init__(self, video, fps: float, crop: Crop, segmenter: PersonSegmenter, arrays: dict):
        self.video, self.fps, self.crop = video, fps, crop
        self.segmenter, self.arrays = segmenter, arrays
        self.split = SplitCollector().model()

    def frames(self) -> Iterator[np.ndarray]:
        """The full frames."""
        return decode(self.video, fps=self.fps)

    def marks(self, index: int, size: int) -> np.ndarray:
        """(468, 2) landmarks of frame `index` in pixels of a window of `size`."""
        return self.arrays["landmarks"][index][:468] * (size / self.crop.size)

    def centres(self) -> np.ndarray:
        """(N, 2) float32 mean landmarks in stored pixels."""
        return np.concatenate([block.mean(1) for block in self.arrays["landmarks"].blocks()])

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
        centres = self.centres()
        distance = np.linalg.norm(centres - np.median(centres[usable], axis=0), axis=1)
        chosen = int(np.where(usable, distance, np.inf).argmin())
        ids = np.flatnonzero(usable)
        studied = set(ids[:: max(1, len(ids) // _STUDIED)].tolist()) | {chosen}
        collector = SplitCollector()
        reference = np.zeros((WORK_SIZE, WORK_SIZE, 3), np.uint8)
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


def write_frames(
    writer: CaptureWriter,
    pictures: Pictures,
    train: np.ndarray,
    head: HeadModel,
    *,
    overlay: bool,
    tell: Callable[[str, int, int], None],
) -> tuple[np.ndarray, dict[str, Any]]:
    """Write all frames and masks; measure the plate, torso motion and sway on the way.

    Args:
      writer: of the capture.
      pictures: the clip; its `arrays` (K, head_to_camera, vertices, landmarks, status) receive
        torso_motion, torso_measured, sway and sway_box.
      train: (N,) bool, training frames.
      head: the subject's.
      overlay: write overlay.mp4.
      tell: called as tell(stage, frames done, frames in all).

    Returns:
      the plate (S, S, 3) uint8; figures for the report.
    """
    arrays = pictures.arrays
    usable = train & (arrays["status"] == MEASURED)
    count = len(usable)
    window, chosen = pictures.study(usable)
    torsos = TorsoTracker(_torso_reference(pictures, window, chosen))
    centres = pictures.centres() * (WORK_SIZE / pictures.crop.size)
    shots = RowFile(writer.folder, (2, WORK_SIZE, WORK_SIZE), np.uint8)
    faces = np.asarray(head.faces)
    collector = BackgroundCollector(int(train.sum()), pictures.crop.size)
    with contextlib.ExitStack() as stack:
        video = None
        if overlay:
            video = stack.enter_context(
                VideoWriter(writer.folder / "overlay.mp4", writer.fps, preset="veryfast", crf=23)
            )
        behind = stack.enter_context(Behind())
        for index, frame in enumerate(pictures.frames()):
            if index >= count:
                break
            window = pictures.crop.resample(frame)
            masks = pictures.masks(window, index)
            behind.do(writer.add, window, masks)
            if train[index]:
                collector.add(window, masks[..., 0])
            grey = grey_picture(pictures.crop.resample(frame, WORK_SIZE))
            shots.append(_shot(grey, masks[..., 1])[None])
            torsos.add(
                grey,
                _below_chin(pictures, masks[..., 0], index),
                _FOLLOWING * (centres[index] - centres[chosen]),
            )
            if video is not None:
                behind.do(_show, video, window, masks, faces, *_marked(arrays, index))
            tell("frames", index + 1, count)
    with ThreadPoolExecutor(1) as threads:
        plated = threads.submit(collector.plate)
        figures = _keep_torso(arrays, torsos, train, pictures.crop.size)
        figures |= _keep_sway(arrays, shots, train, head, pictures.crop.size, tell)
        plate, share = plated.result()
    shots.close()
    return plate, {**figures, "background_uncovered": share}


def _marked(arrays: dict, index: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Vertices and landmarks of frame `index` in stored pixels, and what to write beside them."""
    points = project(arrays["vertices"][index], arrays["K"], arrays["head_to_camera"][index])
    status = ("", ": interpolated", ": dropped")[arrays["status"][index]]
    return points, arrays["landmarks"][index], f"{index}{status}"


def _show(
    video: VideoWriter, window: np.ndarray, masks: np.ndarray, faces: np.ndarray,
    points: np.ndarray, marks: np.ndarray, note: str,
) -> None:
    """Append a frame of the overlay."""
    edges = front_edges(faces, points)
    video.write(draw_overlay(window, masks, points, edges, marks, note=note))


def _torso_reference(pictures: Pictures, window: np.ndarray, index: int) -> TorsoReference | None:
    """The torso of the reference frame; where clothes hardly show, all below the chin."""
    masks = pictures.masks(window, index).astype(np.float32) / 255
    torso = masks[..., 2]
    if (torso > 0.9).mean() < _LEAST_TORSO:
        below, _ = face_coordinates(pictures.marks(index, WORK_SIZE), WORK_SIZE)
        torso = np.maximum(torso, masks[..., 0] * (below > 0.05))
    return torso_reference(grey_picture(window), torso)


def _keep_torso(arrays: dict, torsos: TorsoTracker, train: np.ndarray, size: int) -> dict[str, Any]:
    """Put torso_motion and torso_measured into `arrays`; figures for the report."""
    motion, error, measured = torsos.finish(len(arrays["status"]))
    measured = measured & (arrays["status"] != DROPPED)
    motion[..., 2] *= size / WORK_SIZE
    predictor = fit_torso_predictor(arrays["head_to_camera"], motion, train & measured, size=size)
    predicted = predict_torso(predictor, arrays["head_to_camera"])
    arrays["torso_motion"] = fill_torso(motion, measured, predicted)
    arrays["torso_measured"] = measured
    return {
        "torso_measured_share": float(measured.mean()),
        "torso_error": float(np.median(error)),
        "torso_prediction_error_pixels": float(predictor.error),
    }


def _keep_sway(
    arrays: dict, shots: RowFile, train: np.ndarray, head: HeadModel, size: int,
    tell: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Put sway and sway_box into `arrays`; figures for the report."""
    measured = arrays["status"] == MEASURED
    scale = np.diag([WORK_SIZE / size, WORK_SIZE / size, 1.0])
    sway = measure_sway(
        shots, arrays["vertices"], head, scale @ arrays["K"], arrays["head_to_camera"], train,
        measured, progress=lambda done, total: tell("sway", done, total),
    )
    arrays["sway"], arrays["sway_box"] = sway.shifts, sway.box
    predictor = fit_sway_predictor(arrays["head_to_camera"], sway.shifts, train & measured)
    return {
        "sway_millimetres": 1000 * float(np.sqrt((sway.shifts[train & measured] ** 2).mean())),
        "sway_prediction_error_millimetres": 1000 * float(predictor.error),
        "sway_texture_error_before": sway.before,
        "sway_texture_error_after": sway.after,
    }


def _shot(grey: np.ndarray, head: np.ndarray) -> np.ndarray:
    """(2, W, W) uint8 of a grey picture (W, W) in [0, 1] and a head mask (S, S) uint8."""
    return np.stack([np.round(grey * 255).astype(np.uint8), resize(head, WORK_SIZE)])


def _below_chin(pictures: Pictures, person: np.ndarray, index: int) -> np.ndarray:
    """(W, W) float32 the person outside the tracked face, which may hide the torso."""
    person = resize(person, WORK_SIZE).astype(np.float32) / 255
    below, aside = face_coordinates(pictures.marks(index, WORK_SIZE), WORK_SIZE)
    return person * ((below > 0) | (np.abs(aside) > 0.45))


def project(vertices: np.ndarray, K: np.ndarray, head_to_camera: np.ndarray) -> np.ndarray:
    """(V, 2) stored pixels of (V, 3) head-space vertices of one frame, on the host."""
    points = vertices @ head_to_camera[:3, :3].T + head_to_camera[:3, 3]
    return points[:, :2] / points[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]


def grey_picture(window: np.ndarray) -> np.ndarray:
    """(S, S) float32 luminance in [0, 1] of a (S, S, 3) uint8 picture."""
    return window.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
