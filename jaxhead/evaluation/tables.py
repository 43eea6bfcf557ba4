"""The scores of a run as a Markdown table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

BASELINES = ("mean_frame", "nearest_expression", "nearest_pixels")
COLUMNS = (
    ("image PSNR", ("image", "psnr"), "{:.2f}"),
    ("person PSNR", ("person", "psnr"), "{:.2f}"),
    ("face PSNR", ("face", "psnr"), "{:.2f}"),
    ("image SSIM", ("image", "ssim"), "{:.4f}"),
    ("person SSIM", ("person", "ssim"), "{:.4f}"),
    ("face SSIM", ("face", "ssim"), "{:.4f}"),
    ("image L1", ("image", "l1"), "{:.4f}"),
    ("person L1", ("person", "l1"), "{:.4f}"),
    ("face L1", ("face", "l1"), "{:.4f}"),
    ("landmarks / eye distance", ("landmark_distance",), "{:.4f}"),
    ("landmarks px", ("landmark_distance_pixels",), "{:.2f}"),
    ("mouth / eye distance", ("mouth_distance",), "{:.4f}"),
    ("blendshapes", ("blendshape_error",), "{:.4f}"),
    ("pose °", ("pose_error",), "{:.2f}"),
    ("faces found", ("faces_found",), "{:.3f}"),
)
ROWS = (
    ("run, reconstruction", ("test",)),
    ("run, sway as captured", ("captured",)),
    ("run, driven", ("driven",)),
    ("run, from speech and pose", ("speech",)),
    ("mean training frame", ("baselines", "mean_frame")),
    ("nearest expression and pose", ("baselines", "nearest_expression")),
    ("nearest by pixels (oracle)", ("baselines", "nearest_pixels")),
)


def report_table(report: Mapping[str, Any]) -> str:
    """Returns the Markdown table of a report, one row per method, and why cells are empty.

    Args:
        report: {"test": block, "driven": block, "speech": block, "baselines": {name: block}};
            a block is {"frames": count, "image": {"psnr", "ssim", "l1"}, "person", "face",
            "landmark_distance", ...}, any number of which may be None; a method may be absent.
    """
    lines = [
        "| | " + " | ".join(title for title, _, _ in COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    reasons: dict[str, None] = {}
    for title, path in ROWS:
        block = _look_up(report, path)
        if not isinstance(block, Mapping):
            continue
        cells = [_cell(_look_up(block, column), pattern) for _, column, pattern in COLUMNS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
        reasons.update(dict.fromkeys((block.get("reasons") or {}).values()))
    lines.append("")
    lines.extend(f"– : {reason}" for reason in reasons)
    blocks = (_look_up(report, (mode, "frames")) for mode in ("test", "speech"))
    count = next(filter(None, blocks), "the")
    lines.append(
        f"Means over {count} held-out frames of the frame's own score "
        "(so a PSNR is a mean of decibels)."
    )
    return "\n".join(lines) + "\n"


def report_json(report: Mapping[str, Any]) -> str:
    """Returns the report as JSON text, strictly: a NaN or an infinity is an error."""
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


def _look_up(block: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(block, Mapping):
            return None
        block = block.get(name)
    return block


def _cell(value: Any, pattern: str) -> str:
    return "–" if value is None else pattern.format(value)
