"""Held-out quality on a list of clips: the avatar, the same without its mapping, three baselines.

    python -m experiments.benchmarks.quality may.mp4 hill.mp4 --out quality --size 128 --minutes 3
    python -m experiments.benchmarks.quality head --out quality --minutes 2 --nowithout

Each input is a video, which is captured first, or a capture folder. Every step is a command of
jaxhead; one whose output exists under `--out` is done, so an interrupted benchmark goes on. The
last 20 % of the frames are held out. "Driven" predicts the torso's motion instead of measuring it.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.main import main
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError
from jaxhead.training.runs import is_run, load_run

COLUMNS = (("image", "psnr"), ("person", "psnr"), ("face", "psnr"), ("image", "ssim"))
ROWS = (
    ("avatar", "mapped", ("test",)),
    ("avatar, driven", "mapped", ("driven",)),
    ("without mapping", "unmapped", ("test",)),
    ("without mapping, driven", "unmapped", ("driven",)),
    ("mean training frame", "mapped", ("baselines", "mean_frame")),
    ("nearest expression and pose", "mapped", ("baselines", "nearest_expression")),
    ("nearest by pixels (oracle)", "mapped", ("baselines", "nearest_pixels")),
)
UNMAPPED = "field.mapping=none"


def score_clip(
    source: str | pathlib.Path,
    folder: pathlib.Path,
    *,
    length: Sequence[str],
    size: int,
    settings: Sequence[str] = (),
    without: bool = True,
) -> dict[str, Any]:
    """{"mapped" and, where wanted, "unmapped": report of `jaxhead evaluate`} of one clip.

    Args:
      source: a video, or a capture folder.
      folder: where everything goes.
      length: "--minutes M" or "--steps N", as two arguments.
      size: of the capture, for a video.
      settings: of `--set`.
      without: also train without the mapping.

    Raises:
      InputError: a command failed; it has said why.
    """
    capture = pathlib.Path(source)
    if not capture.is_dir():
        capture = folder / "capture"
        if not capture.exists():
            _command(["capture", "--out", str(capture), "--size", str(size), "--", str(source)])
    kinds = {"mapped": list(settings)}
    if without:
        kinds["unmapped"] = [*settings, UNMAPPED]
    return {
        kind: trained(capture, folder / kind, length, chosen) for kind, chosen in kinds.items()
    }


def trained(
    capture: pathlib.Path, run_path: pathlib.Path, length: Sequence[str], settings: Sequence[str]
) -> dict[str, Any]:
    """The report of `jaxhead evaluate` of a run that is trained where it is not yet.

    Args:
      capture: a capture folder.
      run_path: the run; its scores lie beside it.
      length, settings: see `score_clip`.
    """
    scores = run_path.with_suffix(".json")
    if not scores.exists():
        fixed = is_run(run_path) and load_run(run_path).steps
        flags = [part for setting in settings for part in ("--set", setting)]
        flags += [] if fixed else list(length)
        _command(["train", "avatar", str(capture), "--out", str(run_path), *flags])
        _command(["evaluate", str(run_path), "--json", str(scores), "--capture", str(capture)])
    return json.loads(scores.read_text(encoding="utf-8"))


def _command(arguments: list[str]) -> None:
    print("$ jaxhead", *arguments, file=sys.stderr, flush=True)
    code = main(arguments)
    if code:
        raise InputError(f"jaxhead {arguments[0]} ended with exit code {code}")


def report(result: dict[str, dict[str, Any]]) -> str:
    """Markdown: one row per clip and method.

    Args:
      result: {clip: what `score_clip` gave}.
    """
    lines = ["| | image PSNR | person PSNR | face PSNR | image SSIM |", "|---|---|---|---|---|"]
    for clip, kinds in result.items():
        for title, kind, path in ROWS:
            block: Any = kinds.get(kind)
            for name in path:
                block = (block or {}).get(name)
            if block:
                values = [block[region][score] for region, score in COLUMNS]
                cells = (
                    "–" if value is None else f"{value:.4f}" if score == "ssim" else f"{value:.2f}"
                    for value, (_, score) in zip(values, COLUMNS)
                )
                lines.append(f"| {clip}, {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", None, "the folder for everything", flag_values=values)
    flags.DEFINE_integer("size", 128, "side of the frames, for videos", flag_values=values)
    flags.DEFINE_float("minutes", None, "of training (default: 3)", flag_values=values)
    flags.DEFINE_integer("steps", None, "of training, instead", flag_values=values)
    flags.DEFINE_multi_string("set", [], "as in jaxhead train", flag_values=values)
    flags.DEFINE_bool("without", True, "also train without the mapping", flag_values=values)
    flags.DEFINE_string("json", None, "also write the scores to this file", flag_values=values)


def run(arguments: Arguments) -> int:
    """Scores all clips as the flags say and prints the table."""
    flags = arguments.flags
    if not flags.out:
        raise UsageError("--out is missing")
    if flags.steps is not None and flags.minutes is not None:
        raise UsageError("--steps and --minutes contradict each other: give one")
    length = ["--minutes", f"{flags.minutes or 3:g}"]
    if flags.steps is not None:
        length = ["--steps", str(flags.steps)]
    result = {}
    for source in arguments.positionals:
        name = pathlib.Path(source).stem or "clip"
        if name in result:
            raise UsageError(f"two inputs are called {name}")
        result[name] = score_clip(
            source, pathlib.Path(flags.out) / f"{name}_{flags.size}", length=length,
            size=flags.size, settings=flags.set, without=flags.without,
        )  # fmt: skip
    print(report(result))
    if flags.json:
        write_json(flags.json, result)
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.quality"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("INPUT...",)))
