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
    """

    stage: str
    step: int
    size: int
    damage: str


def checkpoint_health(run: str | os.PathLike) -> list[CheckpointHealth]:
    """Returns the state of every checkpoint of a run, by stage and step.

    Args:
        run: the run folder.
    """
    from jaxhead.training.checkpoints import read_checkpoint, size_on_disk, steps_in

    found = []
    root = pathlib.Path(run) / "checkpoints"
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        for step in steps_in(folder):
            damage = ""
            try:
                read_checkpoint(folder, step)
            except Exception as error:  # every reader below raises its own kinds
                damage = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            size = size_on_disk(folder / str(step))
            found.append(CheckpointHealth(folder.name, step, size, damage))
    return found


def health_table(checkpoints: list[CheckpointHealth]) -> str:
    """Returns a Markdown table of the checkpoints."""
    lines = ["| checkpoint | step | MB | health |", "|---|---|---|---|"]
    for one in checkpoints:
        state = f"damaged: {one.damage}" if one.damage else "good"
        lines.append(f"| {one.stage} | {one.step} | {one.size / 1e6:.1f} | {state} |")
    return "\n".join(lines) + "\n"
