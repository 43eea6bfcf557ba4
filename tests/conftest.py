"""Settings that must stand before jax is imported, and shared fixtures."""

import gc
import os
import pathlib
import shutil
import socket
import sys
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    ).strip()

# Many tests compile the same programs: workers and the processes that tests start inherit a folder.
_COMPILED = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _COMPILED = tempfile.mkdtemp(prefix="jaxhead-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_unconfigure():
    """Only the process that made the folder of compiled programs knows its name."""
    if _COMPILED is not None:
        shutil.rmtree(_COMPILED, ignore_errors=True)


_MOST_MAPS = 20_000
"""Memory maps of a process at which it drops its programs: Linux allows 65,530 by default, and XLA,
which makes several per program, crashes when it gets no more."""


def pytest_runtest_teardown(item, nextitem):
    """Drops compiled programs between files, long before a process runs out of memory maps."""
    if "jax" not in sys.modules or (nextitem is not None and nextitem.path == item.path):
        return
    maps = pathlib.Path("/proc/self/maps")
    if maps.is_file() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        sys.modules["jax"].clear_caches()
        gc.collect()


def _folder(variable: str) -> pathlib.Path | None:
    value = os.environ.get(variable)
    path = pathlib.Path(value) if value else None
    return path if path is not None and path.is_dir() else None


@pytest.fixture
def unconnected(monkeypatch):
    """A test in which no Python code can connect, send or listen; what native code does is not
    seen.
    """

    class Guarded(socket.socket):
        """Orbax's event loops wake themselves through a pair of sockets, which is no connection."""

        def connect(self, *_):
            raise AssertionError("a connection was opened")

        connect_ex = bind = listen = sendto = connect

    monkeypatch.setattr(socket, "socket", Guarded)
    with pytest.raises(AssertionError):
        socket.create_connection(("127.0.0.1", 9))


@pytest.fixture(scope="session")
def goldens() -> pathlib.Path:
    """The folder of goldens: $JAXHEAD_GOLDENS or tests/goldens."""
    return _folder("JAXHEAD_GOLDENS") or ROOT / "tests" / "goldens"


@pytest.fixture(scope="session")
def assets() -> pathlib.Path:
    """The folder of third-party models; the test is skipped where there is none."""
    path = _folder("JAXHEAD_ASSETS")
    if path is None or not (path / "face_landmarker.task").is_file():
        pytest.skip("needs $JAXHEAD_ASSETS with face_landmarker.task")
    return path


@pytest.fixture(scope="session")
def clips() -> pathlib.Path:
    """The folder of real clips; the test is skipped where there is none."""
    path = _folder("JAXHEAD_CLIPS")
    if path is None or not (path / "may_5s.mp4").is_file():
        pytest.skip("needs $JAXHEAD_CLIPS with may_5s.mp4")
    return path
