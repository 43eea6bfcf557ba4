"""Where in a frame face, mouth and eyes are: rectangles from landmarks, else from masks."""

from __future__ import annotations

import numpy as np

DLIB, MEDIAPIPE = 68, 468
_MOUTH = {
    DLIB: tuple(range(48, 68)),
    MEDIAPIPE: (0, 13, 14, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321,
                375, 405, 409),
}  # fmt: skip
_EYES = {
    DLIB: (tuple(range(36, 42)), tuple(range(42, 48))),
    MEDIAPIPE: ((33, 133, 145, 153, 159, 160), (263, 362, 374, 380, 386, 387)),
}
_NOSE_ROOT = {DLIB: 27, MEDIAPIPE: 168}
_CHIN = {DLIB: 8, MEDIAPIPE: 152}


def scheme_of(landmarks: np.ndarray) -> int | None:
    """Which of `DLIB` and `MEDIAPIPE` numbering (N, L, 2) landmarks follow, None for neither."""
    count = landmarks.shape[1]
    return DLIB if count == DLIB else MEDIAPIPE if count >= MEDIAPIPE else None


def face_rectangles(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, 4) int32 x, y, width, height in pixels: AD-NeRF's `face_rect`.

    Its middle lies half-way between the outermost landmarks and at the root of the nose; it is 1.5
    times as wide as the face and reaches 1.15 times as far down as the chin.

    Args:
      landmarks: (N, L, 2) pixels, of dlib's 68 or MediaPipe's 468 points.
      size: (H, W).
    """
    scheme = scheme_of(landmarks)
    if scheme is None:
        raise ValueError(f"{landmarks.shape[1]} landmarks, expected 68 or at least 468")
    height, width = size
    x = landmarks[:, :scheme, 0]
    low, high = x.min(1), x.max(1)
    cx = ((low + high) / 2).astype(int)
    cy = landmarks[:, _NOSE_ROOT[scheme], 1].astype(int)
    half_width = ((high - cx) * 1.5).astype(int)
    half_height = ((landmarks[:, _CHIN[scheme], 1] - cy) * 1.15).astype(int)
    left, top = np.maximum(cx - half_width, 0), np.maximum(cy - half_height, 0)
    wide = np.clip(2 * half_width, 1, np.maximum(width - 1 - left, 1))
    high_ = np.clip(2 * half_height, 1, np.maximum(height - 1 - top, 1))
    left, top = np.minimum(left, width - 1), np.minimum(top, height - 1)
    return np.stack([left, top, wide, high_], 1).astype(np.int32)


def boxes_around(landmarks: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes x0, y0, x1, y1 in pixels of the mouth (N, 4) and of the eyes (N, 2, 4), float32.

    Args:
      landmarks: (N, L, 2) pixels.
      margin: pixels around the outermost landmarks.
    """
    scheme = scheme_of(landmarks)
    if scheme is None:
        raise ValueError(f"{landmarks.shape[1]} landmarks, expected 68 or at least 468")

    def box(which: tuple[int, ...]) -> np.ndarray:
        points = landmarks[:, list(which)]
        return np.concatenate([points.min(1) - margin, points.max(1) + margin], -1)

    eyes = np.stack([box(which) for which in _EYES[scheme]], 1)
    return box(_MOUTH[scheme]).astype(np.float32), eyes.astype(np.float32)


def mask_rectangle(mask: np.ndarray) -> np.ndarray:
    """(4,) int32 x, y, width, height around a mask (H, W) uint8; all of it if empty."""
    rows, columns = np.flatnonzero((mask > 127).any(1)), np.flatnonzero((mask > 127).any(0))
    if not len(rows):
        return np.array([0, 0, mask.shape[1], mask.shape[0]], np.int32)
    left, top = columns[0], rows[0]
    return np.array([left, top, columns[-1] + 1 - left, rows[-1] + 1 - top], np.int32)


def regions_of(
    landmarks: np.ndarray, masks, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """{"face_rects" (N, 4) int32, "mouth_boxes" (N, 4), "eye_boxes" (N, 2, 4) float32}.

    Without landmarks that are known the head's mask gives the face, its lower middle the mouth, and
    a band above the eyes.

    Args:
      landmarks: (N, L, 2) pixels.
      masks: frame -> (H, W, 3) uint8, read only where landmarks say nothing.
      size: (H, W).
    """
    if scheme_of(landmarks) is not None:
        mouth, eyes = boxes_around(landmarks, margin=0.012 * max(size))
        return {
            "face_rects": face_rectangles(landmarks, size), "mouth_boxes": mouth, "eye_boxes": eyes
        }
    face = np.stack([mask_rectangle(masks(frame)[..., 1]) for frame in range(len(landmarks))])
    corner, extent = face[:, None, :2], face[:, None, 2:]
    places = np.array([[0.3, 0.6, 0.7, 0.85], [0.2, 0.35, 0.48, 0.5], [0.52, 0.35, 0.8, 0.5]])
    boxes = np.concatenate(
        [corner + places[:, :2] * extent, corner + places[:, 2:] * extent], -1
    ).astype(np.float32)
    return {"face_rects": face, "mouth_boxes": boxes[:, 0], "eye_boxes": boxes[:, 1:]}
