"""Where the processes of a job find each other; known before jax is imported."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where the processes of a job find each other; None throughout: as the environment says.

    Attributes:
      coordinator: HOST:PORT at which process 0 listens.
      processes: how many there are.
      process: number of this one, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
