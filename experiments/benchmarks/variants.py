"""What each part of the avatar buys: same capture, seed and number of steps, one setting changed.

    python -m experiments.benchmarks.variants encodings talk --out variants --steps 3000
    python -m experiments.benchmarks.variants parts talk --out variants --steps 3000

Groups: `encodings` of the head's points; `parts` of the method. Every step is a command of jaxhead;
one whose output exists under `--out` is done, so an interrupted benchmark goes on. The last 20 % of
the frames are held out; "driven" predicts the torso's motion instead of measuring it; "novel" are
the views from the side that a synthetic capture holds. The time of a step is the median over what
the run logged: run nothing else beside it.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np

from experiments.benchmarks import novel_views
from experiments.benchmarks.flags import run_module
from experiments.benchmarks.quality import trained
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.captures.synthetic import load_truth

GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "encodings": {
        "hash": (),
        "dense": ("field.encoding=dense",),
        "triplane": ("field.encoding=triplane",),
    },
    "parts": {
        "default": (),
        "mapping: nearest triangle": ("field.mapping=nearest",),
        "mapping: as INSTA programs it": ("field.mapping=program",),
        "mapping: none": ("field.mapping=none",),
        "expression: everywhere": ("field.expression_region=everywhere",),
        "expression: one number": ("field.expression_dims=1",),
        "no shell around the mesh": ("surface.shell=false",),
        "no guess of the far side": ("loss.unseen=0",),
        "no sway": ("surface.sway=false",),
        "sway as captured": ("motion.again=0",),
        "hair without the pose": ("field.pose=false",),
        "occupancy: from silhouettes alone": ("sampling.occupancy_every=1000000",),
        "depth: the mesh's order": ("loss.depth_ordinal=0.003", "loss.depth_smoothness=0.003"),
        "depth: the mesh's distance": ("loss.depth=0.1",),
        "depth: the skin's distance": ("loss.depth=0.1", "prior.depth=skin"),
        "no torso": ("torso.shown=false",),
    },
}
COLUMNS = (
    ("image", ("test", "image", "psnr")),
    ("face", ("test", "face", "psnr")),
    ("SSIM", ("test", "image", "ssim")),
    ("driven image", ("driven", "image", "psnr")),
    ("driven face", ("driven", "face", "psnr")),
)
NOVEL = (
    ("novel person", ("novel", "person")), ("novel head", ("novel", "head")),
    ("face depth mm", ("novel", "face_mm")),
)  # fmt: skip
"""Columns of a synthetic capture, which holds views that no training camera saw."""


def step_milliseconds(run: pathlib.Path) -> float:
    """The median wall time of a step in milliseconds, of the run's `times.jsonl`."""
    lines = (run / "times.jsonl").read_text("utf-8").splitlines()
    return float(np.median([1e3 / json.loads(line)["steps_per_second"] for line in lines]))


def report(rows: dict[str, tuple[dict[str, Any], float]]) -> str:
    """Markdown: a row per variant.

    Args:
      rows: {variant: (report of `jaxhead evaluate`, milliseconds per step)}.
    """
    columns = COLUMNS + (NOVEL if all("novel" in scores for scores, _ in rows.values()) else ())
    titles = [title for title, _ in columns]
    lines = ["| | " + " | ".join(titles) + " | ms/step |", "|---" * (len(titles) + 2) + "|"]
    for name, (scores, time) in rows.items():
        cells = []
        for title, path in columns:
            value: Any = scores
            for key in path:
                value = value[key]
            cells.append(f"{value:.3f}" if title == "SSIM" else f"{value:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {time:.1f} |")
    return "\n".join(lines)


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", None, "the folder for everything", flag_values=values)
    flags.DEFINE_integer("steps", 3000, "of training", flag_values=values)
    flags.DEFINE_multi_string("set", [], "of every variant", flag_values=values)


def run(arguments: Arguments) -> int:
    """Trains and scores every variant of a group, then prints the table."""
    flags = arguments.flags
    group, capture = arguments.positionals
    if not flags.out:
        raise UsageError("--out is missing")
    if group not in GROUPS:
        raise UsageError(f"unknown group {group}, expected one of {', '.join(GROUPS)}")
    folder = pathlib.Path(flags.out) / (pathlib.Path(capture).name or "capture")
    synthetic = (pathlib.Path(capture) / "truth" / "truth.npz").is_file()
    truth = load_truth(capture) if synthetic else None
    rows = {}
    for name, settings in GROUPS[group].items():
        path = folder / "".join(c if c.isalnum() else "_" for c in name)
        length = ["--steps", str(flags.steps)]
        scores = trained(pathlib.Path(capture), path, length, [*flags.set, *settings])
        if truth is not None and len(truth.view_ids):
            novel = novel_views.means(novel_views.score(str(path), truth, None))
            scores = scores | {"novel": novel["all"]}
        rows[name] = scores, step_milliseconds(path)
    print(report(rows))
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.variants"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("GROUP", "CAPTURE")))
