"""Face landmarks, blendshape scores and person masks from MediaPipe's Tasks models.

The landmarker runs in VIDEO mode with room for several faces: with one face only, MediaPipe smooths
its landmarks with a causal filter, which lags behind the motion. Our own smoother looks both ways.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError
from jaxhead.files.native import capture_native_output

LANDMARKS = 478
SCORES = 52
MAX_FACES = 4
_NATIVE = {"libEGL": "libegl1", "libGLESv2": "libgles2", "libGL.so": "libgl1"}


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """One detected face.

    Attributes:
      landmarks: (478, 3) x and y as shares of the frame's width and height, z in units of its width.
      scores: (52,) blendshape scores in [0, 1]; 0 is `_neutral`.
      transform: (4, 4) MediaPipe's facial transformation, centimetres, for a 63 degree camera.
    """

    landmarks: np.ndarray
    scores: np.ndarray
    transform: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face followed through a clip of N frames; rows of frames without it are zero.

    Attributes:
      landmarks: (N, 478, 3) as in `Face`.
      scores: (N, 52) in [0, 1].
      found: (N,) bool.
      faces: (N,) how many faces the frame showed.
      names: the 52 score names.
      size: (height, width) of the frames in pixels.
    """

    landmarks: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    faces: np.ndarray
    names: tuple[str, ...]
    size: tuple[int, int]


class Landmarker:
    """Finds faces in pictures; use as a context manager, which closes the native graph.

    Args:
      assets: folder of third-party models, or None for the standard places.
      max_faces: most faces per picture.
      video: frames come from one clip in order (faster, and steadier from frame to frame).
    """

    def __init__(
        self,
        assets: str | os.PathLike | None = None,
        *,
        max_faces: int = MAX_FACES,
        video: bool = True,
    ):
        model = find_asset("face_landmarker", assets)
        self.names: tuple[str, ...] = ()
        self._video = video
        self._clock = 0
        self._stack = contextlib.ExitStack()
        self._log = self._stack.enter_context(capture_native_output())
        try:
            self._mp, vision, options = import_mediapipe()
            mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
            self._landmarker = vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    base_options=options(model_asset_path=str(model)),
                    running_mode=mode,
                    num_faces=max_faces,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
            )
        except BaseException as error:
            self._stack.close()
            raise native_error(error, model) from error

    def __enter__(self) -> Landmarker:
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self._landmarker.close()
        finally:
            self._stack.close()

    def detect(self, frame: np.ndarray) -> list[Face]:
        """Faces in a (H, W, 3) uint8 picture; in video mode, the next frame of the clip."""
        picture = self._mp.Image(
            image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
        )
        if self._video:
            result = self._landmarker.detect_for_video(picture, self._clock)
            self._clock += 40  # milliseconds; only their order matters
        else:
            result = self._landmarker.detect(picture)
        faces = []
        for index, points in enumerate(result.face_landmarks):
            scores = result.face_blendshapes[index]
            self.names = self.names or tuple(str(item.category_name) for item in scores)
            face = Face(
                landmarks=np.array([(p.x, p.y, p.z) for p in points], np.float32),
                scores=np.array([item.score for item in scores], np.float32),
                transform=np.array(result.facial_transformation_matrixes[index], np.float32),
            )
            if np.isfinite(face.landmarks).all() and np.isfinite(face.scores).all():
                faces.append(face)
        return faces


