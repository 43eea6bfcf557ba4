"""`jaxhead capture`: a video becomes a capture, or a report on how suitable it is."""

from __future__ import annotations

import contextlib
import os

from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import Arguments, UsageError
from jaxhead.app.outputs import refuse_existing
from jaxhead.app.progress import Counter


def run(arguments: Arguments) -> int:
    """Checks or captures as the flags say; returns the exit code."""
    flags = arguments.flags
    video = arguments.positionals[0]
    if not flags.out and not flags.check:
        raise UsageError("--out is missing (or --check, for a report alone)")
    if flags.out:
        refuse_existing(flags.out)
    from jaxhead.files.video import probe

    # Whatever is no video is refused before jax and the models are loaded.
    probe(video)
    prepare_jax()
    if flags.check:
        print(report(video, fps=flags.fps, assets=flags.assets))
    if flags.out:
        capture(video, flags.out, size=flags.size, fps=flags.fps, assets=flags.assets)
        overlay = os.path.join(flags.out, "overlay.mp4")
        print(f"{flags.out}: a capture; {overlay} shows the tracking")
    return 0


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

    with _stages() as progress:
        return check(video, assets, fps=fps, progress=progress).text()


def capture(
    video: str, out: str, *, size: int = 512, fps: float = 25.0, assets: str | None = None
) -> None:
    """Makes a capture and counts its frames aloud.

    Args:
        video: a local video file.
        out: the capture folder to make.
        size: stored side in pixels.
        fps: frames a second.
        assets: folder of third-party models.

    Raises:
        InputError: bad video, no face, an existing folder, a missing model.
    """
    from jaxhead.captures.record import record

    with _stages() as progress:
        record(video, out, size=size, fps=fps, assets=assets, progress=progress)


@contextlib.contextmanager
def _stages():
    """A progress(stage, done, total) that shows one counter after the other."""
    with contextlib.ExitStack() as stack:
        counters: dict[str, Counter] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in counters:
                stack.close()
                counters[stage] = stack.enter_context(Counter(stage, total))
            counters[stage].reach(done, total)

        yield progress
