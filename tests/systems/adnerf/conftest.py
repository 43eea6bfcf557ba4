"""A tiny synthetic capture, and a tiny run of the fast variant, made once per test process."""

import pathlib

import numpy as np
import pytest

from jaxhead.captures.format import load_capture
from jaxhead.captures.synthetic import synthesize
from jaxhead.files.sound import write_wav
from jaxhead.systems.adnerf import verbs
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.hash_config import (
    FieldConfig,
    HashConfig,
    SamplingConfig,
    SpeechConfig,
    TorsoConfig,
)
from jaxhead.training.loop import LoopConfig
from jaxhead.training.progress import Progress

FAST = AdnerfConfig(
    field="hash",
    hash=HashConfig(
        speech=SpeechConfig(codes=32, dims=3, rest_dims=2),
        field=FieldConfig(
            levels=4, log2_size=10, base_resolution=8, finest_resolution=64, hidden=16,
            geometry_features=7,
        ),
        sampling=SamplingConfig(
            frames=4, head_rays=16, torso_rays=8, samples=8, segments=16, resolution=16,
            refresh_every=2, pool=8, rotate_every=100,
        ),
        torso=TorsoConfig(
            levels=4, log2_size=8, base_resolution=4, finest_resolution=32, hidden=16
        ),
        steps=8,
    ),
    loop=LoopConfig(steps_per_dispatch=2, log_every=1, save_every_seconds=0),
)  # fmt: skip
QUIET = Progress(quiet=True)


def trained(folder: pathlib.Path | None, out: pathlib.Path, config: AdnerfConfig, **options):
    """`verbs.train` on one device without words."""
    captures = [] if folder is None else [folder]
    return verbs.train(captures, out, config=config, devices=1, progress=QUIET, **options)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A synthetic capture of 12 training and 3 held-out frames of 48 pixels, with speech."""
    path = tmp_path_factory.mktemp("capture") / "made"
    return synthesize(path, frames=15, size=48, seed=1, novel_frames=0)


@pytest.fixture(scope="session")
def capture(folder):
    return load_capture(folder)


@pytest.fixture(scope="session")
def fast_run(folder, tmp_path_factory):
    """A run of eight steps without interruption or pictures."""
    out = tmp_path_factory.mktemp("fast") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(verbs, "_sampler", lambda *_: lambda *_: None)
        result = trained(folder, out, FAST)
    assert result.step == 8 and np.isfinite(result.loss)
    return out


@pytest.fixture
def wav(tmp_path):
    """Writes noise of so many samples and gives its path."""

    def write(count, rate=16000, level=0.1):
        path = tmp_path / f"{count}_{rate}.wav"
        write_wav(path, level * np.random.default_rng(0).standard_normal(count), rate)
        return path

    return write
