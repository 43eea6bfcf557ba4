"""The synthetic capture: a procedural person who talks, with the truth that no camera saw.

Beside the files of any capture (`format.py`) the folder holds `truth/`: the test frames' own depth,
and pictures, masks, depth and cameras of views from the side, beyond the training views.
"""

import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures.format import CaptureWriter, split_frames
from jaxhead.captures.synthetic_identity import bent_head, proportions
from jaxhead.captures.synthetic_motion import DISTANCE, SPEECH, Motion, act
from jaxhead.captures.synthetic_render import Picture, draw, paint_background
from jaxhead.captures.synthetic_scene import Scene, build_scene
from jaxhead.files.arrays import read_npz, write_npz
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image, write_image
from jaxhead.heads.model import HeadModel, head_landmarks, head_vertices
from jaxhead.heads.procedural import procedural_head

DEPTH_UNIT = 1e-4
"""Metres per unit of the stored depth."""

# The field of view shows the head and the shoulders, as a news camera does.
_FRAME_HEIGHT = 0.375


class Truth(NamedTuple):
    """What the monocular camera did not measure.

    Attributes:
      frame_ids: (T,) int32 test frames.
      frame_depth: (T, H, W) float32 metres seen by the capture's own camera, zero at background.
      view_ids: (M,) int32 frame of each novel view.
      yaw_degrees: (M,) float32 yaw of the head relative to the novel camera.
      head_to_camera: (M, 4, 4) float32 pose for the novel camera; K is the capture's.
      frames: (M, H, W, 3) uint8; masks: (M, H, W, 3) uint8 person, head, torso.
      depth: (M, H, W) float32 metres, zero at background.
    """

    frame_ids: np.ndarray
    frame_depth: np.ndarray
    view_ids: np.ndarray
    yaw_degrees: np.ndarray
    head_to_camera: np.ndarray
    frames: np.ndarray
    masks: np.ndarray
    depth: np.ndarray


class Studio(NamedTuple):
    """Person, performance, camera and room of one capture."""

    scene: Scene
    motion: Motion
    K: np.ndarray
    background: np.ndarray


