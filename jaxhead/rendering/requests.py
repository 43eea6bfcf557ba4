"""What a render is asked for, and the stream of pictures that answers it.

A system turns `RenderOptions` into a `RenderStream`; an option that it cannot honour is refused by
name (`InputError`). Nothing here knows a field, a capture or a file format: host numpy only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image

SPLITS = ("test", "train", "all")
BACKGROUND_KINDS = ("plate", "colour", "image", "transparent")
TORSO_SOURCES = ("measured", "captured", "predicted")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Background:
    """What stands behind the person.

    kind: "plate" (the capture's clean background), "colour", "image" or "transparent".
    colour: RGB in [0, 1], read where kind is "colour".
    path: the picture's file, read where kind is "image"; it is stretched to the frame.
    """

    kind: str = "plate"
    colour: tuple[float, float, float] = (0.0, 0.0, 0.0)
    path: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """One request for a clip, static and hashable.

    split: the frames whose pose, expression and torso motion are rendered: "test" (held out),
        "train" or "all".
    frames: at most this many frames of the split, from its start; None renders all of them.
    orbit_degrees: the camera's yaw around the head swings once between -orbit_degrees and
        +orbit_degrees during the clip, as a sine; None leaves the camera.
    view: (yaw, pitch) in degrees by which every frame's camera is turned around the head: yaw > 0
        moves it to the image's right, pitch > 0 upwards. None leaves the camera.
    expression_from: path of a capture whose expressions drive the head instead.
    pose_from: path of a capture whose head poses are used instead.
    audio: path of a sound. Where speech drives the system it is what the person says, and the clip
        is as long; any other plays it only.
    neutral: the expression is held at the subject's neutral face.
    background: see `Background`.
    capture: path of the run's capture where it has moved; None uses the one that the run recorded.
    size: side of the rendered square in pixels; None keeps the capture's size.
    torso: "measured" (of the frame, where it was measured) or "predicted" (as for a new pose),
        hair and skin beyond the mesh likewise; "captured" is measured without what a trained head
        found better, where a system measures again.
    seed: for whatever a system samples at render time.
    """

    split: str = "test"
    frames: int | None = None
    orbit_degrees: float | None = None
    view: tuple[float, float] | None = None
    expression_from: str | None = None
    pose_from: str | None = None
    audio: str | None = None
    neutral: bool = False
    background: Background = Background()
    capture: str | None = None
    size: int | None = None
    torso: str = "measured"
    seed: int = 0

    def __post_init__(self) -> None:
        _choice("split", self.split, SPLITS)
        _choice("torso", self.torso, TORSO_SOURCES)
        _choice("background", self.background.kind, BACKGROUND_KINDS)
        if self.neutral and self.expression_from is not None:
            raise InputError("neutral and expression_from contradict each other: give one of them")
        if self.view is not None and self.orbit_degrees is not None:
            raise InputError("view and orbit contradict each other: give one of them")


@dataclasses.dataclass(kw_only=True)
class RenderStream:
    """The pictures of one request, in order, one at a time so that memory stays constant.

    frames: yields dicts with
        rgb (H,W,3) float32 in [0, 1], composited over the background; over black (premultiplied)
            where the background is transparent,
        alpha (H,W) float32 in [0, 1], the person's opacity,
        depth (H,W) float32, metres along the camera's z axis; 0 where nothing was hit.
    frame_ids: (count,) the capture's frame behind each picture, -1 where there is none; truth for
        `--side-by-side` and for scores is looked up by it.
    fps: pictures a second.
    size: (H, W) in pixels.
    count: how many pictures `frames` yields.
    audio: (samples,) float32 mono aligned with the first picture, or None.
    audio_rate: samples a second.
    follows_audio: whether the pictures show somebody who says `RenderOptions.audio`, which `audio`
        then is.
    vertices: yields the posed mesh (V,3) of each picture in metres, in step with `frames` but
        independent of it; None for a system without meshes.
    faces: (F,3) int32 of those meshes.
    capture: the opened capture behind `frame_ids` (its `.frame(i)` is the truth), or None where
        it is not at hand.
    notes: lines to tell the user (what was predicted, replaced or clamped).
    """

    frames: Iterator[dict[str, np.ndarray]]
    frame_ids: Sequence[int] | np.ndarray
    fps: float
    size: tuple[int, int]
    count: int
    audio: np.ndarray | None = None
    audio_rate: int = 16000
    follows_audio: bool = False
    vertices: Iterator[np.ndarray] | None = None
    faces: np.ndarray | None = None
    capture: Any = None
    notes: tuple[str, ...] = ()


def background_pixels(background: Background, size: tuple[int, int]) -> np.ndarray | None:
    """Returns the background as (H,W,3) float32 in [0, 1]; None for the capture's own plate.

    A transparent background is black: the premultiplied colour is then the plain sum.

    Args:
        background: the request's background.
        size: (H, W) in pixels.

    Raises:
        InputError: the picture cannot be read.
    """
    height, width = size
    if background.kind == "plate":
        return None
    if background.kind == "transparent":
        return np.zeros((height, width, 3), np.float32)
    if background.kind == "colour":
        colour = np.asarray(background.colour, np.float32)
        return np.ascontiguousarray(np.broadcast_to(colour, (height, width, 3)))
    picture = read_image(background.path, mode="RGB")
    return _resize(picture, height, width).astype(np.float32) / 255.0


def audio_of_frames(
    samples: np.ndarray | None, frame_ids: Sequence[int], *, fps: float, rate: int = 16000
) -> np.ndarray | None:
    """Returns the sound of the given frames end to end, so that it stays in sync where frames miss.

    Frame t owns the samples round(t rate / fps) to round((t + 1) rate / fps); a frame without a
    source (-1) or beyond the recording's end is silent.

    Args:
        samples: (S,) float32 mono of the whole capture, or None for a silent one.
        frame_ids: the capture's frames in the order of rendering.
        fps: frames a second of both.
        rate: samples a second.
    """
    if samples is None:
        return None
    owners = [frame if frame >= 0 else position for position, frame in enumerate(frame_ids)]
    spans = [(round(t * rate / fps), round((t + 1) * rate / fps)) for t in owners]
    sound = np.zeros(sum(stop - start for start, stop in spans), np.float32)
    place = 0
    for frame, (start, stop) in zip(frame_ids, spans):
        known = samples[start:stop] if frame >= 0 else samples[:0]
        sound[place : place + len(known)] = known
        place += stop - start
    return sound


def _resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _choice(name: str, value: str, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise InputError(f"{name} {value!r}: expected one of {', '.join(accepted)}")
