"""Cameras of other programs in ours: OpenCV axes, pixel centres at +0.5, head to camera.

Sources differ in three ways. Axes: OpenCV's (x right, y down, z forward) or OpenGL's (x right, y
up, z backward). Pixel centres: at +0.5, or at whole numbers, where the pixel in column i and row j
is seen along (i - cx, j - cy); half a pixel on the principal point makes up for it. Direction:
matrices that take the camera to the world, in which the head stands still, or the reverse.
"""

from __future__ import annotations

import numpy as np

from jaxhead.files.errors import InputError

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenGL's camera axes to OpenCV's and back."""
_RIGID = 2e-3


def pinhole(
    fx: float, fy: float, cx: float, cy: float, *, pixel_centre: float = 0.5
) -> np.ndarray:
    """(3, 3) K in pixels.

    Args:
      fx, fy: focal lengths in pixels.
      cx, cy: the principal point as the source writes it.
      pixel_centre: where the source has the centre of the first pixel, 0 or 0.5.
    """
    shift = 0.5 - pixel_centre
    return np.array([[fx, 0, cx + shift], [0, fy, cy + shift], [0, 0, 1]], np.float64)


def check_rigid(matrix: np.ndarray, where: str) -> np.ndarray:
    """The (4, 4) matrix, where it is a rotation and a shift.

    Raises:
      InputError: it scales or shears, or it mirrors (a left-handed camera).
    """
    rotation = matrix[:3, :3]
    lengths = np.linalg.norm(rotation, axis=0)
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if not error < _RIGID:
        shown = ", ".join(f"{length:.4g}" for length in lengths)
        raise InputError(f"{where} is not rigid (columns of length {shown}), expected a rotation")
    if np.linalg.det(rotation) < 0:
        raise InputError(f"{where} mirrors (determinant -1), expected a right-handed camera")
    return matrix


def from_camera_to_world(matrix: np.ndarray, where: str, *, axes: str) -> np.ndarray:
    """(4, 4) float64 head to camera of a camera-to-world matrix.

    Args:
      matrix: (4, 4); the world is the head's.
      where: file and field, for messages.
      axes: the camera's, "opencv" or "opengl".
    """
    world_to_camera = _inverse(check_rigid(matrix, where))
    return OPENGL @ world_to_camera if axes == "opengl" else world_to_camera


def from_world_to_camera(matrix: np.ndarray, where: str) -> np.ndarray:
    """(4, 4) float64 head to camera of a world-to-camera matrix with OpenCV axes."""
    return check_rigid(matrix, where).astype(np.float64)


def from_signed_focals(
    matrix: np.ndarray, fx: float, fy: float, where: str
) -> tuple[np.ndarray, bool]:
    """(4, 4) head to camera, and whether the head space is mirrored, of a camera-to-world matrix
    with OpenGL axes whose focal lengths have signs (NeRFace's trackers write a negative fx).

    A negative focal length turns its camera axis round. One of them makes the camera left-handed,
    which no rotation expresses: then x of the head space changes its sign instead. A field that is
    learned in it is the mirror image of the source's, the pictures are the same.
    """
    world_to_camera = _inverse(check_rigid(matrix, where))
    signs = np.diag([np.sign(fx), np.sign(fy), 1.0, 1.0])
    pose = OPENGL @ signs @ world_to_camera
    mirrored = bool(fx * fy < 0)
    return (pose @ np.diag([-1.0, 1.0, 1.0, 1.0]) if mirrored else pose), mirrored


def scaled(K: np.ndarray, factor: float) -> np.ndarray:
    """(3, 3) K of pictures that were resized by a factor."""
    return np.diag([factor, factor, 1.0]) @ K


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.inv(matrix.astype(np.float64))
