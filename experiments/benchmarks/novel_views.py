"""Views that no training camera saw, scored against the truth of a synthetic capture.

    python -m experiments.benchmarks.novel_views head run
    python -m experiments.benchmarks.novel_views head run --without run_unmapped --json views.json
    python -m experiments.benchmarks.novel_views head run_of_video --tracked

CAPTURE is the folder that `jaxhead synthesize` made, RUN an avatar trained on it. `--without` names
a run of the same capture trained with `--set field.mapping=none`. Every novel view of `truth/` is
rendered with its own camera and its frame's expression. PSNR is the mean over views, inside the
person's and the head's mask. Where head and torso together are less than half opaque inside the
person's mask, the background shows: in a hole, where such pixels are enclosed by the person, or at
its outline, where they go on outside; both are shares of the person's pixels. Depth is compared
where the head is at least half opaque, the median of the absolute error over the head and over the
face, which is where the mesh shows skin.

With `--tracked` RUN is of a capture that was made of the clip as a video, so that cameras and
meshes are what the tracker found. Focal length, distance and size are then the tracker's: the novel
camera goes round the same place of the head, as far behind what the run shows of it in the frame's
own view, and depths are compared from there on in units of the true head.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy import ndimage

from experiments.benchmarks.flags import run_module
from experiments.benchmarks.tracked_views import INSIDE, tracked_camera
from jaxhead.app.flags import Arguments
from jaxhead.captures.format import Capture, load_capture
from jaxhead.captures.hull import SKIN
from jaxhead.captures.synthetic import Truth, load_truth
from jaxhead.evaluation.landmarks import face_reader
from jaxhead.evaluation.scores import frame_scores, mean_of
from jaxhead.evaluation.sheets import to_uint8
from jaxhead.files.atomic import write_json
from jaxhead.files.errors import InputError
from jaxhead.geometry.cameras import project
from jaxhead.geometry.rasterise import rasterise
from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.systems.avatar.inputs import AvatarSpec
from jaxhead.systems.avatar.motion import revised_inputs
from jaxhead.systems.avatar.requests import Requests, make_requests
from jaxhead.systems.avatar.system import build
from jaxhead.systems.avatar.verbs import frozen_arrays, head_of, renderer
from jaxhead.training import loop
from jaxhead.training.configuration import from_document
from jaxhead.training.revising import newest_revision
from jaxhead.training.runs import load_run

FIGURES = (
    ("person", "PSNR person", "{:.2f}"), ("head", "PSNR head", "{:.2f}"),
    ("holes", "holes", "{:.3%}"), ("outline", "outline", "{:.2%}"),
    ("depth_mm", "depth mm", "{:.2f}"), ("face_mm", "face depth mm", "{:.2f}"),
    ("found", "faces found", "{:.0%}"),
)  # fmt: skip
PER_PICTURE = (
    "frame_ids", "own_poses", "vertices", "condition", "sway", "torso_motion", "torso_condition",
)  # fmt: skip


def pictures(
    run_path: str, truth: Truth, clip: Capture | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """The run's picture of every novel view, in order: "rgb", "alpha", "depth" of `predict`, and
    "skin" (H, W) bool, where the run's mesh shows the face's skin.

    Args:
      run_path: the run; truth: of the synthetic capture.
      clip: that capture where the run is of its video, see `tracked_views.tracked_camera`.

    Raises:
      InputError: no run there, or one of another capture.
    """
    run = load_run(run_path)
    config = from_document(AvatarConfig, run.config)
    spec, inputs = run.spec_as(AvatarSpec), run.inputs()
    frozen = frozen_arrays(inputs)
    (stage,) = build(config, spec, frozen, None)
    variables, step = loop.load_variables(stage, run.path, seed=run.seed)
    inputs = revised_inputs(inputs, newest_revision(run.path, stage.name, step))
    requests = view_requests(spec, inputs, truth, config)
    render = renderer(variables, frozen, requests.size, config)
    skin = _skin_masks(inputs)
    own: dict[int, np.ndarray] = {}
    for view, frame in enumerate(requests.frame_ids):
        world = None
        if clip is not None:
            if frame not in own:
                requests.head_to_camera[view] = requests.own_poses[view]
                own[frame] = np.asarray(render(requests, view)["depth"])
            world = tracked_camera(requests, truth, clip, view, own[frame])
            requests.head_to_camera[view] = world.head_to_camera
        made = {name: np.asarray(value) for name, value in render(requests, view).items()}
        if world is not None:
            depth = world.true + (made["depth"] - world.own) / world.larger
            made["depth"] = np.where(made["depth"] > 0, depth, 0.0)
        yield made | {"skin": skin(requests, requests.head_to_camera[view], view)}


def _skin_masks(inputs: dict[str, np.ndarray]):
    """A function (requests, pose, view) -> where the mesh shows the face's skin (H, W) bool."""
    head, faces = head_of(inputs), inputs["head/faces"]
    names = [head.region_names.index(name) for name in SKIN if name in head.region_names]
    is_skin = np.asarray(np.isin(np.asarray(head.regions), names)[faces].all(1))

    @functools.partial(jax.jit, static_argnames="size")
    def draw(vertices, K, pose, size):
        return rasterise(*project(vertices, K, pose), faces, size)[0]

    def masks(requests: Requests, pose: np.ndarray, view: int) -> np.ndarray:
        face = np.asarray(draw(requests.vertices[view], requests.K, pose, size=requests.size))
        return (face >= 0) & is_skin[np.maximum(face, 0)]

    return masks


