"""From a video to a capture: track the face, then write frames and masks, measure all that moves.

The video is read several times and never held, and what is measured per point and frame stays in
files: memory grows with a clip's length by a few numbers per frame and by its sound.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxhead.captures.crop import Crop, choose_crop
from jaxhead.captures.fitting.pixels import refine_fit
from jaxhead.captures.fitting.regressed import Regressor, regressed_guess, require_flame
from jaxhead.captures.fitting.tracked import (
    Clip,
    Fittable,
    fit_clip,
    observe,
    posed_arrays,
    tracking_of,
)
from jaxhead.captures.following import FaceTrack, follow_face
from jaxhead.captures.format import AUDIO_RATE, CaptureWriter, file_digest
from jaxhead.captures.landmarks import LANDMARKS, PersonSegmenter
from jaxhead.captures.refine import refine_poses
from jaxhead.captures.tracking import (
    Tracking,
    dropped_reasons,
    pose_coordinates,
    pose_from_coordinates,
    smooth_channels,
    track,
)
from jaxhead.captures.unwrap import surface_points
from jaxhead.captures.validate import MEASURED
from jaxhead.captures.writing import Pictures, grey_picture, write_frames
from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError, about
from jaxhead.files.rows import RowFile
from jaxhead.files.sound import read_audio
from jaxhead.files.video import decode, probe
from jaxhead.heads.canonical_face import CanonicalFace
from jaxhead.heads.mediapipe import canonical_face, closed_head, extend_vertices
from jaxhead.heads.model import HeadModel

Progress = Callable[[str, int, int], None]
_REFINE_SIZE = 512


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
    fittable: Fittable | None = None,
    photometric: bool = False,
    regressor: Regressor | None = None,
    fitting: dict[str, Any] | None = None,
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
      fittable: the statistical head that is fitted; None for MediaPipe's landmarks as the mesh.
      photometric: also fit the statistical head to the pixels.
      regressor: DECA's, whose codes of the frames the fit of FLAME starts from.
      fitting: what the capture says of how it was fitted, see `captures.fitting.request`.

    Returns:
      The path of the capture.

    Raises:
      InputError: bad video, no face, an existing folder, a missing model, a regressor for a head
        that is not FLAME.
    """
    if not 64 <= size <= 2048:
        raise InputError(f"size {size}: expected 64 to 2048 pixels")
    if regressor is not None:
        require_flame(fittable)
    tell = progress or (lambda stage, done, total: None)
    info = probe(video)
    expected = max(1, round(info.duration * fps))
    with CaptureWriter(out, size=(size, size), fps=fps, overwrite=overwrite) as writer:
        with about(video):
            face = follow_face(
                decode(video, fps=fps),
                assets,
                folder=writer.folder,
                progress=lambda n: tell("landmarks", n, expected),
            )
        if fittable is None:
            canonical = canonical_face(find_asset("face_landmarker", assets))
            with about(video):
                tracked = track_face(face, canonical, writer.folder)
            crop = crop_of(tracked, size)
            tracked = refine_tracking(video, fps, tracked, canonical.faces, crop)
            head, arrays = assemble(tracked, canonical, crop, writer.folder)
        else:
            with about(video):
                tracked, head, crop = track_head(
                    video, fps, face, fittable, size, writer.folder, tell,
                    photometric=photometric, regressor=regressor,
                )  # fmt: skip
            arrays = posed_arrays(tracked, crop, writer.folder)
        with PersonSegmenter(assets) as segmenter:
            pictures = Pictures(video, fps, crop, segmenter, arrays)
            plate, figures = write_frames(
                writer,
                pictures,
                tracked.train,
                head,
                overlay=overlay,
                tell=tell,
            )
        audio, notes = fitted_audio(
            read_audio(video, rate=AUDIO_RATE) if info.has_audio else None, len(face.found), fps
        )
        writer.finish(
            tracking=arrays,
            head=head,
            background=plate,
            audio=audio,
            source={"name": pathlib.Path(video).name, "sha256": file_digest(video)},
            reasons=dropped_reasons(tracked.status, face.found),
            extra={
                "tracking": {**tracked.figures, **figures},
                "crop": {"left": crop.left, "top": crop.top, "side": crop.side},
                "notes": [*face_notes(face.faces), *notes],
                **({} if fitting is None else {"fitting": fitting}),
            },
        )
    return pathlib.Path(out)


