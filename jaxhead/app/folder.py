"""`jaxhead capture FOLDER`: every video of a folder becomes a capture; done ones are skipped."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxhead.app.devices import prepare_jax
from jaxhead.app.progress import Videos
from jaxhead.app.ray_workers import run_on_ray
from jaxhead.app.workers import run_locally
from jaxhead.captures.fitting.request import FitRequest, check_request
from jaxhead.captures.folder import DONE, FAILED, SKIPPED, Job, Outcome, plan, run_job
from jaxhead.files.atomic import clean_leftovers
from jaxhead.files.errors import InputError
from jaxhead.files.locks import RunLock

WORK = f"{__name__}:work"


def work(job: Job, tell: Callable[[float], None]) -> Outcome:
    """Does one job in the process that is there for it; see `captures.folder.run_job`."""
    prepare_jax()
    return run_job(job, tell)


def capture_folder(
    folder: str,
    out: str,
    *,
    size: int = 512,
    fps: float = 25.0,
    assets: str | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    head: str | None = None,
    photometric: bool = False,
    start: str = "landmarks",
) -> int:
    """Captures the videos of a folder, tells how far it is, and prints how each ended.

    Args:
        folder: of videos; subfolders are not looked into.
        out: a folder of captures, made where it is missing; complete ones in it are skipped.
        size: stored side in pixels.
        fps: frames a second.
        assets: folder of third-party models.
        jobs: most videos at a time; by default half of this machine's processors, on a cluster as
            many as it has.
        ray: None for processes of this machine, "local" for a Ray on it, else a cluster's address.
        head: KIND:PATH of the head model that is fitted to each video, None for MediaPipe's
            landmarks; on a cluster all machines find it there.
        photometric, start: as in `captures.fitting.request.FitRequest`.

    Returns:
        The exit code: 1 where a video failed.

    Raises:
        InputError: no videos, `out` is something else or in use, Ray is missing or not there, a
            head that cannot be fitted or started so.
    """
    request = None
    if head is not None:
        # What no video could be captured with is said once.
        request = FitRequest(head=head, photometric=photometric, start=start)
        check_request(request, assets)
    if ray is not None:
        # Tasks begin in folders of their own.
        folder, out = os.path.abspath(folder), os.path.abspath(out)
        assets = None if assets is None else os.path.abspath(assets)
        if request is not None:
            kind, _, path = request.head.partition(":")
            request = dataclasses.replace(request, head=f"{kind}:{os.path.abspath(path)}")
    planned = plan(folder, out, size=size, fps=fps, assets=assets, request=request)
    _make(out)
    with RunLock(out):
        clean_leftovers(out)
        if ray is None:
            count = min(jobs or default_jobs(), len(planned))
            events = run_locally(planned, WORK, count)
        else:
            events = run_on_ray(planned, WORK, jobs, ray)
        # Closed here, whatever happens: its end is that of the processes.
        with contextlib.closing(events), Videos(len(planned)) as videos:
            outcomes = _follow(planned, events, videos, out)
        clean_leftovers(out)
    print(table(planned, outcomes))
    return int(any(outcome.status == FAILED for outcome in outcomes))


def default_jobs() -> int:
    """Returns how many videos are captured at a time; each uses several threads."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)) // 2)
    return max(1, (os.cpu_count() or 1) // 2)


def table(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> str:
    """Returns one line per video, sorted by what became of it, and their numbers."""
    width = max(len(job.name) for job in jobs)
    lines = []
    for status in (DONE, SKIPPED, FAILED):
        rows = sorted((job.name, o.note) for job, o in zip(jobs, outcomes) if o.status == status)
        lines += [_shown(f"{status:<7}  {name:<{width}}  {note}") for name, note in rows]
    counted = collections.Counter(outcome.status for outcome in outcomes)
    return "\n".join([*lines, ", ".join(f"{counted[s]} {s}" for s in (DONE, SKIPPED, FAILED))])


def _make(out: str) -> None:
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror})") from error


def _follow(
    jobs: Sequence[Job], events: Iterator[Any], videos: Videos, out: str
) -> list[Outcome]:
    """What became of each job, told while it happens."""
    ended: dict[int, Outcome] = {}
    for place, said in events:
        if not isinstance(said, Outcome):
            videos.share(place, said)
            continue
        ended[place] = said
        if said.detail:
            print(said.detail, file=sys.stderr)
        if said.status == FAILED:
            clean_leftovers(out)
        line = _shown(f"{jobs[place].name}: {said.status}: {said.note}")
        videos.ended(place, line, free=said.status == SKIPPED)
    return [ended[place] for place in range(len(jobs))]


def _shown(text: str) -> str:
    """One line; control characters of hostile names are shown, not obeyed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
