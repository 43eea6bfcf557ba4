"""Flags of a training by several processes, and joining them before jax starts a backend."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from absl import flags

from jaxhead.app.devices import prepare_jax
from jaxhead.app.flags import UsageError
from jaxhead.files.errors import ConfigurationError
from jaxhead.training.cluster import Cluster

_STUCK = "--xla_cpu_collective_call_warn_stuck_timeout_seconds"
# On a CPU the others would give process 0 up while it writes pictures; `training.processes` says
# by itself when one has died.
_PATIENT = (
    f"{_STUCK}=3600", "--xla_cpu_collective_call_terminate_timeout_seconds=86400",
    "--xla_cpu_collective_timeout_seconds=86400",
)  # fmt: skip


def define_cluster_flags(values: flags.FlagValues) -> None:
    """Defines the flags that say where the processes of a job find each other."""
    flags.DEFINE_string(
        "coordinator",
        None,
        "HOST:PORT of process 0, where one training runs as several processes",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "processes", None, "how many processes there are", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "process", None, "number of this process, from 0", lower_bound=0, flag_values=values
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "be one of several processes as SLURM, Open MPI, Kubernetes or a TPU pod says",
        flag_values=values,
    )


def cluster_of(values: flags.FlagValues) -> Cluster | None:
    """Returns what the flags say about other processes, None for a training of one process.

    Args:
        values: parsed flags of `define_cluster_flags`.

    Raises:
        UsageError: some of the flags without the others, or a number out of range.
    """
    names = ("coordinator", "processes", "process")
    given = [name for name in names if values[name].value is not None]
    if values.distributed:
        if given:
            raise UsageError(f"--distributed and --{given[0]} contradict each other")
        return Cluster()
    if not given:
        return None
    missing = [name for name in names if name not in given]
    if missing:
        raise UsageError(f"--{given[0]} needs --{missing[0]}")
    if not re.fullmatch(r"\S+:\d{1,5}", values.coordinator):
        raise UsageError(f"--coordinator {values.coordinator}: expected HOST:PORT")
    if values.process >= values.processes:
        raise UsageError(
            f"--process {values.process}: expected less than --processes {values.processes}"
        )
    return Cluster(values.coordinator, values.processes, values.process)


@contextlib.contextmanager
def joined(cluster: Cluster | None, devices: int | None) -> Iterator[None]:
    """Prepares jax, as `prepare_jax` does, and is one of the processes of a job for the block.

    Args:
        cluster: of `cluster_of`.
        devices: how many devices of each process are used, None for all.

    Raises:
        ConfigurationError: there are fewer devices, or the processes did not meet.
    """
    if cluster is None:
        prepare_jax(devices)
        yield
        return
    if _STUCK not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_PATIENT]).strip()
    prepare_jax(devices, started=False)
    import jax

    from jaxhead.training import processes

    with processes.joined(cluster):
        if devices is not None and jax.local_device_count() < devices:
            raise ConfigurationError(
                f"--devices {devices}: this process has {jax.local_device_count()}"
            )
        yield