def synthesize(
    out: str | os.PathLike[str],
    *,
    frames: int = 150,
    size: int = 256,
    fps: float = 25.0,
    seed: int = 0,
    yaw_range_degrees: float = 15.0,
    novel_yaw_degrees: float = 30.0,
    novel_frames: int = 10,
    speech: str = "syllables",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pathlib.Path:
    """Writes a synthetic capture and returns its folder.

    Args:
      out: the folder to make.
      frames: length of the clip.
      size: height and width in pixels.
      fps: frames per second.
      seed: fixes person, performance and background; seed 0 has the mean head's proportions.
      yaw_range_degrees: the head's largest yaw in the clip, to either side.
      novel_yaw_degrees: how far beyond that range the farthest novel views lie; a second pair lies
        half as far.
      novel_frames: number of test frames that get the four novel views.
      speech: "syllables", whose mouth is as open as it is loud; "phonemes", whose mouth follows
        phonemes that run into each other and cannot be read off the loudness; or "espeak", the same
        of English words where eSpeak NG is installed.
      overwrite: replace an existing folder.
      progress: called with (pictures done, pictures in all).

    Raises:
      InputError: a number out of range, another kind of speech, eSpeak NG is missing, or the folder
        exists.
    """
    if speech not in SPEECH:
        raise InputError(f"speech={speech!r}: expected one of {', '.join(SPEECH)}")
    _check(frames, size, fps, yaw_range_degrees, novel_yaw_degrees, novel_frames)
    with CaptureWriter(out, size=(size, size), fps=fps, overwrite=overwrite) as writer:
        person = proportions(seed)
        motion = act(
            frames=frames, fps=fps, seed=seed, yaw_range_degrees=yaw_range_degrees, speech=speech
        )
        studio = Studio(
            scene=build_scene(np.random.default_rng([seed, 1]), person),
            motion=motion,
            K=_intrinsics(size),
            background=paint_background(np.random.default_rng([seed, 2]), (size, size)),
        )
        _, test = split_frames(np.zeros(frames, np.uint8))
        views = _novel_views(motion, test, novel_frames, yaw_range_degrees, novel_yaw_degrees)
        told = progress or (lambda done, total: None)
        total = frames + len(views)
        own_depth = []
        for frame in range(frames):
            picture = _shoot(studio, frame, np.eye(4))
            writer.add(picture.frame, picture.masks)
            if frame >= test[0]:
                own_depth.append(picture.depth)
            told(frame + 1, total)
        novel = []
        for frame, view, _ in views:
            novel.append(_shoot(studio, frame, view))
            told(frames + len(novel), total)
        _write_truth(writer.folder / "truth", test, own_depth, views, novel, motion)
        head = bent_head(procedural_head(), person)
        writer.finish(
            tracking=_tracking(head, studio),
            head=head,
            background=studio.background,
            audio=motion.speech.samples,
            source={"name": "synthetic", "seed": seed},
            extra={
                "synthetic": {
                    "yaw_range_degrees": yaw_range_degrees,
                    "novel_yaw_degrees": novel_yaw_degrees,
                    "proportions": person,
                    "speech": speech,
                }
            },
        )
    return pathlib.Path(out)


def load_truth(path: str | os.PathLike[str]) -> Truth:
    """Returns the truth of a synthetic capture.

    Args:
      path: the capture's folder.

    Raises:
      InputError: the folder holds no truth, or a damaged one.
    """
    folder = pathlib.Path(path) / "truth"
    if not (folder / "truth.npz").is_file():
        raise InputError(f"{folder / 'truth.npz'}: missing; only synthetic captures hold the truth")
    arrays = read_npz(folder / "truth.npz")
    count = len(arrays["view_ids"])
    pictures = {
        name: np.stack([read_image(folder / name / f"{k:06d}.png") for k in range(count)])
        if count
        else np.zeros((0, *arrays["depth"].shape[1:], 3), np.uint8)
        for name in ("frames", "masks")
    }
    return Truth(
        frame_ids=arrays["frame_ids"],
        frame_depth=arrays["frame_depth"].astype(np.float32) * np.float32(DEPTH_UNIT),
        view_ids=arrays["view_ids"],
        yaw_degrees=arrays["yaw_degrees"],
        head_to_camera=arrays["head_to_camera"],
        depth=arrays["depth"].astype(np.float32) * np.float32(DEPTH_UNIT),
        **pictures,
    )


def _check(
    frames: int, size: int, fps: float, yaw_range: float, novel_yaw: float, novel_frames: int
) -> None:
    for name, value, low, high in (
        ("frames", frames, 2, 100_000),
        ("size", size, 16, 4096),
        ("fps", fps, 1, 240),
        ("yaw_range_degrees", yaw_range, 0, 60),
        ("novel_yaw_degrees", novel_yaw, 0, 90),
        ("novel_frames", novel_frames, 0, 10_000),
    ):
        if not low <= value <= high:
            raise InputError(f"{name}={value}: expected {low} to {high}")


def _shoot(studio: Studio, frame: int, view: np.ndarray) -> Picture:
    """Returns a frame seen from `view` (4, 4): from the first camera's space to the viewer's."""
    motion, size = studio.motion, studio.background.shape[:2]
    picture = draw(
        studio.scene,
        motion.expression[frame],
        motion.head_to_camera[frame],
        motion.torso_to_camera[frame],
        view.astype(np.float32),
        studio.K,
        studio.background,
        size=(size[0], size[1]),
    )
    return Picture(*(np.asarray(part) for part in picture))


def _intrinsics(size: int) -> np.ndarray:
    focal = size * DISTANCE / _FRAME_HEIGHT
    return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], np.float32)


