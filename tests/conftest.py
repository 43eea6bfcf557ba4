"""Settings that must stand before jax is imported, and shared fixtures."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    ).strip()

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def _folder(variable: str) -> pathlib.Path | None:
    value = os.environ.get(variable)
    path = pathlib.Path(value) if value else None
    return path if path is not None and path.is_dir() else None


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
