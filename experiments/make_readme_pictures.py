"""The README's pictures: a synthetic head, its render, its depth and views from the side.

    python -m experiments.make_readme_pictures --out docs/images --work /tmp/pictures

Synthesizes a capture, trains an avatar of it and writes two small PNG files: `views.png` (a
held-out frame: truth, render, depth; then novel views) and `novel.png` (novel views, the truth
above the render). What exists under `--work` is not made again.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

from experiments.benchmarks.flags import run_module
from experiments.benchmarks.novel_views import pictures
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.main import main
from jaxhead.captures.synthetic import load_truth
from jaxhead.evaluation.sheets import depth_picture, to_uint8
from jaxhead.files.errors import InputError
from jaxhead.files.images import write_image
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar.verbs import render_stream


def strip(run: pathlib.Path, capture: pathlib.Path) -> np.ndarray:
    """(H, 5 W, 3) uint8: truth, render, depth of a held-out frame, and two views from the side.

    The frame is the one with the widest open eyes and mouth.
    """
    stream = render_stream(run, RenderOptions(capture=str(capture)))
    assert stream.capture is not None
    scores = dict(zip(stream.capture.head.expression_names, stream.capture.expression.T))
    shown = scores["jawOpen"] - scores["eyeBlinkLeft"] - scores["eyeBlinkRight"]
    at = int(np.argmax(shown[stream.frame_ids]))
    picture = next(x for i, x in enumerate(stream.frames) if i == at)
    row = [stream.capture.frame(stream.frame_ids[at]), to_uint8(picture["rgb"])]
    row.append(depth_picture(picture["depth"], picture["depth"] > 0))
    for yaw in (-25.0, 25.0):
        turned = render_stream(run, RenderOptions(capture=str(capture), view=(yaw, 0.0)))
        row.append(to_uint8(next(x for i, x in enumerate(turned.frames) if i == at)["rgb"]))
    return np.concatenate(row, axis=1)


def novel(run: pathlib.Path, capture: pathlib.Path, count: int = 6) -> np.ndarray:
    """(2 H, count W, 3) uint8: novel views of the truth above those of the run."""
    truth = load_truth(capture)
    order = np.argsort(truth.yaw_degrees, kind="stable")
    # Spread over the yaws, and over the frames within a yaw.
    chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
    renders = list(pictures(str(run), truth))
    rows = [[truth.frames[view], to_uint8(renders[view]["rgb"])] for view in chosen]
    return np.concatenate([np.concatenate(pair, axis=0) for pair in rows], axis=1)


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", "docs/images", "where the pictures go", flag_values=values)
    flags.DEFINE_string("work", None, "the folder for capture and run", flag_values=values)
    flags.DEFINE_integer("size", 128, "side of the frames", flag_values=values)
    flags.DEFINE_integer("frames", 250, "of the capture", flag_values=values)
    flags.DEFINE_float("minutes", None, "of training (default: 2)", flag_values=values)
    flags.DEFINE_integer("steps", None, "of training, instead", flag_values=values)


def run(arguments: Arguments) -> int:
    """Makes what is missing and writes the pictures."""
    flags = arguments.flags
    if not flags.work:
        raise UsageError("--work is missing")
    capture, run_path = (pathlib.Path(flags.work) / name for name in ("capture", "run"))
    size = ["--size", str(flags.size), "--frames", str(flags.frames)]
    length = ["--minutes", f"{flags.minutes or 2:g}"]
    if flags.steps is not None:
        length = ["--steps", str(flags.steps)]
    if not capture.exists():
        _command(["synthesize", "--out", str(capture), *size])
    if not (run_path / "samples").exists():
        _command(["train", "avatar", str(capture), "--out", str(run_path), *length])
    out = pathlib.Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    write_image(out / "views.png", strip(run_path, capture), compress=9)
    write_image(out / "novel.png", novel(run_path, capture), compress=9)
    return 0


def _command(arguments: list[str]) -> None:
    if code := main(arguments):
        raise InputError(f"jaxhead {arguments[0]} ended with exit code {code}")


if __name__ == "__main__":
    sys.exit(run_module("experiments.make_readme_pictures", __doc__, _define, run))