def _novel_views(
    motion: Motion, test: np.ndarray, count: int, yaw_range: float, beyond: float
) -> list[tuple[int, np.ndarray, float]]:
    """Returns (frame, view from the first camera, yaw relative to the camera) per novel view.

    The camera walks around the head at the same distance until the head, as it is turned in that
    frame, shows exactly the wanted yaw.
    """
    chosen = test[np.linspace(0, len(test) - 1, min(count, len(test))).round().astype(int)]
    views = []
    for frame in np.unique(chosen):
        centre = motion.head_to_camera[frame] @ np.array([0.0, 0.0, -0.04, 1.0])
        for wanted in (-1.0, -0.5, 0.5, 1.0):
            yaw = np.sign(wanted) * yaw_range + wanted * beyond
            turn = Rotation.from_euler("y", motion.yaw_degrees[frame] - yaw, degrees=True)
            view = np.eye(4)
            view[:3, :3] = turn.as_matrix()
            view[:3, 3] = centre[:3] - view[:3, :3] @ centre[:3]
            views.append((int(frame), view, float(yaw)))
    return views


def _tracking(head: HeadModel, studio: Studio) -> dict[str, np.ndarray]:
    """Returns what an ideal tracker would measure: the coarse head without hair, rigid neck."""
    motion, K = studio.motion, studio.K
    vertices = np.asarray(head_vertices(head, None, motion.expression))
    marks = np.asarray(head_landmarks(head, vertices))
    return {
        "K": K,
        "head_to_camera": motion.head_to_camera,
        "expression": motion.expression,
        "vertices": vertices,
        "landmarks": np.stack([_project(p, P, K) for p, P in zip(marks, motion.head_to_camera)]),
        "torso_motion": _torso_motion(studio),
        "torso_measured": np.ones(len(vertices), bool),
        "status": np.zeros(len(vertices), np.uint8),
    }


def _torso_motion(studio: Studio) -> np.ndarray:
    """Returns (N, 2, 3): the affine map that best carries the torso of frame 0 to each frame."""
    scene = studio.scene
    front = np.asarray((scene.torso == 1) & (scene.normals[:, 2] > 0.2))
    points = np.asarray(scene.points)[front]
    points = points[points[:, 1] > -0.24]
    seen = np.stack([_project(points, P, studio.K) for P in studio.motion.torso_to_camera])
    reference = np.concatenate([seen[0], np.ones((len(points), 1))], 1)
    solution, *_ = np.linalg.lstsq(reference, np.moveaxis(seen, 0, 1).reshape(len(points), -1))
    return np.moveaxis(solution.reshape(3, len(seen), 2), 0, -1)


def _project(points: np.ndarray, pose: np.ndarray, K: np.ndarray) -> np.ndarray:
    camera = points @ pose[:3, :3].T + pose[:3, 3]
    return camera[:, :2] / camera[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]


def _write_truth(
    folder: pathlib.Path,
    test: np.ndarray,
    own_depth: list[np.ndarray],
    views: list[tuple[int, np.ndarray, float]],
    novel: list[Picture],
    motion: Motion,
) -> None:
    for name in ("frames", "masks"):
        (folder / name).mkdir(parents=True)
    for index, picture in enumerate(novel):
        write_image(folder / "frames" / f"{index:06d}.png", picture.frame)
        write_image(folder / "masks" / f"{index:06d}.png", picture.masks)
    ids = np.array([frame for frame, _, _ in views], np.int32)
    poses = [view @ motion.head_to_camera[frame] for frame, view, _ in views]
    shape = own_depth[0].shape
    write_npz(
        folder / "truth.npz",
        {
            "frame_ids": test.astype(np.int32),
            "frame_depth": _stored_depth(own_depth, shape),
            "view_ids": ids,
            "yaw_degrees": np.array([yaw for _, _, yaw in views], np.float32),
            "head_to_camera": np.array(poses, np.float32).reshape(-1, 4, 4),
            "depth": _stored_depth([picture.depth for picture in novel], shape),
        },
    )


def _stored_depth(depth: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    metres = np.array(depth, np.float32).reshape(-1, *shape)
    return (metres / DEPTH_UNIT + 0.5).astype(np.uint16)
