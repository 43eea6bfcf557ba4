"""Face landmarks, blendshape scores and person masks from MediaPipe's Tasks models.

The landmarker runs in VIDEO mode with room for several faces: with one face only, MediaPipe smooths
its landmarks with a causal filter that lags behind the motion. Our own smoother looks both ways.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxhead.files.assets import find_asset
from jaxhead.files.errors import InputError
from jaxhead.files.native import capture_native_output
from jaxhead.files.offline import without_reports

LANDMARKS = 478
SCORES = 52
MAX_FACES = 4
_NATIVE = ("libEGL", "libGLESv2", "libGL.so")


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """One detected face.

    Attributes:
      landmarks: (478, 3) x and y as shares of the frame's width and height, z in units of its
      width.
      scores: (52,) blendshape scores in [0, 1]; 0 is `_neutral`.
      transform: (4, 4) MediaPipe's facial transformation, centimetres, for a 63 degree camera.
    """

    landmarks: np.ndarray
    scores: np.ndarray
    transform: np.ndarray


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
        with contextlib.ExitStack() as stack, native_call(model):
            stack.enter_context(without_reports())
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
            self._open = stack.pop_all()

    def __enter__(self) -> Landmarker:
        return self

    def __exit__(self, *_: Any) -> None:
        with self._open, capture_native_output():
            self._landmarker.close()

    def detect(self, frame: np.ndarray) -> list[Face]:
        """Faces in a (H, W, 3) uint8 picture; in video mode, the next frame of the clip."""
        picture = self._mp.Image(
            image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
        )
        with capture_native_output():
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


class PersonSegmenter:
    """Share of person per pixel; use as a context manager, which closes the native graph."""

    SIDE = 256  # the model's own resolution

    def __init__(self, assets: str | os.PathLike | None = None):
        model = find_asset("selfie_segmentation", assets)
        with contextlib.ExitStack() as stack, native_call(model):
            stack.enter_context(without_reports())
            self._mp, vision, options = import_mediapipe()
            self._segmenter = vision.ImageSegmenter.create_from_options(
                vision.ImageSegmenterOptions(
                    base_options=options(model_asset_path=str(model)),
                    running_mode=vision.RunningMode.IMAGE,
                    output_confidence_masks=True,
                )
            )
            self._open = stack.pop_all()

    def __enter__(self) -> PersonSegmenter:
        return self

    def __exit__(self, *_: Any) -> None:
        with self._open, capture_native_output():
            self._segmenter.close()

    def confidence(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) float32 in [0, 1] for a (H, W, 3) uint8 picture, best at 256x256."""
        image = self._mp.Image(
            image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
        )
        with capture_native_output():
            mask = self._segmenter.segment(image).confidence_masks[-1].numpy_view()
        return np.clip(np.nan_to_num(np.array(mask, np.float32)), 0.0, 1.0).reshape(
            picture.shape[:2]
        )


@contextlib.contextmanager
def native_call(model: pathlib.Path) -> Iterator[None]:
    """Catch what MediaPipe logs while it loads `model`, and turn its errors into one line."""
    try:
        with capture_native_output():
            yield
    except InputError:
        raise
    except Exception as error:
        raise native_error(error, model) from error


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
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if any(name in text for name in _NATIVE):
        return InputError(
            f"MediaPipe cannot load a system library ({text}): install the Debian packages "
            "libegl1 and libgles2 (apt-get install libegl1 libgles2)"
        )
    if isinstance(error, RuntimeError | ValueError):
        return InputError(f"{model}: MediaPipe cannot load the model ({text})")
    return error
