"""Do blinks close? A run's eyes in the frames whose lids are nearest to closed, truth above render.

    python -m experiments.benchmarks.blinks CAPTURE RUN --out blinks.png
    python -m experiments.benchmarks.blinks CAPTURE RUN --out blinks.png --frames 8 --json b.json

A blink lasts some frames of a clip, so its pixels weigh next to nothing in the scores of `jaxhead
evaluate`. Here a row of the picture shows the training frames, and one the held-out frames, whose
eyes stand open least: the height of the mesh around the eyes over its width, each against the
median of the capture. PSNR is that of the box around both eyes.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.captures.format import Capture, load_capture
from jaxhead.evaluation.scores import frame_scores
from jaxhead.evaluation.sheets import to_uint8
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError
from jaxhead.files.images import write_image
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar import verbs
from jaxhead.systems.avatar.data import focus_boxes

_WIDTH = 160
"""Pixels of a box in the picture."""
_ASPECT = 0.5
"""Height of a box over its width."""


class Blink(NamedTuple):
    """A frame, how far its eyes are open (1 as in most frames), the PSNR of the box around them,
    and the box of truth and render, (h, w, 3) uint8 each."""

    frame: int
    openness: float
    psnr: float
    truth: np.ndarray
    render: np.ndarray


def openness(capture: Capture) -> np.ndarray:
    """(N,) height over width of the mesh around the eyes, the median of the capture being 1.

    Raises:
      InputError: the capture has no mesh, or its head does not say where the eyes are.
    """
    around = _around_eyes(capture)
    left = np.asarray(capture.head.template)[around, 0] > 0
    shares = []
    for side in (left, ~left):
        points = np.asarray(capture.vertices)[:, around[side]]
        shares.append(points[..., 1].std(1) / np.maximum(points[..., 0].std(1), 1e-9))
    share = np.mean(shares, 0)
    return share / np.median(share)


def _around_eyes(capture: Capture) -> np.ndarray:
    names = capture.head.region_names if capture.has_mesh else ()
    if "eyes" not in names:
        raise InputError(f"{capture.path}: no mesh that says where the eyes are, expected one")
    found = np.flatnonzero(np.asarray(capture.head.regions) == names.index("eyes"))
    sides = np.unique(np.asarray(capture.head.template)[found, 0] > 0)
    if len(sides) < 2:
        raise InputError(f"{capture.path}: the region eyes lies on one side, expected both")
    return found


def eye_box(capture: Capture, frame: int) -> tuple[slice, slice]:
    """Rows and columns of a frame's picture that show both eyes."""
    one = slice(frame, frame + 1)
    (boxes,) = focus_boxes(
        capture.head, np.asarray(capture.vertices[one]), capture.head_to_camera[one], capture.K
    )
    # The first two are the mouth's.
    low, high = boxes[2:, :2].min(0), boxes[2:, 2:].max(0)
    half = 0.6 * (high[0] - low[0]) * np.array([1.0, _ASPECT])
    middle = 0.5 * (low + high)
    corners = np.stack([np.floor(middle - half), np.ceil(middle + half)])
    columns, rows = (slice(*ends) for ends in np.clip(corners, 0, capture.size[::-1]).astype(int).T)
    return rows, columns


def blinks(capture: Capture, run: str, split: str, count: int) -> list[Blink]:
    """The frames of a split whose eyes are open least, from the most closed on.

    Args:
      capture: of the run; run: an avatar.
      split: "train" or "test"; count: how many frames.

    Raises:
      InputError: see `openness`, `verbs.render_stream`.
    """
    known = openness(capture)
    stream = verbs.render_stream(run, RenderOptions(split=split))
    chosen = sorted(stream.frame_ids, key=lambda frame: known[frame])[:count]
    found = {}
    for frame, picture in zip(stream.frame_ids, stream.frames):
        if frame in chosen:
            box, truth = eye_box(capture, frame), capture.frame(frame)
            inside = np.zeros(truth.shape[:2], bool)
            inside[box] = True
            scores = frame_scores(picture["rgb"], truth, inside, inside)
            found[frame] = Blink(
                frame, float(known[frame]), scores["person"]["psnr"], truth[box],
                to_uint8(picture["rgb"][box]),
            )
        if len(found) == len(chosen):
            break
    return [found[frame] for frame in chosen]


def sheet(rows: list[list[Blink]]) -> np.ndarray:
    """(H, W, 3) uint8: a row per list, truth above render."""
    from PIL import Image

    def resized(picture: np.ndarray) -> np.ndarray:
        size = _WIDTH, round(_ASPECT * _WIDTH)
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))

    lines = []
    for row in rows:
        for name in ("truth", "render"):
            lines.append(np.concatenate([resized(getattr(blink, name)) for blink in row], 1))
    widest = max(line.shape[1] for line in lines)
    return np.concatenate(
        [np.pad(line, ((0, 0), (0, widest - line.shape[1]), (0, 0))) for line in lines]
    )


def report(rows: dict[str, list[Blink]]) -> str:
    """Markdown: a line per frame, and the mean of every split."""
    lines = ["| | frame | eyes open | PSNR of the eyes |", "|---|---|---|---|"]
    for name, found in rows.items():
        lines += [f"| {name} | {b.frame} | {b.openness:.2f} | {b.psnr:.2f} |" for b in found]
        lines.append(f"| {name}, mean | | | {np.mean([b.psnr for b in found]):.2f} |")
    return "\n".join(lines)


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", None, "the picture, a PNG", flag_values=values)
    flags.DEFINE_integer("frames", 5, "of each split", lower_bound=1, flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def run(arguments: Arguments) -> int:
    """Draws the eyes as the flags say and prints the table."""
    flags = arguments.flags
    if not flags.out:
        raise UsageError("--out: expected the picture to write")
    path, run_path = arguments.positionals
    capture = load_capture(path)
    ids = {"train": capture.train, "test": capture.test}
    rows = {
        split: blinks(capture, run_path, split, flags.frames)
        for split, frames in ids.items() if len(frames)
    }
    write_image(flags.out, sheet(list(rows.values())))
    print(report(rows))
    if flags.json:
        figures = {
            split: [{"frame": b.frame, "openness": b.openness, "psnr": b.psnr} for b in found]
            for split, found in rows.items()
        }
        write_json(flags.json, figures)
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.blinks"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("CAPTURE", "RUN")))