def view_requests(
    spec: AvatarSpec, inputs: dict[str, np.ndarray], truth: Truth, config: AvatarConfig
) -> Requests:
    """One request per novel view: its camera, all else that of its frame."""
    every = make_requests(
        RenderOptions(split="all"), spec, inputs, head_of(inputs), config
    )
    place = {int(frame): at for at, frame in enumerate(every.frame_ids)}
    missing = sorted({int(frame) for frame in truth.view_ids} - set(place))
    if missing:
        raise InputError(f"the run knows nothing of frame {missing[0]}: made of another capture?")
    rows = np.array([place[int(frame)] for frame in truth.view_ids])
    chosen = {name: getattr(every, name)[rows] for name in PER_PICTURE}
    return dataclasses.replace(every, **chosen | {"head_to_camera": truth.head_to_camera.copy()})


def score(
    run_path: str, truth: Truth, read_face, clip: Capture | None = None
) -> list[dict[str, float]]:
    """One dictionary of `FIGURES` and "yaw" in degrees per view; NaN where undefined."""
    return [
        view_scores(picture, truth, view, read_face)
        for view, picture in enumerate(pictures(run_path, truth, clip))
    ]


def view_scores(
    picture: dict[str, np.ndarray], truth: Truth, view: int, read_face
) -> dict[str, float]:
    """The figures of one picture against the truth of one view."""
    person, head = (truth.masks[view, ..., k] > INSIDE for k in (0, 1))
    scores = frame_scores(picture["rgb"], truth.frames[view], person, head)
    holes, outline = background_shows(picture["alpha"], person)
    off = np.abs(picture["depth"] - truth.depth[view])
    known = head & (picture["depth"] > 0) & (truth.depth[view] > 0)
    found = float("nan")
    if read_face is not None and read_face(truth.frames[view]) is not None:
        found = float(read_face(to_uint8(picture["rgb"])) is not None)
    return {
        "yaw": float(truth.yaw_degrees[view]),
        "person": scores["person"]["psnr"],
        # The second mask of `frame_scores` is any region.
        "head": scores["face"]["psnr"],
        "holes": holes,
        "outline": outline,
        "depth_mm": _millimetres(off[known]),
        "face_mm": _millimetres(off[known & picture["skin"]]),
        "found": found,
    }


