"""How many independent frames a landmark network's errors leave to what a person's frames share.

    python -m experiments.benchmarks.landmark_errors
    python -m experiments.benchmarks.landmark_errors --people 1 --people 2 --folder people

A network puts a landmark on another place of each face, in all of its frames alike, and what is
next to it as well. The tracker counts the landmarks of a clip as `independent_frames` with errors
of `deviations.mark`, each landmark's its own. What people's errors amount to in smooth fields over
the face, which are what tells shape and perspective, says how many those are. Needs MediaPipe.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from experiments.benchmarks.flags import run_module
from experiments.benchmarks.tracking import followed, mark_places, synthetic_person
from jaxhead.app.flags import Arguments
from jaxhead.captures.fitting.config import FitConfig
from jaxhead.captures.fitting.marks import FACE_OVAL
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError
from jaxhead.heads.procedural import procedural_head

DEGREES = (0, 1, 2, 3, 4, 5)
"""Of the polynomials over the face, in x and y, that are looked at."""


def common_errors(places: np.ndarray, trust: np.ndarray, mark: float) -> dict[str, Any]:
    """How far people's landmarks lie off their mean places, and what that leaves.

    Args:
      places: (P, M, 3) metres, of each person's landmarks on one mean head that looks along z.
      trust: (M,) how much the tracker lets each landmark count.
      mark: the deviation of one landmark in one frame, as a share of the face's size.

    Returns:
      {"face" metres, "deviation" of one landmark along x or y as a share of it (root mean square
      under `trust`), "frames" {degree: number}}: a deviation of `mark` in so many independent
      frames is as uncertain as the people's, on average over the polynomials of that degree and
      below.

    Raises:
      InputError: fewer than two people.
    """
    count = len(places)
    if count < 2:
        raise InputError(f"{count} people, expected at least two")
    face = float(np.ptp(places[..., :2].mean(0), axis=0).max())
    # The mean is of the same people.
    off = (places - places.mean(0))[..., :2] * np.sqrt(count / (count - 1)) / face
    x, y = (places.mean(0)[:, :2] / face).T
    weight = np.sqrt(trust)[:, None]
    frames = {}
    for degree in DEGREES:
        powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
        modes, _ = np.linalg.qr(weight * np.stack([x**i * y**j for i, j in powers], -1))
        amount = np.einsum("mk,pma->pka", modes, weight * off)
        frames[degree] = float(mark**2 / np.mean(amount**2))
    deviation = np.sqrt(np.average((off**2).mean((0, 2)), weights=trust))
    return {"face": face, "deviation": float(deviation), "frames": frames}


def report(result: dict[str, Any]) -> str:
    """The result of `run` as Markdown."""
    rows = {"as the tracker trusts them": result["trusted"], "all alike": result["alike"]}
    head = " | ".join(f"degree {degree}" for degree in DEGREES)
    lines = [f"| landmarks | deviation | {head} |", "|---" * (2 + len(DEGREES)) + "|"]
    for name, row in rows.items():
        numbers = " | ".join(f"{row['frames'][degree]:.2f}" for degree in DEGREES)
        lines.append(f"| {name} | {row['deviation']:.2%} | {numbers} |")
    return "\n".join(lines)


def measure(folder: pathlib.Path, people: list[int], frames: int, size: int) -> dict[str, Any]:
    """{"trusted", "alike"} `common_errors` of synthetic people, the face's outline trusted less as
    the tracker does, and as much as all else."""
    template = np.asarray(procedural_head().template)
    captures = (synthetic_person(folder, seed, frames, size) for seed in people)
    places = np.stack([mark_places(one, followed(one), template) for one in captures])
    config, count = FitConfig(), places.shape[1]
    trust = np.where(np.isin(np.arange(count), FACE_OVAL), config.contour, 1.0)
    mark = config.deviations.mark
    return {
        "trusted": common_errors(places, trust, mark),
        "alike": common_errors(places, np.ones(count), mark),
    }


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_multi_integer(
        "people", list(range(1, 9)), "seed of one, each given by itself", lower_bound=0,
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("folder", None, "where synthetic captures are kept", flag_values=values)
    flags.DEFINE_integer("frames", 120, "of each", lower_bound=30, flag_values=values)
    flags.DEFINE_integer("size", 256, "of a picture", lower_bound=64, flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def run(arguments: Arguments) -> int:
    """Measures as the flags say and prints the table."""
    flags = arguments.flags
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(flags.folder or temporary)
        result = measure(folder, flags.people, flags.frames, flags.size)
    print(report(result))
    if flags.json:
        write_json(flags.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(run_module("experiments.benchmarks.landmark_errors", __doc__, _define, run))
