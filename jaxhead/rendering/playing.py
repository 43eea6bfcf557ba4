"""Which poses a render plays: a split's own, another capture's, turned, forwards and backwards."""

from __future__ import annotations

import numpy as np


def split_ids(inputs: dict[str, np.ndarray], split: str) -> np.ndarray:
    """Frame ids of a split, ascending; "all" joins both."""
    if split == "all":
        return np.sort(np.concatenate([inputs["train"], inputs["test"]]))
    return inputs[split]


def orbit_pose(pose: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """(4, 4) head-to-camera seen from a camera that turned around the head.

    Args:
      pose: (4, 4) head-to-camera, OpenCV axes.
      yaw: degrees, > 0 moves the camera to the picture's right.
      pitch: degrees, > 0 moves it up.
    """
    a, b = np.radians(yaw), np.radians(pitch)
    turn_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn, centre = turn_x @ turn_y, pose[:3, 3]
    moved = pose.copy()
    moved[:3, :3] = turn @ pose[:3, :3]
    # The head's origin is the centre of the turn, so it stays where it is in the picture.
    moved[:3, 3] = centre
    return moved


def transferred_poses(other: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Poses of another capture for this camera: its turns, and its shifts about our mean place.

    Args:
      other: (n, 4, 4) of the driving capture; own: (m, 4, 4) of the training frames.

    Shifts are scaled by the ratio of the mean distances, so that they move as many face widths.
    """
    poses = other.astype(np.float64)
    theirs, ours = poses[:, :3, 3].mean(0), own[:, :3, 3].astype(np.float64).mean(0)
    poses[:, :3, 3] = ours + (poses[:, :3, 3] - theirs) * (ours[2] / theirs[2])
    return poses.astype(np.float32)


def back_and_forth(count: int, length: int) -> np.ndarray:
    """(count,) int: places in a clip of `length` frames played forwards and backwards."""
    period = max(1, 2 * length - 2)
    place = np.arange(count) % period
    return np.where(place < length, place, period - place)
