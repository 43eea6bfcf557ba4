"""One process of one layout of `experiments.benchmarks.scaling`: prints seconds per step."""

from __future__ import annotations

import sys

import jax

from experiments.benchmarks.field_stage import field_stage
from jaxhead.training import processes
from jaxhead.training.cluster import Cluster
from jaxhead.training.state import create_state, root_key, stream
from jaxhead.training.stepping import Stepper

LENGTH = 8


def main() -> None:
    """Takes HOST:PORT PROCESSES PROCESS BATCH LOG2_SIZE SECONDS."""
    address, count, process, batch, log2_size = sys.argv[1], *map(int, sys.argv[2:6])
    several = Cluster(address, count, process) if count > 1 else None
    with processes.joined(several):
        stage = field_stage(batch=batch, log2_size=log2_size)
        state = create_state(stage, stage.system.init(stream(root_key(0, stage.name), "init")))
        stepper = Stepper(
            stage, seed=0, devices=jax.local_devices(), length=LENGTH, state=state, frozen={}
        )
        print(stepper.step_time({"points": {}}, {}, float(sys.argv[6])))


if __name__ == "__main__":
    main()
