"""The reader of goldens regenerates weights from names and finds files by what they hold."""

import json

import numpy as np
import pytest
from goldens_reader import fill, known_goldens, load_golden, load_goldens


def _write(path, *, config=None, keys=None, inputs=None, system="toy net", module="Block"):
    manifest = dict(system=system, module=module, source="", salt="s", notes="",
                    config=config or {}, keys=keys or {})
    arrays = {f"in/{k}": v for k, v in (inputs or {}).items()}
    np.savez(path, manifest=np.array(json.dumps(manifest)), **arrays, **{"out/y": np.zeros(2)})


def test_fill_depends_on_name_and_salt_only():
    a = fill("net.weight", (3, 4), "s")
    assert a.dtype == np.float32
    np.testing.assert_array_equal(a, fill("net.weight", [3, 4], "s"))
    assert not np.array_equal(a, fill("net.weight", (3, 4), "t"))
    assert not np.array_equal(a, fill("net.bias2", (3, 4), "s"))


def test_fill_knows_the_kinds_of_weights():
    assert fill("bn.num_batches_tracked", (), "s").dtype == np.int64
    assert np.all(fill("bn.running_var", (50,), "s") >= 0.5)
    assert np.abs(fill("bn.running_mean", (50,), "s")).max() < 0.6
    assert np.all(fill("c.weight_g", (50, 1), "s") >= 0.5)
    assert abs(fill("norm.weight", (500,), "s").mean() - 1) < 0.05
    assert abs(fill("l.weight", (50, 400), "s").std() * 20 - 1) < 0.05


def test_scale_shift_and_replaced_state(tmp_path):
    keys = {"a.weight": [2, 3], "a.bias": [2], "b.bias": [2]}
    _write(tmp_path / "g.npz", keys=keys, inputs={"x": np.ones(2), "state:b.bias": np.full(2, 7.0)},
           config={"scale": {"a.weight": 2.0}, "shift": {"a.bias": 1.0}})
    golden = load_golden(tmp_path / "g.npz")
    np.testing.assert_array_equal(golden.weights["a.weight"], 2 * fill("a.weight", (2, 3), "s"))
    np.testing.assert_array_equal(golden.weights["a.bias"], 1 + fill("a.bias", (2,), "s"))
    np.testing.assert_array_equal(golden.weights["b.bias"], np.full(2, 7.0))
    assert set(golden.inputs) == {"x"}


def test_weight_scale_gives_unit_gain(tmp_path):
    keys = {"mapping.fc0.weight": [2, 3], "conv.weight": [2, 3, 3]}
    _write(tmp_path / "g.npz", keys=keys, config={"weight_scale": "sqrt_fan_in"})
    weights = load_golden(tmp_path / "g.npz").weights
    for name, gain in (("mapping.fc0.weight", 100 * 3**0.5), ("conv.weight", 3.0)):
        expected = fill(name, keys[name], "s") * gain
        np.testing.assert_allclose(weights[name], expected, rtol=1e-6)


def test_goldens_are_found_by_manifest_not_by_name(tmp_path, capsys):
    _write(tmp_path / "z.npz", config={"rule": "one"})
    _write(tmp_path / "y.npz", config={"rule": "two"})
    _write(tmp_path / "x.npz", system="other")
    assert [g.name for g in load_goldens(tmp_path, system="TOY", module="block")] == ["y", "z"]
    assert [g.name for g in known_goldens(tmp_path, module="Block", rule="one")] == ["z"]
    assert "1 goldens compared" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="no golden of"):
        known_goldens(tmp_path, system="absent")


def test_compare_is_relative_to_the_largest_magnitude(tmp_path):
    _write(tmp_path / "g.npz")
    golden = load_golden(tmp_path / "g.npz")
    golden.outputs["y"] = np.array([1000.0, 0.0])
    golden.compare("y", np.array([1000.05, -0.05]))
    with pytest.raises(AssertionError, match="largest error"):
        golden.compare("y", np.array([1000.0, 0.2]))
    with pytest.raises(AssertionError, match="shape"):
        golden.compare("y", np.zeros(3))
    with pytest.raises(AssertionError, match="not finite"):
        golden.compare("y", np.array([np.nan, 0]))
