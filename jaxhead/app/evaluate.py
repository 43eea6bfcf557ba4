"""`jaxhead evaluate`: a run's scores on held-out frames, beside baselines, with a picture sheet."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments
from jaxhead.app.health import checkpoint_health, health_table, overview
from jaxhead.app.outputs import refuse_existing
from jaxhead.app.progress import Counter
from jaxhead.app.runs import system_of_run
from jaxhead.files.errors import InputError
from jaxhead.rendering.requests import RenderOptions, RenderStream

SHEET_ROWS = 6
MODES = (("test", "measured"), ("driven", "predicted"))
Render = Callable[[RenderOptions], RenderStream]


def run(arguments: Arguments) -> int:
    """Evaluates as the flags say; returns the exit code."""
    flags = arguments.flags
    run_folder = pathlib.Path(arguments.positionals[0])
    if flags.list:
        return list_checkpoints(run_folder, flags.json)
    out = pathlib.Path(flags.out) if flags.out else run_folder / "evaluation"
    if flags.out:
        refuse_existing(out)
    if flags.json:
        _refuse_file(flags.json)
    system = system_of_run(run_folder, devices=flags.devices)
    own = getattr(system, "evaluation_modes", None)
    report, sheet = evaluate(
        lambda options: system.render_stream(run_folder, options),
        modes=own(run_folder) if own else MODES,
        capture=flags.capture,
        assets=flags.assets,
    )
    table = write_report(
        report,
        sheet,
        out,
        health=health_table(checkpoint_health(run_folder)),
        json_file=flags.json,
        overwrite=not flags.out,
    )
    print(table)
    print(f"{out}: scores.md, scores.json, sheet.png")
    return 0


def list_checkpoints(run: pathlib.Path, json_file: str | None) -> int:
    """Prints a run's steps, the sizes of its checkpoints and their health; renders nothing.

    Args:
        run: the run folder.
        json_file: where the list also goes.

    Returns:
        The exit code: 1 where there are checkpoints and one of them is damaged.
    """
    from jaxhead.files.atomic import write_json
    from jaxhead.training.runs import load_run

    load_run(run)  # no run: said before anything is read
    if json_file:
        _refuse_file(json_file)
    prepare_jax()
    found = checkpoint_health(run)
    print(overview(run, found), end="")
    if json_file:
        write_json(json_file, {"checkpoints": [dataclasses.asdict(one) for one in found]})
    # What a resumed training has moved aside does no harm any more.
    return int(any(one.damage and not one.stage.endswith(".damaged") for one in found))


def evaluate(
    render: Render,
    *,
    modes: Sequence[tuple[str, str]] = MODES,
    capture: str | None = None,
    assets: str | None = None,
) -> tuple[dict[str, Any], np.ndarray]:
    """Returns the report of a run (see `evaluation.tables`) and its picture sheet.

    Args:
        render: options to a stream of the run's pictures.
        modes: names of the report's blocks, and the source of the torso's motion in each; the sheet
            shows the first.
        capture: path of the run's capture where it has moved.
        assets: folder of third-party models.

    Raises:
        InputError: the capture is not at hand or has no held-out frame.
    """
    from jaxhead.evaluation.comparison import Truth, baseline_pictures, score_pictures
    from jaxhead.evaluation.landmarks import face_reader
    from jaxhead.evaluation.tables import BASELINES

    report: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    with face_reader(assets) as (read_face, reason):
        streams = {
            mode: render(RenderOptions(split="test", torso=torso, capture=capture))
            for mode, torso in modes
        }
        first = modes[0][0]
        truth = Truth(_capture_of(streams[first]), read_face)
        wanted = tuple(int(frame) for frame in streams[first].frame_ids)
        for mode, stream in streams.items():
            keep = rows if mode == first else None
            with Counter(f"score {mode}", len(wanted)) as counter:
                pictures = _pictures(stream, wanted, keep, truth)
                report[mode] = score_pictures(
                    truth, pictures, reason=reason, progress=counter.advance
                )
        report["baselines"] = {}
        for name in BASELINES:
            with Counter(f"score {name}", len(wanted)) as counter:
                report["baselines"][name] = score_pictures(
                    truth,
                    baseline_pictures(name, truth.capture, np.asarray(wanted)),
                    reason=reason,
                    progress=counter.advance,
                )
    from jaxhead.evaluation.sheets import picture_sheet

    return report, picture_sheet(rows)


def write_report(
    report: dict[str, Any],
    sheet: np.ndarray,
    out: pathlib.Path,
    *,
    health: str = "",
    json_file: str | None = None,
    overwrite: bool = False,
) -> str:
    """Writes scores.md, scores.json and sheet.png into a new folder; returns the table.

    What killed evaluations left beside it is removed.

    Args:
        report: what `evaluate` returns.
        sheet: (H,W,3) uint8.
        out: the folder to make.
        health: a table of the run's checkpoints, appended to the scores.
        json_file: where the JSON also goes.
        overwrite: replace an earlier folder.
    """
    from jaxhead.evaluation.tables import report_json, report_table
    from jaxhead.files.atomic import clean_leftovers, new_folder, write_text
    from jaxhead.files.images import write_image

    table, text = report_table(report), report_json(report)
    table = f"{table}\n{health}" if health else table
    clean_leftovers(out.parent)
    with new_folder(out, overwrite=overwrite) as folder:
        (folder / "scores.md").write_text(table, encoding="utf-8")
        (folder / "scores.json").write_text(text, encoding="utf-8")
        write_image(folder / "sheet.png", sheet)
    if json_file:
        write_text(json_file, text)
    return table


def _capture_of(stream: RenderStream) -> Any:
    if stream.capture is None:
        raise InputError(
            "the run's capture was not found: held-out frames are compared with it; "
            "give it with --capture"
        )
    if not len(stream.frame_ids):
        raise InputError("the run's capture has no held-out frame to compare with")
    return stream.capture


def _refuse_file(path: str) -> None:
    # What mktemp made is free: an empty file holds nothing to lose.
    if not (os.path.isfile(path) and os.path.getsize(path) == 0):
        refuse_existing(path)


def _pictures(
    stream: RenderStream, frames: Sequence[int], rows: list | None, truth: Any
) -> Iterator[tuple[int, np.ndarray]]:
    """Pairs of frame and picture; a few of them, evenly spread, are kept as rows of the sheet."""
    places = np.linspace(0, len(frames) - 1, min(SHEET_ROWS, len(frames)))
    shown = {frames[round(place)] for place in places}
    for frame, picture in zip(frames, stream.frames):
        if rows is not None and frame in shown:
            shot = {name: np.array(picture[name]) for name in ("rgb", "alpha", "depth")}
            rows.append({"label": f"frame {frame}", "truth": truth.capture.frame(frame), **shot})
        yield frame, np.asarray(picture["rgb"])