def background_shows(alpha: np.ndarray, person: np.ndarray) -> tuple[float, float]:
    """Shares of the person's pixels in which one sees through holes, and past its outline.

    Args:
      alpha: (H, W) opacity of what is drawn; person: (H, W) bool, the truth.
    """
    through = (alpha < 0.5) & person
    regions, _ = ndimage.label(through | ~person)  # pyright: ignore[reportGeneralTypeIssues]
    outside = np.isin(regions, np.unique(regions[~person]))
    count = max(person.sum(), 1)
    return float((through & ~outside).sum() / count), float((through & outside).sum() / count)


def _millimetres(off: np.ndarray) -> float:
    return float(1e3 * np.median(off)) if len(off) else float("nan")


def means(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Means of `score`: over all views under "all", and by the size of the yaw."""
    groups = {"all": rows}
    for yaw in sorted({round(abs(row["yaw"]), 1) for row in rows}):
        groups[f"yaw ±{yaw:g}°"] = [row for row in rows if round(abs(row["yaw"]), 1) == yaw]
    return {
        group: {name: mean_of([row[name] for row in some]) for name, _, _ in FIGURES}
        for group, some in groups.items()
    }


def report(result: dict[str, Any]) -> str:
    """The result of `evaluate` as Markdown."""
    lines = [
        "| | " + " | ".join(title for _, title, _ in FIGURES) + " |",
        "|---" * (len(FIGURES) + 1) + "|",
    ]
    for run, groups in result["runs"].items():
        for group, figures in groups.items():
            cells = (
                "–" if figures[name] is None else pattern.format(figures[name])
                for name, _, pattern in FIGURES
            )
            lines.append(f"| {run}, {group} | " + " | ".join(cells) + " |")
    lines += ["", f"{result['views']} views. The torso is a picture on a body of common size."]
    if result["reason"]:
        lines.append(f"– : {result['reason']}")
    return "\n".join(lines)


def evaluate(
    capture: str, runs: dict[str, str], *, tracked: bool = False, assets: str | None = None
) -> dict[str, Any]:
    """Means of every run on the novel views of a capture.

    Args:
      capture: a synthetic capture.
      runs: {name for the table: run folder}.
      tracked: the runs are of a capture of its video.
      assets: folder of third-party models.

    Raises:
      InputError: no truth, no run, or a run of another capture.
    """
    clip, truth = load_capture(capture), load_truth(capture)
    if not len(truth.view_ids):
        raise InputError(f"{capture}: holds no novel view, expected some")
    for path in runs.values():
        known = load_run(path).sources[0]["digest"]
        if known != clip.digest and not tracked:
            raise InputError(
                f"{path}: made of capture {known[:12]}, {capture} is {clip.digest[:12]}; --tracked "
                "where it was made of its video"
            )
    with face_reader(assets) as (read_face, reason):
        found = {
            name: means(score(path, truth, read_face, clip if tracked else None))
            for name, path in runs.items()
        }
    return {"views": len(truth.view_ids), "runs": found, "reason": reason}


def _define(values) -> None:
    from absl import flags

    flags.DEFINE_string("without", None, "a run without the mapping", flag_values=values)
    flags.DEFINE_boolean(
        "tracked", False, "RUN is of a capture of the clip's video", flag_values=values
    )
    flags.DEFINE_string("assets", None, "folder of third-party models", flag_values=values)
    flags.DEFINE_string("json", None, "also write the figures to this file", flag_values=values)


def run(arguments: Arguments) -> int:
    """Scores as the flags say and prints the table."""
    flags = arguments.flags
    capture, run_path = arguments.positionals
    runs = {"run": run_path}
    if flags.without:
        runs["without mapping"] = flags.without
    result = evaluate(capture, runs, tracked=flags.tracked, assets=flags.assets)
    print(report(result))
    if flags.json:
        write_json(flags.json, result)
    return 0


if __name__ == "__main__":
    name = "experiments.benchmarks.novel_views"
    sys.exit(run_module(name, __doc__, _define, run, positionals=("CAPTURE", "RUN")))
