"""One training by several processes: joining them, agreeing on values, and ending together.

Every process runs the same program on its own devices. What only one may do (make the run, write
metrics, pictures and checkpoints) process 0 does; what all must know it tells them through the
key-value store of JAX's coordinator, which touches no device. The run and its captures must lie on
a file system that all processes see.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxhead.files.errors import ConfigurationError, InputError
from jaxhead.training.cluster import Cluster

PATIENCE = 10.0
"""Seconds without a sign of life after which a process counts as dead."""
GRACE = 3.0
"""Seconds that a process has to finish what it writes once another one has ended."""
_HEARTBEAT = 40
"""Seconds without a heartbeat after which JAX aborts everything. Heartbeats come at half of this,
so it acts 20 to 40 s after a death: later than this module, which says more about it."""
_PREFIX = "jaxhead"
# How often this process has agreed; all processes of a job count alike, so that keys match.
_TURNS = itertools.count()


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def _client() -> Any:
    # JAX has no public way to its coordinator's store; Orbax uses this one too.
    from jax._src import distributed

    return distributed.global_state.client


def _waited(client: Any, key: str, seconds: float = 5.0) -> str | None:
    """The value of a key, or None when it is not there in time."""
    try:
        return client.blocking_key_value_get(key, int(1000 * seconds))
    except Exception as error:
        if "DEADLINE_EXCEEDED" in str(error):
            return None
        raise


def from_first(make: Callable[[], Any]) -> Any:
    """What `make` returns in process 0, in every process; all must call this in the same order.

    Args:
      make: called in process 0 only; returns a JSON value.

    Raises:
      InputError: `make` raised one; it is raised in every process.
    """
    if jax.process_count() == 1:
        return make()
    client, key = _client(), f"{_PREFIX}/first/{next(_TURNS)}"
    if is_first():
        try:
            value = make()
        except InputError as error:
            client.key_value_set(key, json.dumps({"error": str(error)}))
            raise
        client.key_value_set(key, json.dumps({"value": value}))
        return value
    text = None
    while text is None:  # as long as it takes: a process that has died ends the others
        text = _waited(client, key)
    answer = json.loads(text)
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]


def require_same(what: str, value: Any) -> None:
    """Return when all processes have the same value; all must call this in the same order.

    Args:
      what: for the error.
      value: JSON value of this process.

    Raises:
      InputError: in every process; it names the first process that differs from process 0.
    """
    if jax.process_count() == 1:
        return
    client, turn = _client(), next(_TURNS)
    mine = json.dumps(value, sort_keys=True)
    client.key_value_set(f"{_PREFIX}/same/{turn}/{jax.process_index()}", mine)

    def compare() -> None:
        for process in range(1, jax.process_count()):
            text = None
            while text is None:
                text = _waited(client, f"{_PREFIX}/same/{turn}/{process}")
            if text != mine:
                raise InputError(
                    f"{what}: process {process} has {text[:200]}, process 0 has {mine[:200]}; "
                    "expected the same in all processes"
                )
        client.key_value_delete(f"{_PREFIX}/same/{turn}/")

    from_first(compare)


class Silent:
    """Stands in for what process 0 alone writes to: every method does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@contextlib.contextmanager
def joined(cluster: Cluster | None) -> Iterator[None]:
    """Join the processes of a job for the block; with None nothing happens.

    When one process fails or dies, every other one says so in one line and exits with code 1,
    within about `PATIENCE` + `GRACE` seconds. Call before anything starts a backend.

    Raises:
      ConfigurationError: the environment does not describe a job, or the processes did not meet.
    """
    if cluster is None:
        yield
        return
    _initialize(cluster)
    watch = _Watch()
    try:
        yield
    except BaseException as error:
        watch.failed(error)
        raise
    from_first(lambda: None)  # the others wait for process 0's last pictures without a deadline
    watch.close()
    jax.distributed.shutdown()


