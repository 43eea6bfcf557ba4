"""A folder of videos as jobs: which there are, what their captures are called, which are done.

A job is done where the folder of its capture holds a whole one of the same bytes and settings, so
that doing a folder again does what is left. What is there and is something else is never replaced.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import pathlib
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from jaxhead.captures.fitting.request import FitRequest, record_options
from jaxhead.captures.validate import file_digest, read_info
from jaxhead.files.errors import InputError

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
# What a capture spends its time on, about the same on each; those in the middle of a fitted head.
_STAGES = ("landmarks", "start", "head", "pixels", "frames", "sway")


@dataclasses.dataclass(frozen=True)
class Job:
    """One video to capture; plain values, so that it travels as JSON.

    Attributes:
      name: of the capture, unique in its folder.
      video: the video file; out: the capture folder to make.
      size, fps, assets: as in `captures.record.record`.
      head, photometric, start: as in `captures.fitting.request.FitRequest`; head None for
        MediaPipe's landmarks as the mesh.
    """

    name: str
    video: str
    out: str
    size: int
    fps: float
    assets: str | None
    head: str | None = None
    photometric: bool = False
    start: str = "landmarks"

    @property
    def request(self) -> FitRequest | None:
        """The statistical head that is fitted, None for none."""
        if self.head is None:
            return None
        return FitRequest(head=self.head, photometric=self.photometric, start=self.start)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a job ended; plain values.

    Attributes:
      status: DONE, SKIPPED or FAILED.
      note: one line: what was made, or why not.
      detail: the traceback where the reason is a bug of ours, else empty.
    """

    status: str
    note: str
    detail: str = ""


