"""An avatar by INSTA's own recipe and protocol.

    python -m experiments.insta marcel --out marcel_insta             # INSTA's folder of a subject
    python -m experiments.insta marcel --out marcel_insta --held-out 350
    python -m experiments.insta talk --out talk_insta                 # a capture of your own

Zielonka, Bolkart and Thies, "Instant Volumetric Head Avatars" (CVPR 2023, arXiv 2211.12499). The
preset `insta` has the constants of the published C++ program (`configs/nerf/main.json`) and of its
sources: 16 levels of 8 features, 2^18 entries, a cube of one metre; a density net of 2 and a colour
net of 3 hidden layers, the log density being among what the second one sees; the first 16
expression coefficients as they are at the lips and ones elsewhere; frames averaged at the face,
scaled around the eyes, of the nearest triangle elsewhere; Huber / (5 x 0.1) on colours, 40 times as
much at mouth and lips from step 500; 1.25 x L1 on the distance along the ray; a random colour
behind every ray; log densities pushed down before 0.2 m and up while the field is thin; a step of
sqrt(3) / 1024 m; 128^3 occupancy by instant-ngp's timetable; Adam at 1.75e-3 without a schedule,
L2 1e-6 on the networks, averages of 0.95; 33,000 steps of 2^18 samples. INSTA's split is the one
that its transforms tell (the last 350 frames); `--held-out` makes another.

What stays different, and why:
- Shapes are static: 16 frames of 256 rays of 64 samples in place of rays from all frames until
  2^18 samples are full. A ray that has more than 64 steps of occupied space takes longer ones.
- The nearest triangle comes from a volume of 96 voxels per frame, which moves points and leaves
  directions, and whose lips end at a voxel; `--set surface.nearest=bvh` is exact, and slower.
- Occupancy is learned at the neutral mesh, moved about as far as expressions carry each place, not
  at points of whatever frame was drawn last.
- Adam moves all entries of the hash tables, not only those that a step touched.
- The head's regions are voted from the parsed pictures, not FLAME's vertex masks.
- The last frames count from the capture's: a quarter of a full pool of 1700 changes every 375 steps
  in place of all of it every 1500.
- float32 in place of half precision and its loss scale.

INSTA-pytorch differs from the C++ program: bound 2 with two cascades and a finest level of 4096,
density and colour nets of 4 and 5 layers, the nearest triangle's frame everywhere, 4096 rays of one
picture a step, Adam at 2.5e-3, Huber / 0.1, the mouth's weight from the start, depth as a share of
the ray's way through the box, 1/256 cones. `jaxhead convert avatar` takes its checkpoints.

A capture that is no imported cut-out has a torso and a room: its torso keeps a field of its own,
and masks supervise. One without parsed pictures weighs all pixels alike. It wants one GPU. The run,
the held-out video and the scores appear under `--out`; a run that exists goes on.
"""

from __future__ import annotations

import os
import pathlib
import sys

from experiments.benchmarks.flags import run_module
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.main import main
from jaxhead.captures.validate import read_info

PRESET = "insta"
WITH_TORSO = ("torso.shown=true", "sampling.torso_rays=64", "loss.opacity=0.005", "loss.idle=0.005")


def is_subject(path: str) -> bool:
    """Whether a folder is a subject of INSTA's, not a capture."""
    folder = pathlib.Path(path)
    return not (folder / "capture.json").is_file() and any(folder.glob("transforms*.json"))


def settings_for(capture: str) -> list[str]:
    """What of the preset a capture cannot honour or does better, as `--set` takes it.

    Args:
      capture: a capture folder.
    """
    folder = pathlib.Path(capture)
    source = read_info(folder).get("source")
    cut_out = isinstance(source, dict) and source.get("format") == "insta"
    settings = [] if cut_out else list(WITH_TORSO)
    if not (folder / "parsing").is_dir():
        settings.append("loss.region=1")
    if (folder / "depth").is_dir():
        settings.append("prior.distance=capture")
    return settings


def commands(
    capture: str, out: str, settings: list[str], begun: bool = False
) -> list[tuple[str | None, list[str]]]:
    """(output that shows that a command is done, arguments of jaxhead) in order.

    Args:
      capture: a capture folder; out: the folder to fill; settings: of `--set`.
      begun: whether the run exists, which keeps its settings.
    """
    run, video, scores = (os.path.join(out, x) for x in ("run", "heldout.mp4", "scores"))
    chosen = [part for setting in settings for part in ("--set", setting)]
    preset = [] if begun else ["--preset", PRESET, *chosen]
    return [
        (None, ["train", "avatar", capture, "--out", run, *preset]),
        (video, ["render", run, "--out", video, "--side-by-side"]),
        (scores, ["evaluate", run, "--out", scores]),
    ]


def import_command(subject: str, out: str, held_out: int | None) -> list[str]:
    """Arguments of jaxhead that make a capture of INSTA's folder."""
    last = [] if held_out is None else ["--held-out", str(held_out)]
    return ["capture", subject, "--from", "insta", "--out", out, *last]


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("out", None, "the folder to fill", flag_values=values)
    flags.DEFINE_multi_string("set", [], "as in jaxhead train", flag_values=values)
    flags.DEFINE_integer(
        "held_out", None, "of INSTA's folder, how many last frames to hold out", lower_bound=1,
        flag_values=values,
    )  # fmt: skip


def _jaxhead(command: list[str]) -> int:
    print("$ jaxhead", *command, flush=True)
    return main(command)


def run(arguments: Arguments) -> int:
    """Imports, trains, renders and evaluates; returns the first exit code that is not 0, else 0."""
    flags, capture = arguments.flags, arguments.positionals[0]
    if not flags.out:
        raise UsageError("--out is missing")
    if is_subject(capture):
        subject, capture = capture, os.path.join(flags.out, "capture")
        if not os.path.exists(capture):
            os.makedirs(flags.out, exist_ok=True)
            if code := _jaxhead(import_command(subject, capture, flags.held_out)):
                return code
    elif flags.held_out is not None:
        raise UsageError(f"--held-out is for INSTA's folders, {capture} has its split")
    begun = os.path.isfile(os.path.join(flags.out, "run", "run.json"))
    settings = [*settings_for(capture), *flags.set]
    for output, command in commands(capture, flags.out, settings, begun):
        if output is None or not os.path.exists(output):
            if code := _jaxhead(command):
                return code
    return 0


if __name__ == "__main__":
    name = "experiments.insta"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("CAPTURE",)))
