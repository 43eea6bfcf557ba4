"""A run and where it came from: its configuration, which it keeps, and its capture, by digest."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

from jaxhead.captures.format import Capture, load_capture
from jaxhead.files.errors import InputError
from jaxhead.training.runs import Run


def refuse_contradiction(out: pathlib.Path, former: Any, config: Any) -> None:
    """InputError where a configuration contradicts that of the run in `out`.

    Its length (`steps`, of every part) and how it is driven (`loop`) may differ.
    """
    old = dict(_settings(former))
    for name, new in _settings(config):
        if new != old[name]:
            raise InputError(
                f"{out}: the run was made with {name}={old[name]}, {name}={new} contradicts it; "
                "a run keeps its configuration"
            )


def _settings(config: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("loop", "steps"):
            continue
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{at}{field.name}.")
        else:
            yield f"{at}{field.name}", value


def open_capture(run: Run, path: str | pathlib.Path | None) -> Capture:
    """The run's capture, at `path` or where the run last saw it; its digest must agree."""
    source = run.sources[0]
    capture = load_capture(path or source["path"])
    if capture.digest != source["digest"]:
        raise InputError(
            f"{capture.path}: capture {capture.digest[:12]}, the run {run.path} was made from "
            f"{source['digest'][:12]}"
        )
    return capture


def capture_at_hand(run: Run, path: str | None) -> tuple[Capture | None, tuple[str, ...]]:
    """The run's capture, None where it has moved and `path` does not say where to; and remarks."""
    if path is not None:
        return open_capture(run, path), ()
    recorded = run.sources[0]["path"]
    if not pathlib.Path(recorded).is_dir():
        return None, (f"the run's capture is not at {recorded}: no sound, no true frames",)
    return open_capture(run, None), ()