def find_videos(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The video files of a folder by their suffix, sorted; hidden ones and subfolders are left out.

    Raises:
      InputError: there is none, or the folder cannot be read.
    """
    try:
        entries = sorted(pathlib.Path(folder).iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    found = [
        entry
        for entry in entries
        if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    if not found:
        raise InputError(f"{folder}: holds no video ({', '.join(SUFFIXES)})")
    return found


def plan(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    size: int,
    fps: float,
    assets: str | os.PathLike | None = None,
    request: FitRequest | None = None,
) -> list[Job]:
    """The jobs of a folder of videos, those first whose capture seems to be there.

    What is there only has to be looked at, and then the time that the rest takes can be told.

    Args:
      folder: of videos; out: of captures, need not exist.
      size, fps, assets: as in `captures.record.record`.
      request: the statistical head that is fitted to each, None for none.

    Raises:
      InputError: no videos, or `out` cannot hold captures.
    """
    source, target = pathlib.Path(folder), pathlib.Path(out)
    if target.exists():
        if not target.is_dir():
            raise InputError(f"{out}: exists and is not a folder, expected one for captures")
        if target.samefile(source):
            raise InputError(f"{out}: is the folder of the videos, expected another for captures")
        if (target / "capture.json").exists():
            raise InputError(f"{out}: is a capture itself, expected a folder for captures")
    videos = find_videos(source)
    models = None if assets is None else os.fspath(assets)
    fitting = {} if request is None else dataclasses.asdict(request)
    jobs = [
        Job(name, str(video), str(target / name), size, fps, models, **fitting)
        for video, name in zip(videos, capture_names([v.name for v in videos], target))
    ]
    return sorted(jobs, key=lambda job: not os.path.lexists(job.out))


def capture_names(files: Sequence[str], out: pathlib.Path) -> list[str]:
    """What the captures of files are called: without the suffix, unless that is ambiguous.

    Files that differ in nothing but the suffix or in case keep their whole name, if need be with a
    digest of it. A capture that an earlier run made keeps its name whatever was added since.

    Args:
      files: names of videos, without folders.
      out: the folder of captures.
    """
    forms = [_forms(file) for file in files]
    stems = collections.Counter(form[0].casefold() for form in forms)
    levels = []
    for file, form in zip(files, forms):
        doubtful = stems[form[0].casefold()] > 1 or any((out / n).is_dir() for n in form[1:])
        kept = [k for k, n in enumerate(form) if _source(out / n) == file] if doubtful else []
        levels.append((kept[0], True) if kept else (0, False))
    while True:
        names = [form[level] for form, (level, _) in zip(forms, levels)]
        count = collections.Counter(name.casefold() for name in names)
        clash = [k for k, name in enumerate(names) if count[name.casefold()] > 1]
        free = [k for k in clash if not levels[k][1] and levels[k][0] + 1 < len(forms[k])]
        if not clash:
            return names
        if not free:
            raise InputError(f"{files[clash[0]]}: two videos would be called {names[clash[0]]}")
        for k in free:
            levels[k] = (levels[k][0] + 1, False)


def _forms(file: str) -> tuple[str, str, str]:
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:8]
    return pathlib.Path(file).stem, file, f"{file}-{digest}"


def _source(folder: pathlib.Path) -> str | None:
    """The file name of the video that a capture was made of, None where there is no capture."""
    try:
        return read_info(folder)["source"]["name"]
    except (InputError, LookupError, TypeError):
        return None


def finished(job: Job) -> bool:
    """Whether the job's capture is there and whole, of the same video and settings.

    Raises:
      InputError: something else is in its place.
    """
    out = pathlib.Path(job.out)
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return False
    info = read_info(out)
    source = info.get("source")
    source = source if isinstance(source, dict) else {}
    made, asked = (info["size"], info["fps"]), ([job.size, job.size], job.fps)
    if made != asked:
        raise InputError(
            f"{out}: exists already, of size {made[0][0]} and {made[1]:g} frames/s, expected "
            f"{job.size} and {job.fps:g}, or another folder"
        )
    fitted, wanted = _fitting_of(info), None if job.request is None else job.request.described()
    if fitted != wanted:
        raise InputError(
            f"{out}: exists already, fitted with {_said(fitted)}, expected {_said(wanted)}, or "
            "another folder"
        )
    missing = [name for name in info["files"] if not (out / name).is_file()]
    if missing:
        raise InputError(f"{out / missing[0]}: missing from a capture; delete it to make it anew")
    if source.get("sha256") != file_digest(job.video):
        raise InputError(f"{out}: exists already, a capture of another video; delete or rename it")
    return True


def _fitting_of(info: dict[str, Any]) -> dict[str, Any] | None:
    """How a capture says that it was fitted, None for MediaPipe's mesh."""
    if "fitting" in info:
        return info["fitting"]
    # Of a head that nothing but its name is known of.
    tracking = info.get("tracking")
    name = tracking.get("head") if isinstance(tracking, dict) else None
    return None if name is None else {"head": name}


def _said(fitting: Any) -> str:
    if not isinstance(fitting, dict):
        return "no head model" if fitting is None else "something unknown"
    words = [str(fitting.get("head"))]
    if fitting.get("sha256"):
        words.append(f"of SHA-256 {str(fitting['sha256'])[:8]}")
    if fitting.get("photometric"):
        words.append("to the pixels")
    if fitting.get("start"):
        words.append(f"from {fitting['start']}")
    return " ".join(words)


def run_job(job: Job, tell: Callable[[float], None]) -> Outcome:
    """Capture one video unless that is done; whatever goes wrong becomes an outcome.

    Args:
      job: what to do.
      tell: gets the share of the work that is done, in [0, 1].
    """
    from jaxhead.captures.record import record

    own = {"start": job.start == "deca", "head": job.head is not None, "pixels": job.photometric}
    stages = [stage for stage in _STAGES if own.get(stage, True)]

    def progress(stage: str, done: int, total: int) -> None:
        if stage in stages:
            share = min(1.0, done / max(total, 1))
            tell((stages.index(stage) + share) / len(stages))

    try:
        if finished(job):
            return Outcome(SKIPPED, "its capture is there")
        record(
            job.video, job.out, size=job.size, fps=job.fps, assets=job.assets, progress=progress,
            **record_options(job.request, job.assets),
        )  # fmt: skip
        info = read_info(pathlib.Path(job.out))
        lost = sum(run["last"] - run["first"] + 1 for run in info["dropped"])
        return Outcome(DONE, f"{info['frames']} frames" + (f", {lost} dropped" if lost else ""))
    except InputError as error:
        return Outcome(FAILED, str(error))
    except OSError as error:
        return Outcome(FAILED, f"{error.filename or job.video}: {error.strerror or error}")
    except Exception as error:  # the other videos are not to blame
        reason = (str(error).splitlines() or [""])[0][:200]
        note = f"{job.video}: {type(error).__name__}: {reason} (a bug)"
        return Outcome(FAILED, note, traceback.format_exc())
