"""Does the mouth follow speech? Held-out frames with their own sound and with shifted ones.

    python -m experiments.benchmarks.speech RUN --shifts 12 --json speech.json

A run of `adnerf` renders its held-out frames from head pose and sound alone, once with the sound of
the clip and once for each circular shift of that sound, spread evenly over 1 to 10 s. A landmark
model looks at every picture. What follows speech is nearer to the true mouth with the true sound
than with any other, by much more than others differ among themselves. Beside it stands what the
sound's loudness alone tells of the mouth's opening, fitted to the training frames.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.flags import run_module
from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments
from jaxhead.app.progress import Counter
from jaxhead.evaluation.landmarks import ReadFace, face_errors, face_reader, mouth_opening
from jaxhead.evaluation.sheets import to_uint8
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions

SHORTEST, LONGEST = 1.0, 10.0
MOST_FITTED = 1000
"""Training frames that loudness is fitted to."""


def measure(
    run: pathlib.Path, *, shifts: int, capture: str | None, assets: str | None
) -> dict[str, Any]:
    """{"true": figures, "shifted": [figures with "seconds"], "still": figures} of a run.

    Figures are means over the held-out frames: "landmark_distance" and "mouth_distance" of
    `evaluation.landmarks`, and "opening", the correlation of the lips' distance with the truth's.
    "still" holds the mean training mouth under every frame's pose: silence; "loudness" is the
    correlation of `loudness_alone`.

    Raises:
      InputError: not a run of adnerf, no capture, a silent one, or no landmark model.
    """
    from jaxhead.systems.adnerf import requests as asking
    from jaxhead.systems.adnerf import verbs

    opened = verbs.open_run(run, capture)
    if opened.capture is None:
        raise InputError(f"{run}: its capture was not found; give it with --capture")
    samples = opened.capture.audio()
    if samples is None:
        raise InputError(f"{opened.capture.path}: has no sound")
    clip = asking.make_clip(RenderOptions(split="test"), opened.spec, opened.inputs,
                            opened.config.audio)  # fmt: skip
    render = opened.renderer(clip.size)
    with face_reader(assets) as (read_face, reason):
        if read_face is None:
            raise InputError(reason)
        truths = [read_face(opened.capture.frame(int(frame))) for frame in clip.frame_ids]

        def heard(sound: np.ndarray) -> dict[str, float]:
            speech = asking.speech_of(sound, opened.inputs, opened.config.audio)
            shown = dataclasses.replace(clip, speech=speech)
            pictures = (render(request)["rgb"] for request in opened.requests(shown))
            return figures(read_face, pictures, truths)

        result: dict[str, Any] = {"frames": len(clip), "shifted": []}
        with Counter("sounds", shifts + 2) as counter:
            result["true"] = heard(samples)
            counter.advance()
            result["still"] = heard(np.zeros_like(samples))
            counter.advance()
            for seconds in np.linspace(SHORTEST, LONGEST, shifts):
                moved = np.roll(samples, round(seconds * opened.capture.audio_rate))
                result["shifted"].append({"seconds": float(seconds), **heard(moved)})
                counter.advance()
        known = opened.capture.train[:: -(-len(opened.capture.train) // MOST_FITTED)]
        seen = [read_face(opened.capture.frame(int(frame))) for frame in known]
        windows = loudness_windows(samples, opened.capture.audio_rate, opened.capture.fps)
        result["loudness"] = loudness_alone(windows, (known, seen), (clip.frame_ids, truths))
    return result


def loudness_windows(samples: np.ndarray, rate: int, fps: float) -> Callable[[Any], np.ndarray]:
    """Frames -> (n, 17): logarithm of the power in 17 steps of 20 ms around each of them."""
    sound = np.asarray(samples, np.float64)
    power = np.concatenate([[0.0], np.cumsum(sound**2 if sound.ndim == 1 else sound[..., 0] ** 2)])
    step = rate / 50

    def windows(frames) -> np.ndarray:
        middle = (np.asarray(frames)[:, None] + 0.5) / fps * rate + np.arange(-8, 9) * step
        low, high = (np.clip((middle + s * step / 2).astype(int), 0, len(sound)) for s in (-1, 1))
        return np.log((power[high] - power[low]) / np.maximum(high - low, 1) + 1e-6)

    return windows


def loudness_alone(windows: Callable[[Any], np.ndarray], train, test) -> float:
    """The correlation with the true opening of what ridge regression makes of loudness.

    Args:
      windows: see `loudness_windows`.
      train, test: frames and what the landmark model sees in them.
    """

    def data(part):
        frames, seen = part
        there = [i for i, one in enumerate(seen) if one is not None]
        opening = np.array([mouth_opening(seen[i]) for i in there])
        return windows(np.asarray(frames)[there]), opening

    (x, y), (other, truth) = data(train), data(test)
    scale = x.std(0) + 1e-6
    known, asked = (x - x.mean(0)) / scale, (other - x.mean(0)) / scale
    penalty = len(known) * 0.01 * np.eye(x.shape[1])
    slopes = np.linalg.solve(known.T @ known + penalty, known.T @ (y - y.mean()))
    return float(np.corrcoef(asked @ slopes, truth)[0, 1])


def figures(read_face: ReadFace, pictures, truths) -> dict[str, float]:
    """Means over frames of `face_errors`, and how the mouth's opening correlates with the truth."""
    errors, openings = [], []
    for picture, truth in zip(pictures, truths):
        seen = read_face(to_uint8(np.asarray(picture)))
        errors.append(face_errors(seen, truth))
        if seen is not None and truth is not None:
            openings.append((mouth_opening(seen), mouth_opening(truth)))
    names = ("landmark_distance", "mouth_distance")
    means = {name: float(np.nanmean([error[name] for error in errors])) for name in names}
    return means | {"opening": float(np.corrcoef(np.array(openings).T)[0, 1])}


def report(result: dict[str, Any]) -> str:
    """Markdown: true sound, shifted ones with mean and deviation, and how far apart they are."""
    lines = [
        "| | true sound | shifted: mean | deviation | best | deviations apart | silence |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, better in (("mouth_distance", min), ("landmark_distance", min), ("opening", max)):
        shifted = np.array([one[name] for one in result["shifted"]])
        true, mean, spread = result["true"][name], shifted.mean(), shifted.std(ddof=1)
        apart = abs(true - mean) / max(spread, 1e-12)
        lines.append(
            f"| {name.replace('_', ' ')} | {true:.4f} | {mean:.4f} | {spread:.4f} | "
            f"{better(shifted):.4f} | {apart:.1f} | {result['still'][name]:.4f} |"
        )
    lines += ["", f"opening told by loudness alone: {result['loudness']:.4f} correlation"]
    return "\n".join(lines)


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_integer("shifts", 12, "how many shifts", lower_bound=2, flag_values=values)
    flags.DEFINE_string("capture", None, "the run's capture, if it has moved", flag_values=values)
    flags.DEFINE_string("assets", None, "folder of third-party models", flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def run(arguments: Arguments) -> int:
    """Measures as the flags say and prints the table."""
    flags = arguments.flags
    prepare_jax(None)
    result = measure(
        pathlib.Path(arguments.positionals[0]), shifts=flags.shifts, capture=flags.capture,
        assets=flags.assets,
    )  # fmt: skip
    print(report(result))
    if flags.json:
        write_json(flags.json, result)
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.speech"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("RUN",)))
