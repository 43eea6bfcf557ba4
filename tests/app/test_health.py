"""The health of checkpoints."""

import numpy as np

from jaxhead.app.health import checkpoint_health, health_table
from jaxhead.training.checkpoint_writer import Checkpoints


def test_a_run_without_checkpoints(tmp_path):
    assert checkpoint_health(tmp_path) == []
    assert health_table([]).count("\n") == 2


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = tmp_path / "checkpoints" / "field"
    writer = Checkpoints(folder, keep=2)
    for step in (10, 20):
        writer.save(step, {"w": np.arange(500, dtype=np.float32) * step}, {})
    writer.close()
    assert [(c.stage, c.step, c.damage) for c in checkpoint_health(tmp_path)] == [
        ("field", 10, ""),
        ("field", 20, ""),
    ]
    for path in (folder / "20" / "meta").rglob("*"):
        if path.is_file():
            path.write_bytes(b"{}")
    good, bad = checkpoint_health(tmp_path)
    assert not good.damage and bad.damage
    assert "damaged" in health_table([good, bad])
