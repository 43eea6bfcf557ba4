"""What a run has to beat: the mean training frame and the nearest training frames.

Frames come as functions `index -> uint8 (H,W,3)` and are read one at a time: a capture of 15,000
frames is never in memory at once (thumbnails of it are, 12 kB a frame).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

ReadFrame = Callable[[int], np.ndarray]

# Below this spread over the training frames a score carries only noise: it is left out.
_SMALLEST_SPREAD = 1e-4
_THUMBNAIL = 32


def mean_frame(read_frame: ReadFrame, frames: Iterable[int]) -> np.ndarray:
    """Returns the mean of the frames, (H,W,3) float32 in [0, 1].

    Args:
        read_frame: frame id to uint8 (H,W,3).
        frames: the ids of the training frames.

    Raises:
        ValueError: there is no frame.
    """
    total, count = None, 0
    for frame in frames:
        picture = read_frame(int(frame))
        total = np.zeros(picture.shape, np.int64) if total is None else total
        total += picture
        count += 1
    if total is None:
        raise ValueError("mean_frame: no training frame was given")
    return (total / (255.0 * count)).astype(np.float32)


def nearest_expression(
    train_expression: np.ndarray,
    train_pose: np.ndarray,
    test_expression: np.ndarray,
    test_pose: np.ndarray,
) -> np.ndarray:
    """Returns for each test frame the position of the training frame that is posed most alike.

    Every expression score, and every one of the six numbers of the head pose (rotation vector and
    translation), is divided by its standard deviation over the training frames; the expression and
    the pose then weigh the same, however many scores there are.

    Args:
        train_expression: (T,E) scores.
        train_pose: (T,4,4) head_to_camera.
        test_expression: (S,E) scores.
        test_pose: (S,4,4) head_to_camera.

    Returns:
        (S,) int64 positions into the training frames.
    """
    reference = train_pose[0, :3, :3]
    spaces = (
        (train_expression, test_expression),
        (_pose_vectors(train_pose, reference), _pose_vectors(test_pose, reference)),
    )
    train = np.concatenate([_normalised(a, a) for a, _ in spaces], axis=1)
    test = np.concatenate([_normalised(b, a) for a, b in spaces], axis=1)
    return np.concatenate(
        [np.argmin(_squared_distances(part, train), axis=1) for part in _parts(test, len(train))]
    )


def nearest_pixels(
    read_frame: ReadFrame,
    train: Sequence[int] | np.ndarray,
    test: Sequence[int] | np.ndarray,
    *,
    candidates: int = 32,
) -> np.ndarray:
    """Returns for each test frame the id of the training frame with the least squared difference.

    It looks at the held-out picture itself, so it is an oracle and not a method. The search is
    over thumbnails of block means, whose distance (times the pixels of a block) never exceeds the
    distance of the pictures; candidates are compared in full in this order until the bound passes
    the best distance found, at most `candidates` of them.

    Args:
        read_frame: frame id to uint8 (H,W,3).
        train: the ids of the training frames.
        test: the ids of the test frames.
        candidates: full comparisons per test frame at most.

    Returns:
        (S,) int64 frame ids out of `train`.
    """
    train_ids = np.asarray(train, np.int64)
    recent = functools.lru_cache(maxsize=64)(lambda frame: read_frame(frame).astype(np.float32))
    thumbnails = np.stack([_thumbnail(read_frame(int(i))) for i in train_ids])
    found = np.empty(len(test), np.int64)
    for row, frame in enumerate(test):
        picture = read_frame(int(frame)).astype(np.float32)
        bounds = _squared_distances(_thumbnail(picture)[None], thumbnails)[0]
        order = np.argsort(bounds, kind="stable")[:candidates]
        best, best_distance = order[0], np.inf
        for position in order:
            # A little slack: the bound itself is computed in float32.
            if bounds[position] * (1 - 1e-4) > best_distance:
                break
            distance = float(np.square(recent(int(train_ids[position])) - picture).sum())
            if distance < best_distance:
                best, best_distance = position, distance
        found[row] = train_ids[best]
    return found


def _pose_vectors(pose: np.ndarray, reference: np.ndarray) -> np.ndarray:
    # Relative to one training rotation, so that the rotation vector stays away from its cut at pi.
    turned = np.einsum("nij,kj->nik", np.asarray(pose, np.float64)[:, :3, :3], reference)
    return np.concatenate([Rotation.from_matrix(turned).as_rotvec(), pose[:, :3, 3]], axis=1)


def _normalised(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    spread = train.std(axis=0)
    used = spread > _SMALLEST_SPREAD
    count = max(1, int(used.sum()))
    return ((values - train.mean(axis=0))[:, used] / spread[used] / np.sqrt(count)).astype(
        np.float64
    )


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Differences rather than the expanded square: exact zeros stay zero.
    result = np.empty((len(a), len(b)), np.float64)
    for row, vector in enumerate(a):
        result[row] = np.square(b - vector).sum(axis=1)
    return result


def _parts(rows: np.ndarray, width: int) -> list[np.ndarray]:
    return np.array_split(rows, max(1, len(rows) * width // 4_000_000))


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    """Block means times the root of the block's pixels: (<= 32*32*3,) float32.

    By Jensen's inequality the squared distance of two of these is at most that of the pictures.
    """
    height, width = picture.shape[:2]
    rows = _edges(height)
    columns = _edges(width)
    sums = np.add.reduceat(picture.astype(np.float64), rows, axis=0)
    sums = np.add.reduceat(sums, columns, axis=1)
    pixels = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    return (sums / np.sqrt(pixels)[..., None]).astype(np.float32).reshape(-1)


def _edges(length: int) -> np.ndarray:
    return np.unique(np.arange(_THUMBNAIL) * length // _THUMBNAIL)
