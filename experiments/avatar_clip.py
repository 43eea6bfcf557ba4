"""An avatar of one capture by INSTA's protocol: its sizes, its number of steps.

    python -m experiments.avatar_clip talk --out talk_insta

Zielonka, Bolkart and Thies, "Instant Volumetric Head Avatars" (CVPR 2023, arXiv 2211.12499). The
preset `insta` has the sizes of the published `configs/nerf/main.json`: 16 levels of 8 features,
33,000 steps. What differs from the paper: the head is the capture's, not FLAME; the last
20 % of the frames are held out, not the last 350; nothing is parsed semantically; and the torso
has a field of its own. It wants one GPU: a step has 21 times the default's samples, with four
times as many features each.

No figure of this preset has been measured yet. The run, the held-out video, and the scores appear
under `--out`; a run that exists goes on.
"""

from __future__ import annotations

import os
import sys

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.main import main

PRESET = "insta"


def commands(capture: str, out: str, settings: list[str]) -> list[tuple[str | None, list[str]]]:
    """(output that shows that a command is done, arguments of jaxhead) in order.

    Args:
      capture: a capture folder; out: the folder to fill; settings: of `--set`.
    """
    run, video, scores = (os.path.join(out, x) for x in ("run", "heldout.mp4", "scores"))
    chosen = [part for setting in settings for part in ("--set", setting)]
    preset = [] if os.path.isfile(os.path.join(run, "run.json")) else ["--preset", PRESET, *chosen]
    return [
        (None, ["train", "avatar", capture, "--out", run, *preset]),
        (video, ["render", run, "--out", video, "--side-by-side"]),
        (scores, ["evaluate", run, "--out", scores]),
    ]


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", None, "the folder to fill", flag_values=values)
    flags.DEFINE_multi_string("set", [], "as in jaxhead train", flag_values=values)


def run(arguments: Arguments) -> int:
    """Trains, renders and evaluates; returns the first exit code that is not 0, else 0."""
    flags = arguments.flags
    if not flags.out:
        raise UsageError("--out is missing")
    for output, command in commands(arguments.positionals[0], flags.out, flags.set):
        if output is None or not os.path.exists(output):
            print("$ jaxhead", *command, flush=True)
            if code := main(command):
                return code
    return 0


if __name__ == "__main__":
    name = "experiments.avatar_clip"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("CAPTURE",)))
