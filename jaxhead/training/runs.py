"""The run folder: what one training is, written down so that it can be resumed and rendered.

    run.json        format, version, system, config, spec, seed, steps per stage, source capture,
                    code version
    inputs.npz      arrays of the capture that rendering needs
    checkpoints/    one folder per stage, written by Orbax
    metrics.jsonl   deterministic; times.jsonl: wall times; tensorboard/; samples/
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

import jaxhead
from jaxhead.files import arrays as array_files
from jaxhead.files import atomic
from jaxhead.files.errors import ConfigurationError, InputError
from jaxhead.training.configuration import from_document

Document = TypeVar("Document")
FORMAT, VERSION = "jaxhead-run", 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What run.json holds.

    Attributes:
      path: the folder.
      system: name of the system.
      config: its configuration as a JSON document.
      spec: what depends on the data (frame count, sizes), a JSON document.
      seed: of all randomness.
      minutes: the length the user asked for in minutes, else None.
      steps: {stage: steps}, filled as soon as a stage's length is known; fixed from then on.
      sources: [{"path", "digest", ...}] of the captures.
      code: version of jaxhead that made the run.
    """

    path: pathlib.Path
    system: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    spec: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    minutes: float | None = None
    steps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()
    code: str = jaxhead.__version__

    def inputs(self) -> dict[str, np.ndarray]:
        """The arrays of inputs.npz; InputError when the file is missing or damaged."""
        return array_files.read_npz(self.path / "inputs.npz", max_bytes=16 << 30)

    def config_as(self, kind: type[Document]) -> Document:
        """The configuration as a frozen dataclass; InputError where the document is none."""
        return self._as(kind, "config")

    def spec_as(self, kind: type[Document]) -> Document:
        """What depends on the data as a frozen dataclass; InputError where the document is none."""
        return self._as(kind, "spec")

    def _as(self, kind: type[Document], part: str) -> Document:
        try:
            return from_document(kind, getattr(self, part))
        except ConfigurationError as error:
            raise InputError(f"{self.path / 'run.json'}: {part}: {error}") from error

    def write(self) -> Run:
        """Write run.json at once; returns self."""
        fields = dataclasses.asdict(self)
        fields.pop("path")
        document = {"format": FORMAT, "version": VERSION, **fields}
        atomic.write_json(self.path / "run.json", document)
        return self


def is_run(path: str | pathlib.Path) -> bool:
    """Whether there is a run.json in the folder."""
    return (pathlib.Path(path) / "run.json").is_file()


def runs_in(folder: str | pathlib.Path) -> list[pathlib.Path]:
    """The runs that lie directly in a folder, by name; none where there is no such folder."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_run(path))


def create_run(
    path: str | pathlib.Path,
    *,
    system: str,
    config: Mapping[str, Any],
    spec: Mapping[str, Any] | None = None,
    seed: int = 0,
    sources: tuple[Mapping[str, Any], ...] = (),
    inputs: Mapping[str, np.ndarray] | None = None,
) -> Run:
    """A new run folder with inputs.npz and, last, run.json.

    Args:
      path: a new or empty folder, or one whose creation was interrupted before run.json.
      system, config, spec, seed, sources: see `Run`.
      inputs: {name: array} that rendering needs.

    Raises:
      InputError: there is a run already, or something else in the folder.
    """
    path = pathlib.Path(path)
    if is_run(path):
        raise InputError(f"{path}: holds a run already, expected a new folder")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, expected a new folder")
    if path.is_dir():
        others = sorted(p.name for p in path.iterdir()
                        if p.name not in ("inputs.npz", "run.lock") and not p.name.startswith("."))
        if others:
            raise InputError(f"{path}: holds {others[0]} and no run, expected a new folder")
    path.mkdir(parents=True, exist_ok=True)
    atomic.clean_leftovers(path)
    array_files.write_npz(path / "inputs.npz", inputs or {})
    return Run(path=path, system=system, config=config, spec=spec or {}, seed=seed,
               sources=tuple(sources)).write()


def load_run(path: str | os.PathLike) -> Run:
    """The run of a folder.

    Raises:
      InputError: no run, damaged, or written by another version of the format.
    """
    path = pathlib.Path(path)
    file = path / "run.json"
    if not file.is_file():
        raise InputError(f"{path}: not a run, expected a folder with run.json")
    try:
        document = json.loads(file.read_bytes())
        kind, version = document.pop("format"), document.pop("version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: not a {FORMAT} document ({error!r})") from error
    if kind != FORMAT or version != VERSION:
        raise InputError(f"{file}: format {kind!r} version {version!r}, "
                         f"this program reads {FORMAT!r} version {VERSION}")
    return Run(path=path, **_checked(file, document))


def _checked(file: pathlib.Path, document: dict[str, Any]) -> dict[str, Any]:
    kinds = {"system": str, "config": dict, "spec": dict, "seed": int, "steps": dict,
             "sources": list, "code": str, "minutes": (int, float, type(None))}
    for name, kind in kinds.items():
        if name not in document or not isinstance(document[name], kind):
            raise InputError(f"{file}: {name} is missing or of the wrong type")
    for source in document["sources"]:
        if not isinstance(source, dict) or any(
            not isinstance(source.get(name), str) for name in ("path", "digest")
        ):
            raise InputError(f"{file}: source {source!r}, expected its path and digest")
    unknown = sorted(set(document) - set(kinds))
    if unknown:
        raise InputError(f"{file}: unknown entry {unknown[0]!r}")
    for stage, steps in document["steps"].items():
        if not isinstance(steps, int) or steps < 1:
            raise InputError(f"{file}: steps of {stage} is {steps!r}, expected a positive integer")
    return {**document, "sources": tuple(document["sources"])}
