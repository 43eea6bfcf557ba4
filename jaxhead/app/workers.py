"""Jobs in processes of this machine: one that dies fails its own job, and nothing else.

Jobs and outcomes travel as JSON through pipes. The processes are spawned, since a fork of a process
with threads (jax has many) may hang; they end with their parent, however that ends.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from multiprocessing import connection as connections
from typing import Any

from jaxhead.app.devices import held_signals
from jaxhead.captures.folder import FAILED, Job, Outcome

_SECONDS_BETWEEN_SHARES = 0.5
_SECONDS_TO_END = 5.0

Event = tuple[int, float | Outcome]


def resolved(work: str) -> Callable[[Job, Callable[[float], None]], Outcome]:
    """Returns the function that "package.module:name" names."""
    module, _, name = work.partition(":")
    return getattr(importlib.import_module(module), name)


def run_locally(jobs: Sequence[Job], work: str, count: int) -> Generator[Event, None, None]:
    """Runs jobs in spawned processes and yields what happens.

    Args:
        jobs: what to do, in this order.
        work: "package.module:name" of a function (job, tell) -> Outcome, as
            `captures.folder.run_job` is one.
        count: most processes at a time.

    Returns:
        Pairs of a job's place in `jobs` and the share of it that is done, or, last, its outcome.
        Closing the iterator ends the processes.
    """
    waiting = collections.deque(range(len(jobs)))
    idle: list[_Worker] = []
    busy: dict[Any, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < count:
                idle = [worker for worker in idle if worker.process.is_alive()]
                worker = idle.pop() if idle else _Worker(work)
                busy[worker.connection] = worker
                worker.begin(waiting.popleft(), jobs)
            for ready in connections.wait(list(busy)):
                worker = busy[ready]
                said = worker.hear()
                yield worker.place, said
                if isinstance(said, Outcome):
                    del busy[ready]
                    if worker.process.exitcode is None:
                        idle.append(worker)
    finally:
        for worker in [*idle, *busy.values()]:
            worker.process.terminate()
        for worker in [*idle, *busy.values()]:
            worker.end()


class _Worker:
    """A process and our end of its pipe; `place` is that of its job."""

    def __init__(self, work: str):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, work), daemon=True)
        # The child begins with signals held too: it has said what it does with them before they
        # reach it.
        with held_signals():
            self.process.start()
        other.close()
        self.place = -1
        self.video = ""

    def begin(self, place: int, jobs: Sequence[Job]) -> None:
        """Hands the process a job. One that has died meanwhile is noticed when it is heard."""
        self.place, self.video = place, jobs[place].video
        try:
            self.connection.send_bytes(json.dumps(dataclasses.asdict(jobs[place])).encode())
        except OSError:
            pass

    def hear(self) -> float | Outcome:
        """Returns what the process says, or the failure of its job where it has died."""
        try:
            said = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.end()
            code = self.process.exitcode or 0
            reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            if code == -signal.SIGKILL:
                reason += ", of the system where memory ran out"
            return Outcome(FAILED, f"{self.video}: the process that captured it died ({reason})")
        return Outcome(**said) if isinstance(said, dict) else float(said)

    def end(self) -> None:
        """Waits for the process to end, a little."""
        self.process.join(_SECONDS_TO_END)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.connection.close()


def serve(connection: Any, work: str) -> None:
    """What a process does: the jobs that come through its pipe, until there are no more.

    Args:
        connection: its end of the pipe.
        work: see `run_locally`.
    """
    # Ctrl-C reaches all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Several processes share a GPU only if none of them takes most of its memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    run = resolved(work)
    last = 0.0

    def tell(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_SHARES:
            last = time.monotonic()
            connection.send_bytes(json.dumps(share).encode())

    while True:
        try:
            job = Job(**json.loads(connection.recv_bytes()))
        except EOFError:
            return
        outcome = run(job, tell)
        connection.send_bytes(json.dumps(dataclasses.asdict(outcome)).encode())


def _end_with_parent() -> None:
    """A parent that was killed cannot end its children, and a next one wants their places."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
