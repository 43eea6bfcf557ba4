"""The published networks through the verbs: three stages, stopped and gone on with."""

import dataclasses
import os
import signal

import numpy as np
import pytest

from jaxhead.rendering.requests import RenderOptions
from jaxhead.systems.adnerf import verbs
from jaxhead.systems.adnerf.config import AdnerfConfig
from jaxhead.systems.adnerf.nerf_config import NerfConfig, NerfFieldConfig, NerfSamplingConfig
from jaxhead.training import checkpoints
from jaxhead.training.loop import LoopConfig, checkpoint_folder
from tests.systems.adnerf.conftest import trained

TINY = AdnerfConfig(
    field="nerf",
    nerf=NerfConfig(
        field=NerfFieldConfig(depth=3, width=8, skip=1),
        sampling=NerfSamplingConfig(rays=40, torso_rays=20, coarse=4, fine=4),
        head_steps=6, smooth_from=2, torso_steps=2,
    ),
    loop=LoopConfig(steps_per_dispatch=1, log_every=1, save_every_seconds=0),
)  # fmt: skip
STAGES = {"head": 2, "attention": 4, "torso": 2}


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """An uninterrupted run of all stages."""
    out = tmp_path_factory.mktemp("published") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(verbs, "_sampler", lambda *_: lambda *_: None)
        assert trained(folder, out, TINY).step == STAGES["torso"]
    return out


def test_a_run_stopped_in_any_stage_goes_on_bit_for_bit(whole, folder, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def stop(stage, step, variables, where):
        if (stage.name, step) in {("attention", 3), ("torso", 1)}:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(verbs, "_sampler", lambda *_: stop)
    config = dataclasses.replace(TINY, loop=dataclasses.replace(TINY.loop, sample_every=1))
    stopped = trained(folder, out, config)
    assert (stopped.interrupted, stopped.step) == ("SIGTERM", 3)
    again = trained(None, out, config)
    assert (again.interrupted, again.step) == ("SIGTERM", 1)
    assert trained(None, out, config).interrupted is None
    for stage, steps in STAGES.items():
        wanted, found = (
            checkpoints.read_checkpoint(checkpoint_folder(run, stage), steps).state
            for run in (whole, out)
        )
        assert wanted.keys() == found.keys()
        for name, value in wanted.items():
            assert value.tobytes() == found[name].tobytes(), (stage, name)
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_its_pictures_are_finite_and_hold_the_torso(whole):
    stream = verbs.render_stream(whole, RenderOptions(split="test", frames=1))
    (shown,) = stream.frames
    assert shown["rgb"].shape == (48, 48, 3) and np.isfinite(shown["rgb"]).all()
    assert 0 <= shown["alpha"].min() and shown["alpha"].max() <= 1
