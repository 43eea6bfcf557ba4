"""What the host measures anew at a few steps of a training, with what is trained so far.

A revision is a file of the run, `revised/STAGE_STEP.npz`, written whole before the step after it
runs: whoever goes on from a later checkpoint reads it, whoever comes to its step makes it again.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np

from jaxhead.files import arrays as array_files
from jaxhead.files.errors import InputError
from jaxhead.training import processes
from jaxhead.training.feeding import Feeding
from jaxhead.training.system import Stage, Variables

FOLDER = "revised"


def revision_file(run: pathlib.Path, stage: str, step: int) -> pathlib.Path:
    """Where the revision at a step lies."""
    return run / FOLDER / f"{stage}_{step:08d}.npz"


def newest_revision(run: pathlib.Path, stage: str, step: int) -> dict[str, np.ndarray]:
    """The arrays of the last revision up to a step; empty where there was none.

    Raises:
      InputError: it is damaged.
    """
    files = _files(run, stage, step)
    return array_files.read_npz(files[-1]) if files else {}


def all_made(stage: Stage, run: pathlib.Path, total: int) -> bool:
    """Whether a stage of `total` steps has its last revision; all processes must ask alike."""
    if stage.revision is None:
        return True
    file = revision_file(run, stage.name, stage.revision.steps(total)[-1])
    return processes.from_first(file.is_file)


def _files(run: pathlib.Path, stage: str, step: int) -> list[pathlib.Path]:
    """Files of revisions up to a step, ascending."""
    files = sorted((run / FOLDER).glob(f"{stage}_{'[0-9]' * 8}.npz"))
    return [file for file in files if int(file.stem[-8:]) <= step]


class Revising:
    """The revisions of one stage of one training.

    Args:
      stage: the recipe.
      run: folder of the run.
      feeding: its feeds, whose arrays are brought to what they were at `step`.
      step: finished steps; total: of the stage.
      say: gets lines for a person.

    Raises:
      InputError: a file that the checkpoint was trained with is missing or damaged.
    """

    def __init__(
        self, stage: Stage, run: pathlib.Path, feeding: Feeding, step: int, total: int,
        say: Callable[[str], None],
    ):
        self._stage, self._run, self._feeding, self._say = stage, run, feeding, say
        self._steps = tuple(stage.revision.steps(total)) if stage.revision else ()
        if not self._steps:
            self._left: list[int] = []
            return
        # The first process may be ahead and write one: what is there is what it found.
        names = processes.from_first(lambda: [f.name for f in _files(run, stage.name, step)])
        files = [run / FOLDER / name for name in names]
        here = self._file(step) in files
        self._left = [s for s in self._steps if s > step or (s == step and not here)]
        # Of a run that was made longer, the steps of what it has are not those of now.
        planned = [s for s in self._steps if s < step]
        if files:
            self._read(files[-1])
        elif planned:
            raise InputError(f"{self._file(planned[-1])}: missing, the checkpoint of step {step} "
                             "was trained with it")  # fmt: skip

    def ends(self) -> list[int]:
        """Steps at which a dispatch has to end."""
        return self._left[:1]

    def due(self, step: int) -> bool:
        """Whether there is a revision to make before the step after `step`."""
        return bool(self._left) and self._left[0] <= step

    def revise(
        self, variables: Callable[[], Variables], signal: Callable[[], str | None]
    ) -> str | None:
        """Make the revision that is due; returns the signal that cut it short, if one did.

        With several processes the first one measures, and only its signals are seen meanwhile.

        Args:
          variables: those that rendering would use.
          signal: name of the signal that this process got, or None; asked now and then.
        """
        assert self._stage.revision is not None
        step, revision = self._left[0], self._stage.revision
        file, last = self._file(step), step == max(self._steps)

        def make() -> str | None:
            file.parent.mkdir(exist_ok=True)
            arrays = dict(self._feeding.host(revision.feed))
            made = revision.measure(
                variables(), arrays, last, self._say, lambda: signal() is not None
            )
            if made is None:
                return signal()
            array_files.write_npz(file, made)
            return None

        cut = processes.from_first(make)
        if cut is None:
            self._read(file)
            self._left.pop(0)
        return cut

    def follow(self) -> None:
        """Take the revision that is due from its file, as a replay does."""
        self._read(self._file(self._left.pop(0)))

    def _file(self, step: int) -> pathlib.Path:
        return revision_file(self._run, self._stage.name, step)

    def _read(self, file: pathlib.Path) -> None:
        assert self._stage.revision is not None
        self._feeding.replace(self._stage.revision.feed, array_files.read_npz(file), file)
