"""The health of a run's checkpoints: every one is read and compared with its digests."""

from __future__ import annotations

import dataclasses
import os
import pathlib


@dataclasses.dataclass(frozen=True)
class CheckpointHealth:
    """One checkpoint of a run.

    stage: name of the stage; step: its step; size: bytes on disk.
    damage: what is wrong with it, empty where nothing is.
    best: it has the highest score of its stage.
    """

    stage: str
    step: int
    size: int
    damage: str
    best: bool = False


def checkpoint_health(run: str | os.PathLike) -> list[CheckpointHealth]:
    """Returns the state of every checkpoint of a run, by stage and step.

    Args:
        run: the run folder.
    """
    from jaxhead.training.checkpoints import best_step, read_checkpoint, size_on_disk, steps_in

    found = []
    root = pathlib.Path(run) / "checkpoints"
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        best = best_step(folder)
        for step in steps_in(folder):
            damage = ""
            try:
                read_checkpoint(folder, step)
            except Exception as error:  # every reader below raises its own kinds
                damage = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            size = size_on_disk(folder / str(step))
            found.append(CheckpointHealth(folder.name, step, size, damage, step == best))
    return found


def health_table(checkpoints: list[CheckpointHealth]) -> str:
    """Returns a Markdown table of the checkpoints."""
    lines = ["| checkpoint | step | MB | health |", "|---|---|---|---|"]
    for one in checkpoints:
        state = f"damaged: {one.damage}" if one.damage else "good, best" if one.best else "good"
        lines.append(f"| {one.stage} | {one.step} | {one.size / 1e6:.1f} | {state} |")
    return "\n".join(lines) + "\n"


def overview(run: str | os.PathLike, checkpoints: list[CheckpointHealth]) -> str:
    """Returns what a run is and how far it came, and the table of its checkpoints.

    Args:
        run: the run folder.
        checkpoints: of `checkpoint_health`.

    Raises:
        InputError: no run, or a damaged description.
    """
    from jaxhead.training.nonfinite import FILE
    from jaxhead.training.runs import load_run

    loaded = load_run(run)
    lines = [f"{run}: system {loaded.system or 'unnamed'}, seed {loaded.seed}, "
             f"{sum(one.size for one in checkpoints) / 1e6:.1f} MB of checkpoints"]  # fmt: skip
    for stage, total in loaded.steps.items():
        good = [one.step for one in checkpoints if one.stage == stage and not one.damage]
        place = f"goes on at step {max(good)} of" if good else "has no good checkpoint of"
        lines.append(f"{stage}: {place} {total}" if not good or max(good) < total else
                     f"{stage}: finished, {total} steps")  # fmt: skip
    if (loaded.path / FILE).is_file():
        lines.append(f"a step was not finite: see {FILE} and `jaxhead train --replay`")
    return "\n".join([*lines, "", health_table(checkpoints)])
