"""Jobs on a Ray cluster, or on a Ray of this machine alone; the extra `cluster` brings Ray.

Videos, captures and models lie on a file system that all machines of the cluster see under the same
paths, and jaxhead is installed on each. Ray's own transport moves jobs and outcomes.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import signal
import socket
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from jaxhead.app.workers import Event, resolved
from jaxhead.captures.folder import FAILED, Job, Outcome
from jaxhead.files.atomic import clean_leftovers
from jaxhead.files.errors import InputError
from jaxhead.files.native import capture_native_output

_SECONDS_TO_ANSWER = 10.0


def run_on_ray(
    jobs: Sequence[Job], work: str, count: int | None, address: str
) -> Generator[Event, None, None]:
    """Runs jobs as Ray tasks of one CPU each and yields what happens, as `run_locally` does.

    Shares of a job are not told. A task whose process or machine dies fails its job and is not
    tried again.

    Args:
        jobs: what to do, in this order.
        work: see `workers.run_locally`; imported where the task runs.
        count: most jobs at a time; None for as many as there are CPUs.
        address: "local" to start Ray on this machine for the time being, else of a cluster to join,
            as `ray.init` takes it ("auto", "ray://HOST:PORT", "HOST:PORT").

    Raises:
        InputError: Ray is not installed, or the cluster does not answer.
    """
    ray = _import_ray()
    with _connected(ray, count, address):
        limit = count or max(1, int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(num_cpus=1, max_retries=0)(_task)
        waiting = collections.deque(range(len(jobs)))
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < limit:
                place = waiting.popleft()
                running[task.remote(work, jobs[place])] = place
            for ended in ray.wait(list(running), num_returns=1)[0]:
                place = running.pop(ended)
                yield place, _outcome(ray, ended, jobs[place])


def _task(work: str, job: Job) -> Outcome:
    # What a killed task left behind can only be told apart on its own machine.
    clean_leftovers(pathlib.Path(job.out).parent)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return resolved(work)(job, lambda share: None)


def _outcome(ray: Any, ended: Any, job: Job) -> Outcome:
    try:
        return ray.get(ended)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:200]
        note = f"{job.video}: the task that captured it failed ({type(error).__name__}: {reason})"
        return Outcome(FAILED, note)


def _import_ray() -> Any:
    # Ray reports its usage to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "ray is not installed, and --ray needs it: pip install 'jaxhead[cluster]'"
        ) from error
    return ray


def _check_answer(address: str) -> None:
    """Raises InputError where nothing listens: Ray itself tries for more than ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray {address}: does not answer ({error})") from error


@contextlib.contextmanager
def _connected(ray: Any, count: int | None, address: str) -> Iterator[None]:
    _check_answer(address)
    options: dict[str, Any] = {"address": address}
    if address == "local":
        # Nothing outside this machine is asked to connect.
        options |= {"num_cpus": count, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with capture_native_output():
            ray.init(log_to_driver=False, logging_level="error", **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--ray {address}: cannot be reached ({reason})") from error
    finally:
        # Ray ends the process on SIGTERM in its own way; ours cleans up.
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()
