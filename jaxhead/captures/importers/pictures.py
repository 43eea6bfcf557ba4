"""Pictures of other programs: sizes checked, transparency and parsed classes turned into masks."""

from __future__ import annotations

import pathlib

import numpy as np

from jaxhead.files.errors import InputError
from jaxhead.files.images import image_size, read_image, read_layer

WHITE = 255


def read_sized(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of a picture that has to have that size."""
    picture = read_image(path)
    check_size(path, picture.shape[:2], size)
    return picture


def read_cutout(path: pathlib.Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 colours and (H, W) uint8 opacity of a picture with transparency."""
    picture = read_layer(path)
    check_size(path, picture.shape[:2], size)
    if picture.ndim != 3 or picture.shape[-1] != 4:
        raise InputError(f"{path}: has no transparency, expected an RGBA picture")
    return picture[..., :3], picture[..., 3]


def read_depth(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint16 of a 16-bit depth map."""
    depth = read_layer(path)
    check_size(path, depth.shape[:2], size)
    if depth.ndim != 2 or depth.dtype != np.uint16:
        raise InputError(f"{path}: {depth.dtype} {depth.shape}, expected grey of 16 bits")
    return depth


def read_classes(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 classes from the red channel, or the only one, of a picture."""
    picture = read_layer(path)
    check_size(path, picture.shape[:2], size)
    if picture.dtype != np.uint8:
        raise InputError(f"{path}: {picture.dtype}, expected classes of 8 bits")
    return picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., 0])


def read_opacity(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 mask out of a grey picture, or the first channel of one with colours."""
    return read_classes(path, size)


def colour_classes(
    path: pathlib.Path, size: tuple[int, int], colours: dict[int, tuple[int, int, int]]
) -> np.ndarray:
    """(H, W) uint8 classes of a picture that paints each in a colour.

    Args:
      path: RGB, as this library and most viewers see it (OpenCV's BGR reversed).
      size: (H, W).
      colours: RGB by class.

    Raises:
      InputError: a pixel whose colour is far from all of them.
    """
    picture = read_sized(path, size).astype(np.int32)
    numbers = np.array(list(colours), np.uint8)
    palette = np.array(list(colours.values()), np.int32)
    distance = np.abs(picture[:, :, None] - palette).max(-1)
    if distance.min(-1).max() > 100:
        row, column = np.argwhere(distance.min(-1) > 100)[0]
        found = tuple(picture[row, column].tolist())
        names = ", ".join(str(colour) for colour in colours.values())
        raise InputError(f"{path}: colour {found} at row {row}, column {column}, expected {names}")
    return numbers[distance.argmin(-1)]


def check_size(path: pathlib.Path, found: tuple[int, ...], size: tuple[int, int]) -> None:
    """InputError unless a picture has the size (H, W)."""
    if tuple(found[:2]) != tuple(size):
        raise InputError(
            f"{path}: {found[1]} x {found[0]} pixels, expected {size[1]} x {size[0]}"
        )


def stated_size(path: pathlib.Path) -> tuple[int, int]:
    """(H, W) of a picture from its header."""
    width, height = image_size(path)
    return height, width


def over(colours: np.ndarray, opacity: np.ndarray, background: np.ndarray | int) -> np.ndarray:
    """(H, W, 3) uint8 picture (H, W, 3) with opacity (H, W) uint8 laid over a background."""
    share = opacity[..., None].astype(np.float32) / 255
    return np.round(share * colours + (1 - share) * background).astype(np.uint8)


def stack_masks(head: np.ndarray, torso: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 person, head, torso of (H, W) uint8 head and torso."""
    person = np.minimum(head.astype(np.int32) + torso, 255).astype(np.uint8)
    return np.stack([person, head, torso], -1)
