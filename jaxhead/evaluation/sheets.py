"""Picture sheets: truth, render, error and depth of several frames in one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

COLUMNS = ("truth", "render", "error", "depth")
# The difference (mean over RGB) that is drawn white.
FULL_ERROR = 0.25
_LABEL = 14


def picture_sheet(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Returns one picture with a row for each frame and the columns truth, render, error, depth.

    The error is the mean absolute difference over RGB, black at 0, white from 0.25 on. Depth runs
    from near (white) to far (dark) over the row's own person.

    Args:
        rows: dicts with label (str), truth (H,W,3) uint8 or None, rgb (H,W,3) float32 in [0, 1],
            alpha (H,W), depth (H,W) metres, all of one size.

    Returns:
        (H',W',3) uint8.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("picture_sheet: no row was given")
    lines = [_header([*COLUMNS], rows[0]["rgb"].shape[1])]
    for row in rows:
        render = to_uint8(row["rgb"])
        truth = np.zeros_like(render) if row["truth"] is None else row["truth"]
        error = np.zeros_like(render) if row["truth"] is None else error_picture(render, truth)
        depth = depth_picture(row["depth"], row["alpha"])
        line = np.concatenate([truth, render, error, depth], axis=1)
        lines.append(_labelled(line, str(row["label"])))
    return np.concatenate(lines, axis=0)


def to_uint8(rgb: np.ndarray) -> np.ndarray:
    """Returns float [0, 1] as uint8, rounded; what lies outside is clipped, NaN becomes 0."""
    return (np.nan_to_num(np.clip(rgb, 0.0, 1.0)) * 255.0 + 0.5).astype(np.uint8)


def error_picture(render: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns the difference of two uint8 pictures in heat colours, (H,W,3) uint8."""
    difference = np.abs(render.astype(np.float32) - truth.astype(np.float32)).mean(axis=-1)
    heat = np.clip(difference / (255.0 * FULL_ERROR), 0.0, 1.0)[..., None]
    # Black, red, yellow, white: each channel takes a third of the range.
    return to_uint8(np.clip(heat * 3.0 - np.array([0.0, 1.0, 2.0], np.float32), 0.0, 1.0))


def depth_picture(depth: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns depth as grey, (H,W,3) uint8: near is white, far dark, background black.

    The range is that of the pixels whose opacity exceeds one half (2nd to 98th percentile). A depth
    of 0 means that there is none (a flat torso), which is black too.
    """
    solid = (alpha > 0.5) & np.isfinite(depth) & (depth > 0)
    if not solid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(depth[solid], (2, 98))
    shade = 1.0 - 0.85 * np.clip((depth - near) / max(float(far - near), 1e-6), 0.0, 1.0)
    return to_uint8(np.repeat((shade * solid)[..., None], 3, axis=-1))


def _header(titles: list[str], width: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width * len(titles), _LABEL), (24, 24, 24))
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        draw.text((column * width + 3, 1), title, fill=(230, 230, 230))
    return np.asarray(canvas)


def _labelled(line: np.ndarray, label: str) -> np.ndarray:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(line)
    draw = ImageDraw.Draw(picture)
    # A dark rim keeps the label readable on any picture.
    draw.text((3, 2), label, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(picture)