def _initialize(cluster: Cluster) -> None:
    # JAX would catch SIGTERM for itself; here the training does, and all processes agree on it.
    jax.config.update("jax_enable_preemption_service", False)
    known = dataclasses.astuple(cluster)
    try:
        jax.distributed.initialize(
            *known,
            cluster_detection_method="deactivate" if None not in known else None,
            initialization_timeout=120,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
        jax.devices()  # all processes exchange what devices they have: they must do so now
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ConfigurationError(
            f"the processes did not join ({reason}); expected --coordinator HOST:PORT, --processes "
            "and --process, or --distributed inside a job of SLURM, Open MPI, Kubernetes or a TPU "
            "pod"
        ) from error


class _Watch:
    """A thread that shows that this process lives, and ends it when another one has ended."""

    def __init__(self):
        self._client = _client()
        self._me, self._count = jax.process_index(), jax.process_count()
        self._over = threading.Event()
        self._heard = {p: ("", time.monotonic()) for p in range(self._count)}
        _say_when_aborted(
            "the coordinator, process 0, has ended; this process ends too"
            if self._me
            else f"another one of {self._count} processes has died; all end, the same command goes "
            "on from the last checkpoint"
        )
        self._answers = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        if self._me:
            threading.Thread(target=self._guard, daemon=True).start()

    def _guard(self) -> None:
        # A coordinator whose machine is gone closes no connection: calls to it hang for long.
        # Seconds are counted by waiting for each, so that a process that was stopped starts afresh.
        answers, silent = 0, 0
        while not self._over.wait(1.0):
            silent = silent + 1 if self._answers == answers else 0
            answers = self._answers
            if silent > PATIENCE + GRACE:
                self._end("the coordinator, process 0, does not answer; this process ends too")

    def _work(self) -> None:
        for beat in itertools.count():
            try:
                self._client.key_value_set(
                    f"{_PREFIX}/alive/{self._me}", str(beat), allow_overwrite=True
                )
                message = self._dead() if self._me == 0 else None
                if message is not None:
                    self._client.key_value_set(f"{_PREFIX}/ended", message, allow_overwrite=True)
                message = _waited(self._client, f"{_PREFIX}/ended", 1.0)
            except Exception:  # the coordinator is gone: JAX aborts this process
                return
            self._answers += 1
            if self._over.is_set():
                return
            if message is not None:
                self._end(message)

    def _dead(self) -> str | None:
        """A line about the first process that has been silent for too long."""
        now = time.monotonic()
        for key, beat in self._client.key_value_dir_get(f"{_PREFIX}/alive/"):
            process = int(key.rpartition("/")[2])
            if self._heard[process][0] != beat:
                self._heard[process] = (beat, now)
        for process, (_, since) in self._heard.items():
            if process and now - since > PATIENCE:
                return (
                    f"process {process} of {self._count} has died, nothing was heard of it for "
                    f"{PATIENCE:.0f} s; all end, the same command goes on from the last checkpoint"
                )
        return None

    def _end(self, message: str) -> None:
        if self._over.wait(GRACE):  # this process is ending by itself
            return
        print(f"jaxhead: {message}", file=sys.stderr, flush=True)
        if self._me == 0:
            time.sleep(1.0)  # the others read the message here
        os._exit(1)

    def failed(self, error: BaseException) -> None:
        """Tell the others why this process ends, and let it exit without waiting for them."""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        self._over.set()
        with contextlib.suppress(Exception):
            message = f"process {self._me} of {self._count} stopped: {reason}"
            self._client.key_value_set(f"{_PREFIX}/ended", message, allow_overwrite=True)
        if self._me == 0:
            time.sleep(1.0)  # the others read the message here
        # JAX's own shutdown would wait for processes that may never come to it.
        atexit.register(_exit_now)

    def close(self) -> None:
        """Stop watching; the process lives on."""
        self._over.set()
        self._thread.join()


def _exit_now() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)


def _say_when_aborted(message: str) -> None:
    """One line of our own as the last one when JAX's runtime aborts the process."""
    line = f"jaxhead: {message}\n".encode()

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def told(number):
        os.write(2, line)
        os._exit(1)

    handle = ctypes.CDLL(None).signal
    handle.argtypes = [ctypes.c_int, ctypes.c_void_p]
    handle.restype = ctypes.c_void_p
    handle(signal.SIGABRT, ctypes.cast(told, ctypes.c_void_p))
    _KEPT.append(told)


_KEPT: list[Any] = []
"""Handlers that the C library calls: they must not be collected."""
