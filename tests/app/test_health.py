"""The health of checkpoints."""

import dataclasses
import json

import numpy as np

from jaxhead.app.health import checkpoint_health, health_table
from jaxhead.app.main import main
from jaxhead.training import runs
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


def test_a_run_is_listed_with_steps_sizes_and_health(tmp_path, capsys):
    run = runs.create_run(tmp_path / "r", system="toy", config={}, seed=4)
    dataclasses.replace(run, steps={"field": 30}).write()
    folder = tmp_path / "r" / "checkpoints" / "field"
    writer = Checkpoints(folder, keep=2)
    for step, score in ((10, 0.9), (20, 0.1)):
        writer.save(step, {"w": np.arange(500, dtype=np.float32) * step}, {}, score)
    writer.close()
    listed = ["evaluate", str(tmp_path / "r"), "--list", "--json", str(tmp_path / "list.json")]
    assert main(listed) == 0
    text = capsys.readouterr().out
    assert "system toy, seed 4" in text and "goes on at step 20 of 30" in text
    assert "| field | 10 | 0.0 | good, best |" in text and "| field | 20 | 0.0 | good |" in text
    one, two = json.loads((tmp_path / "list.json").read_text())["checkpoints"]
    assert (one["step"], one["best"], two["step"], two["damage"]) == (10, True, 20, "")
    assert two["size"] > 1000
    (folder / "20" / "meta" / "metadata").write_bytes(b"{}")
    (tmp_path / "r" / "nonfinite.json").write_text("{}")
    assert main(listed[:3]) == 1
    text = capsys.readouterr().out
    assert "goes on at step 10 of 30" in text and "damaged" in text and "--replay" in text
    assert main(["evaluate", str(tmp_path / "nothing"), "--list"]) == 1
