"""Host devices and the compilation cache, in processes of their own."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from jaxhead.app.devices import held_signals

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(code, **environment):
    own = ("XLA_FLAGS", "JAXHEAD_CACHE", "JAX_COMPILATION_CACHE_DIR")
    inherited = {k: v for k, v in os.environ.items() if k not in own}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**inherited, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_devices_are_made_and_the_cache_is_filled(tmp_path):
    code = (
        "from jaxhead.app.devices import prepare_jax; prepare_jax(3); import jax\n"
        "import jax.numpy as jnp\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.jit(lambda x: jnp.linalg.svd(x @ x))(jnp.ones((8, 8)))\n"
        "print(jax.local_device_count())"
    )
    result = _run(code, JAXHEAD_CACHE=str(tmp_path))
    assert result.stdout.strip() == "3", result.stderr
    assert list((tmp_path / "compiled").iterdir())


def test_the_users_own_flags_and_a_closed_home_are_respected(tmp_path):
    code = (
        "from jaxhead.app.devices import prepare_jax; prepare_jax(); import jax\n"
        "print(jax.local_device_count())\n"
        "from jaxhead.files.errors import ConfigurationError\n"
        "try: prepare_jax(3)\n"
        "except ConfigurationError as error: print(error)"
    )
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    result = _run(
        code,
        JAXHEAD_CACHE=str(blocked),
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert result.stdout.splitlines() == ["2", "--devices 3: this machine offers 2"], result.stderr


def test_signals_wait_for_the_end_of_the_block():
    after = False
    with pytest.raises(KeyboardInterrupt), held_signals():
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        # To this thread: one sent to the process may reach another, which holds nothing back.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        after = True
    signal.signal(signal.SIGINT, former)
    assert after and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