def track_face(
    face: FaceTrack, canonical: CanonicalFace, folder: pathlib.Path | None
) -> Tracking:
    """The clip tracked with MediaPipe's landmarks as the mesh."""
    rigid = np.zeros(len(canonical.vertices))
    rigid[canonical.procrustes_index] = canonical.procrustes_weights
    return track(face, canonical.vertices.astype(np.float64), rigid, folder=folder)


def track_head(
    video: str | os.PathLike,
    fps: float,
    face: FaceTrack,
    fittable: Fittable,
    size: int,
    folder: pathlib.Path,
    tell: Progress,
    *,
    photometric: bool,
    regressor: Regressor | None = None,
) -> tuple[Tracking, HeadModel, Crop]:
    """The clip tracked with a statistical head, the subject's head model and the stored window."""
    clip = observe(face, folder)
    guess = None
    if regressor is not None:
        guess = regressed_guess(
            regressor, decode(video, fps=fps), clip, fittable,
            progress=lambda n, of: tell("start", n, of),
        )  # fmt: skip
    fit = fit_clip(clip, fittable, guess=guess, progress=lambda n, of: tell("head", n, of))
    crop = crop_of(clip, size)
    if photometric:
        fit, _ = refine_fit(
            fit, clip, fittable, crop, lambda: decode(video, fps=fps),
            progress=lambda n, of: tell("pixels", n, of),
        )  # fmt: skip
    tracked, head = tracking_of(fit, clip, fittable, folder=folder)
    tracked = refine_tracking(video, fps, tracked, np.asarray(head.faces), crop)
    return tracked, head, crop


def crop_of(clip: Clip | Tracking, size: int) -> Crop:
    """The stored window of a clip, from the landmarks of its measured training frames."""
    usable = clip.train & (clip.status == MEASURED)
    corners = [np.stack([x.min(1), x.max(1)], 1) for x in clip.pixels.blocks()]
    return choose_crop(np.concatenate(corners)[usable], clip.size, size)


def refine_tracking(
    video: str | os.PathLike, fps: float, tracked: Tracking, faces: np.ndarray, crop: Crop
) -> Tracking:
    """`tracked` with poses refined on the pixels of the window, and the figures of that."""
    window = dataclasses.replace(crop, size=min(_REFINE_SIZE, crop.side // 4 * 4))

    def pictures() -> Iterator[np.ndarray]:
        return (grey_picture(window.resample(frame)) for frame in decode(video, fps=fps))

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


def assemble(
    tracked: Tracking, canonical: Any, crop: Crop, folder: str | os.PathLike | None = None
) -> tuple[Any, dict[str, Any]]:
    """The subject's closed head model and the tracking arrays in stored pixels.

    What is large per frame (vertices, landmarks) is rows of a file in `folder`.
    """
    template, extension = closed_head(canonical)
    count = len(tracked.rotation)
    neutral = np.asarray(extend_vertices(extension, tracked.neutral.astype(np.float32)))
    posed = tracked.neutral + tracked.basis
    basis = np.asarray(extend_vertices(extension, posed.astype(np.float32))) - neutral
    vertices, landmarks = RowFile(folder, neutral.shape), RowFile(folder, (LANDMARKS, 2))
    for block in tracked.vertices.blocks():
        vertices.append(np.asarray(extend_vertices(extension, block)))
    for block in tracked.pixels.blocks():
        landmarks.append(crop.points(block))
    head = template.replace(  # pyright: ignore[reportAttributeAccessIssue]
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
        "landmarks": landmarks,
        "status": tracked.status,
    }
    return head, arrays


def face_notes(faces: np.ndarray) -> list[str]:
    """What to tell about the number of faces per frame (N,)."""
    several = int((faces > 1).sum())
    if not several:
        return []
    return [f"{several} of {len(faces)} frames show several faces: one of them was followed"]


def fitted_audio(
    samples: np.ndarray | None, frames: int, fps: float
) -> tuple[np.ndarray | None, list[str]]:
    """Sound exactly as long as the frames, and what was done where it was not so within a frame.

    Args:
      samples: float32 mono at 16 kHz, sample 0 at frame 0, or None.
      frames: number of frames; fps: frames per second.
    """
    if samples is None or not len(samples):
        return None, ["the video has no sound"]
    length = round(frames / fps * AUDIO_RATE)
    excess = (len(samples) - length) / AUDIO_RATE
    notes = []
    if abs(excess) > 1 / fps + 1e-6:
        done = "cut off" if excess > 0 else "filled with silence"
        what = "longer" if excess > 0 else "shorter"
        notes = [f"the sound is {abs(excess):.2f} s {what} than the pictures: {done}"]
    if len(samples) >= length:
        return samples[:length], notes
    return np.pad(samples, (0, length - len(samples))), notes
