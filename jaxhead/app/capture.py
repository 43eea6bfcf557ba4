"""`jaxhead capture`: a video becomes a capture, or a report on how suitable it is.

A folder of videos becomes a folder of captures, see `app.folder`; what other programs store is
imported, and a capture exported for them, see `app.exchange`.
"""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

from absl.flags import FlagValues

from jaxhead.app import exchange
from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.outputs import refuse_existing
from jaxhead.app.progress import stages

_MOST_NOTES = 10


def run(arguments: Arguments) -> int:
    """Checks or captures as the flags say; returns the exit code."""
    flags = arguments.flags
    video = arguments.positionals[0]
    if exchange.wanted(flags):
        return exchange.run(video, flags)
    if flags["held_out"].present:
        raise UsageError("--held-out is for --from insta and --from metrical-tracker")
    if not flags.out and not flags.check:
        raise UsageError("--out is missing (or --check, for a report alone)")
    fitted = flags.head != "mediapipe"
    if flags.photometric and not fitted:
        raise UsageError("--photometric refines a fitted head, give one with --head")
    if flags.start != "landmarks" and not fitted:
        raise UsageError("--start is of a fitted head, give one with --head")
    if os.path.isdir(video):
        return _folder(video, flags)
    for name in ("jobs", "ray"):
        if getattr(flags, name) is not None:
            raise UsageError(f"--{name} is for a folder of videos, {video} is none")
    if flags.out:
        refuse_existing(flags.out)
    from jaxhead.files.video import probe

    # Whatever is no video is refused before jax and the models are loaded.
    probe(video)
    prepare_jax()
    if flags.check:
        print(report(video, fps=flags.fps, assets=flags.assets))
    if flags.out:
        capture(
            video, flags.out, size=flags.size, fps=flags.fps, assets=flags.assets,
            head=flags.head if fitted else None, photometric=flags.photometric, start=flags.start,
        )  # fmt: skip
        for note in notes(flags.out):
            print(f"note: {note}", file=sys.stderr)
        overlay = os.path.join(flags.out, "overlay.mp4")
        print(f"{flags.out}: a capture; {overlay} shows the tracking")
    return 0


def _folder(folder: str, flags: FlagValues) -> int:
    if flags.check:
        raise UsageError(f"--check looks at one video, {folder} is a folder")
    from jaxhead.app.folder import capture_folder

    return capture_folder(
        folder, flags.out, size=flags.size, fps=flags.fps, assets=flags.assets, jobs=flags.jobs,
        ray=flags.ray, head=None if flags.head == "mediapipe" else flags.head,
        photometric=flags.photometric, start=flags.start,
    )  # fmt: skip


def report(video: str, *, fps: float = 25.0, assets: str | None = None) -> str:
    """Returns what speaks for and against a video, with advice per finding.

    Args:
        video: a local video file.
        fps: frames a second that a capture of it would have.
        assets: folder of third-party models.

    Raises:
        InputError: bad video, no face, a missing model.
    """
    from jaxhead.captures.check import check

    with stages() as progress:
        return check(video, assets, fps=fps, progress=progress).text()


def capture(
    video: str,
    out: str,
    *,
    size: int = 512,
    fps: float = 25.0,
    assets: str | None = None,
    head: str | None = None,
    photometric: bool = False,
    start: str = "landmarks",
) -> None:
    """Makes a capture and counts its frames aloud.

    Args:
        video: a local video file.
        out: the capture folder to make.
        size: stored side in pixels.
        fps: frames a second.
        assets: folder of third-party models.
        head: KIND:PATH of the head model that is fitted, None for MediaPipe's landmarks.
        photometric: also fit it to the pixels.
        start: "landmarks", or "deca" to start FLAME's fit from DECA's codes.

    Raises:
        InputError: bad video, no face, an existing folder, a missing model, a head that cannot be
            fitted or started so.
    """
    from jaxhead.captures.record import record

    fitting: dict[str, Any] = {}
    if head is not None:
        from jaxhead.captures.fitting.request import FitRequest, record_options

        asked = FitRequest(head=head, photometric=photometric, start=start)
        fitting = record_options(asked, assets)
    with stages() as progress:
        record(video, out, size=size, fps=fps, assets=assets, progress=progress, **fitting)


def notes(path: str) -> list[str]:
    """Returns what the maker of a capture should know: several faces, sound, frames without one.

    Args:
        path: the capture folder.
    """
    from jaxhead.captures.validate import read_info

    info = read_info(pathlib.Path(path))
    found = [str(note) for note in info.get("notes", [])]
    for kind, done in (("interpolated", "interpolated"), ("dropped", "in neither split")):
        for run in info[kind]:
            first, last = run["first"], run["last"]
            where = f"frame {first} is" if first == last else f"frames {first} to {last} are"
            found.append(f"{where} {done}: {run['reason']}")
    if len(found) > _MOST_NOTES:
        rest = len(found) - _MOST_NOTES
        found = [*found[:_MOST_NOTES], f"and {rest} more, see {os.path.join(path, 'capture.json')}"]
    return found
