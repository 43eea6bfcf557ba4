"""What each part of the avatar buys: same capture, seed and number of steps, one setting changed.

    python -m experiments.benchmarks.variants encodings talk --out variants --steps 3000
    python -m experiments.benchmarks.variants parts talk --out variants --steps 3000
    python -m experiments.benchmarks.variants parts talk --out variants --only "no sway"
    python -m experiments.benchmarks.variants parts talk --out variants --jobs 4

Groups: `encodings` of the head's points; `parts` of the method. Every step is a command of jaxhead;
one whose output exists under `--out` is done, so an interrupted benchmark goes on. The last 20 % of
the frames are held out; "driven" predicts the torso's motion instead of measuring it; "novel" are
the views from the side that a synthetic capture holds. The time of a step is the median over what
the run logged: it means something where nothing else ran beside it, so with `--jobs 1`. `--jobs N`
trains N variants at a time, each in a process of its own, which many cores or a large accelerator
have room for.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from experiments.benchmarks import novel_views
from experiments.benchmarks.flags import run_module
from experiments.benchmarks.quality import trained
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.captures.synthetic import load_truth
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError

MODULE = "experiments.benchmarks.variants"

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
        "depth: the mesh's distance": ("prior.distance=mesh",),
        "depth: none": ("loss.depth=0",),
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


def _path(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / "".join(c if c.isalnum() else "_" for c in name)


def scores_of(
    capture: pathlib.Path, folder: pathlib.Path, name: str, steps: int, settings: Sequence[str]
) -> dict[str, Any]:
    """What a variant reaches; it is trained and scored where it is not yet.

    Args:
      capture: a capture folder.
      folder: where runs and scores lie.
      name: of the variant.
      steps, settings: of `jaxhead train`.

    Returns:
      The report of `jaxhead evaluate`, with "novel" where the capture holds such views.
    """
    path = _path(folder, name)
    scores = trained(capture, path, ["--steps", str(steps)], settings)
    if not (capture / "truth" / "truth.npz").is_file():
        return scores
    stored = folder / f"{path.name}.novel.json"
    if not stored.exists():
        truth = load_truth(capture)
        views = novel_views.score(str(path), truth, None) if len(truth.view_ids) else []
        write_json(stored, novel_views.means(views)["all"] if views else {})
    novel = json.loads(stored.read_text("utf-8"))
    return scores | ({"novel": novel} if novel else {})


def side_by_side(arguments: Sequence[str], names: Sequence[str], jobs: int) -> None:
    """Does variants in processes of their own, `jobs` at a time.

    Args:
      arguments: of this module but for the variant.
      names: of variants.

    Raises:
      InputError: one of them failed; it has said why.
    """

    def alone(name: str) -> int:
        command = [sys.executable, "-m", MODULE, *arguments, "--only", name]
        return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode

    with ThreadPoolExecutor(jobs) as workers:
        codes = list(workers.map(alone, names))
    failed = [name for name, code in zip(names, codes) if code]
    if failed:
        raise InputError(f"these variants failed: {', '.join(failed)}")


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", None, "the folder for everything", flag_values=values)
    flags.DEFINE_integer("steps", 3000, "of training", lower_bound=1, flag_values=values)
    flags.DEFINE_multi_string("set", [], "of every variant", flag_values=values)
    flags.DEFINE_multi_string("only", [], "a variant, instead of all", flag_values=values)
    flags.DEFINE_integer("jobs", 1, "variants at a time", lower_bound=1, flag_values=values)


def run(arguments: Arguments) -> int:
    """Trains and scores every variant of a group, then prints the table."""
    flags = arguments.flags
    group, capture = arguments.positionals
    if not flags.out:
        raise UsageError("--out is missing")
    if group not in GROUPS:
        raise UsageError(f"unknown group {group}, expected one of {', '.join(GROUPS)}")
    for name in flags.only:
        if name not in GROUPS[group]:
            raise UsageError(f"unknown variant {name}, expected one of {', '.join(GROUPS[group])}")
    folder = pathlib.Path(flags.out) / (pathlib.Path(capture).name or "capture")
    names = [name for name in GROUPS[group] if not flags.only or name in flags.only]
    if flags.jobs > 1:
        every = (part for setting in flags.set for part in ("--set", setting))
        own = [group, capture, "--out", flags.out, "--steps", str(flags.steps), *every]
        side_by_side(own, names, flags.jobs)
    rows = {}
    for name in names:
        settings = [*flags.set, *GROUPS[group][name]]
        scores = scores_of(pathlib.Path(capture), folder, name, flags.steps, settings)
        rows[name] = scores, step_milliseconds(_path(folder, name))
    print(report(rows))
    return 0


if __name__ == "__main__":
    sys.exit(run_module(MODULE, __doc__, _define, run, positionals=("GROUP", "CAPTURE")))
