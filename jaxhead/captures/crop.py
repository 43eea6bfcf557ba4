"""The square window of a clip that is stored, and what it does to pixels, landmarks and cameras."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Crop:
    """A fixed square window of the full frame, stored at `size` x `size`.

    Attributes:
      left, top: upper left corner in full-frame pixels; side: its length in pixels.
      size: stored pixels per side.
    """

    left: int
    top: int
    side: int
    size: int

    @property
    def scale(self) -> float:
        """Stored pixels per full-frame pixel."""
        return self.size / self.side

    def points(self, pixels: np.ndarray) -> np.ndarray:
        """(..., 2) full-frame pixels as stored pixels."""
        return (pixels - np.array([self.left, self.top], np.float64)) * self.scale

    def intrinsics(self, focal: float, frame: tuple[int, int]) -> np.ndarray:
        """(3, 3) K in stored pixels; the principal point is the full frame's centre."""
        x, y = self.points(np.array([frame[1] / 2, frame[0] / 2]))
        f = focal * self.scale
        return np.array([[f, 0, x], [0, f, y], [0, 0, 1]])

    def resample(self, frame: np.ndarray, size: int | None = None) -> np.ndarray:
        """(size, size, C) uint8 picture of the window, anti-aliased.

        Whole-number shrinking averages areas; anything else is Lanczos with a support that grows
        with the shrinking, so that nothing above the stored resolution folds back.

        Args:
          frame: (H, W, C) uint8 full frame.
          size: side of the result; the stored size by default.
        """
        size = size or self.size
        window = frame[self.top : self.top + self.side, self.left : self.left + self.side]
        return resize(window, size)


def choose_crop(pixels: np.ndarray, frame: tuple[int, int], size: int) -> Crop:
    """The square of side min(H, W) that holds the head best: the face's mean place is its centre.

    Args:
      pixels: (N, L, 2) landmarks in full-frame pixels, of the frames that count.
      frame: (height, width).
      size: stored side in pixels.
    """
    height, width = frame
    side = min(height, width)
    low, high = pixels.min(1), pixels.max(1)
    centre = (0.5 * (low + high)).mean(0)
    # The hair above belongs to the head as the chin does: the face's centre is below the head's.
    centre[1] -= 0.15 * (high - low)[:, 1].mean()
    left = int(np.clip(round(centre[0] - side / 2), 0, width - side))
    top = int(np.clip(round(centre[1] - side / 2), 0, height - side))
    return Crop(left=left, top=top, side=side, size=size)


def resize(picture: np.ndarray, size: int) -> np.ndarray:
    """A square (S, S, C) or (S, S) uint8 picture at `size` x `size`, anti-aliased, uint8."""
    from PIL import Image

    side = picture.shape[0]
    if side == size:
        return np.ascontiguousarray(picture)
    factor = side // size
    if side == factor * size:
        blocks = picture.reshape(size, factor, size, factor, *picture.shape[2:])
        total = blocks.sum((1, 3), dtype=np.uint32)
        return ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