def follow_face(
    frames: Iterable[np.ndarray],
    assets: str | os.PathLike | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> FaceTrack:
    """One face through a clip: the largest of the first frame with a face, then the same one.

    A face continues the track when its centre moved by less than one face width since it was last
    seen; after a second without it, the nearest face is taken again.

    Args:
      frames: (H, W, 3) uint8 frames in order.
      assets: folder of third-party models.
      progress: called with the number of frames done.

    Raises:
      InputError: no frame, or no frame shows a face.
    """
    rows: list[Face | None] = []
    counts: list[int] = []
    last: Face | None = None
    missing = 0
    size = (0, 0)
    with Landmarker(assets) as landmarker:
        for index, frame in enumerate(frames):
            size = (frame.shape[0], frame.shape[1])
            faces = landmarker.detect(frame)
            face = choose_face(faces, last, size, strict=missing < 25)
            missing = 0 if face is not None else missing + 1
            last = face or last
            rows.append(face)
            counts.append(len(faces))
            if progress is not None:
                progress(index + 1)
        names = landmarker.names
    if not rows:
        raise InputError("the video holds no frame")
    if last is None:
        raise InputError(f"no face was found in any of the {len(rows)} frames")
    return FaceTrack(
        landmarks=np.stack(
            [np.zeros_like(last.landmarks) if f is None else f.landmarks for f in rows]
        ),
        scores=np.stack([np.zeros_like(last.scores) if f is None else f.scores for f in rows]),
        found=np.array([f is not None for f in rows]),
        faces=np.array(counts, np.int32),
        names=names,
        size=size,
    )


def choose_face(
    faces: list[Face], last: Face | None, size: tuple[int, int], *, strict: bool = True
) -> Face | None:
    """The face that continues `last`, the largest when there is no `last`, or None.

    Args:
      faces: faces of this frame.
      last: where the followed face was seen last.
      size: (height, width) of the frame in pixels.
      strict: refuse faces further than one face width from `last`.
    """
    if not faces:
        return None
    scale = np.array([size[1], size[0]], np.float32)
    if last is None:
        return max(faces, key=lambda face: _extent(face, scale))
    centre = (last.landmarks[:, :2] * scale).mean(0)

    def distance(face: Face) -> float:
        return float(np.linalg.norm((face.landmarks[:, :2] * scale).mean(0) - centre))

    nearest = min(faces, key=distance)
    if strict and distance(nearest) > _extent(last, scale):
        return None
    return nearest


def _extent(face: Face, scale: np.ndarray) -> float:
    return float(np.ptp(face.landmarks[:, :2] * scale, axis=0).max())


class PersonSegmenter:
    """Share of person per pixel; use as a context manager, which closes the native graph."""

    SIDE = 256  # the model's own resolution

    def __init__(self, assets: str | os.PathLike | None = None):
        model = find_asset("selfie_segmentation", assets)
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(capture_native_output())
        try:
            self._mp, vision, options = import_mediapipe()
            self._segmenter = vision.ImageSegmenter.create_from_options(
                vision.ImageSegmenterOptions(
                    base_options=options(model_asset_path=str(model)),
                    running_mode=vision.RunningMode.IMAGE,
                    output_confidence_masks=True,
                )
            )
        except BaseException as error:
            self._stack.close()
            raise native_error(error, model) from error

    def __enter__(self) -> PersonSegmenter:
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self._segmenter.close()
        finally:
            self._stack.close()

    def confidence(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) float32 in [0, 1] for a (H, W, 3) uint8 picture, best at 256x256."""
        image = self._mp.Image(
            image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
        )
        mask = self._segmenter.segment(image).confidence_masks[-1].numpy_view()
        return np.clip(np.nan_to_num(np.array(mask, np.float32)), 0.0, 1.0).reshape(
            picture.shape[:2]
        )


def import_mediapipe() -> tuple[Any, Any, Any]:
    """(mediapipe, its vision module, BaseOptions), imported late: it takes seconds."""
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        if any(name in str(error) for name in _NATIVE):
            raise
        raise InputError(
            "mediapipe is not installed, and a capture needs it: pip install 'jaxhead[capture]'"
        ) from error
    return mediapipe, vision, BaseOptions


def native_error(error: BaseException, model: pathlib.Path) -> BaseException:
    """What to raise for an `error` of MediaPipe: one line for a missing library or a bad model."""
    text = str(error)
    missing = [package for name, package in _NATIVE.items() if name in text]
    if missing:
        return InputError(
            f"MediaPipe cannot load a system library ({text.splitlines()[0]}); "
            "install the Debian packages libegl1 and libgles2: apt-get install libegl1 libgles2"
        )
    if isinstance(error, (RuntimeError, ValueError)):
        return InputError(f"{model}: MediaPipe cannot load the model ({text.splitlines()[0]})")
    return error


def missing_libraries() -> Iterator[str]:
    """Names of the system libraries that MediaPipe links and that this machine lacks."""
    import ctypes

    for name in ("libEGL.so.1", "libGLESv2.so.2"):
        try:
            ctypes.CDLL(name)
        except OSError:
            yield name
