"""The clean plate: what stands behind the person, from the pixels that training frames uncover."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

MOST_FRAMES = 48
MOST_BYTES = 150_000_000


class BackgroundCollector:
    """Keeps a bounded sample of training frames with their person masks.

    Args:
      frames: how many training frames there are; every k-th is kept.
      size: side of the frames in pixels; at most 48 frames and 150 MB are kept.
    """

    def __init__(self, frames: int, size: int):
        most = max(6, min(MOST_FRAMES, MOST_BYTES // (4 * size * size)))
        self._every = max(1, -(-frames // most))
        self._seen = 0
        count = -(-frames // self._every)
        self._frames = np.empty((count, size, size, 3), np.uint8)
        self._masks = np.empty((count, size, size), np.uint8)

    def add(self, frame: np.ndarray, person: np.ndarray) -> None:
        """Offer a training frame: (S, S, 3) uint8 and its (S, S) uint8 person mask."""
        if self._seen % self._every == 0:
            self._frames[self._seen // self._every] = frame
            self._masks[self._seen // self._every] = person
        self._seen += 1

    def plate(self) -> tuple[np.ndarray, float]:
        """The (S, S, 3) uint8 plate and the share of its pixels that some frame uncovered."""
        kept = -(-self._seen // self._every)
        return clean_plate(self._frames[:kept], self._masks[:kept])


def clean_plate(frames: np.ndarray, persons: np.ndarray) -> tuple[np.ndarray, float]:
    """Clean plate of a still camera.

    Each pixel is the median over the frames in which it is clear of the person by a margin; pixels
    that no frame uncovers continue their surroundings smoothly.

    Args:
      frames: (N, S, S, 3) uint8; persons: (N, S, S) uint8 masks.

    Returns:
      plate (S, S, 3) uint8, uncovered share in [0, 1].
    """
    size = frames.shape[1]
    margin = max(1, round(size / 128))
    plate = np.zeros(frames.shape[1:], np.float32)
    known = np.zeros(frames.shape[1:3], bool)
    rows = max(1, 2_000_000 // max(1, frames.shape[0] * size))
    clear = np.stack([_shrunk(mask < 13, margin) for mask in persons])
    for top in range(0, size, rows):
        part = np.ma.array(
            frames[:, top : top + rows].astype(np.float32),
            mask=np.repeat(~clear[:, top : top + rows, :, None], 3, -1),
        )
        median = np.ma.median(part, axis=0)
        plate[top : top + rows] = median.filled(0)
        known[top : top + rows] = clear[:, top : top + rows].any(0)
    share = float(known.mean())
    if not known.any():
        # The person fills every frame: the mean colour is as good a guess as any.
        plate[:] = frames.mean((0, 1, 2))
        return np.round(plate).astype(np.uint8), share
    return np.round(np.clip(fill_holes(plate, known), 0, 255)).astype(np.uint8), share


def fill_holes(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(S, S, C) float picture whose unknown pixels continue the known ones smoothly.

    A pyramid of normalised averages: a hole takes the finest level at which something is known
    around it, blended by how much, so that it is smooth and has no border.

    Args:
      picture: (S, S, C) float; known: (S, S) bool.
    """
    nearest = np.asarray(
        distance_transform_edt(~known, return_distances=False, return_indices=True)
    )
    filled = picture[tuple(nearest)]
    weight = known.astype(np.float32)
    result = np.where(known[..., None], picture, 0.0)
    open_share = 1 - weight
    sigma = 1.0
    while sigma < picture.shape[0] and open_share.max() > 1e-3:
        cover = gaussian_filter(weight, sigma)
        level = gaussian_filter(picture * weight[..., None], (sigma, sigma, 0))
        level = level / np.maximum(cover, 1e-6)[..., None]
        share = open_share * np.clip(cover / 0.25, 0, 1) ** 2
        result = result + share[..., None] * level
        open_share = open_share - share
        sigma *= 1.6
    return result + open_share[..., None] * filled


def _shrunk(clear: np.ndarray, margin: int) -> np.ndarray:
    distance = np.asarray(distance_transform_edt(np.pad(clear, 1, constant_values=True)))
    return distance[1:-1, 1:-1] > margin
