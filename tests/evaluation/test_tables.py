"""The table and the JSON of a report."""

import json

import pytest

from jaxhead.evaluation import tables


def _block(psnr, landmark=None):
    regions = {r: {"psnr": psnr, "ssim": 0.9, "l1": 0.01} for r in ("image", "person", "face")}
    block = {"frames": 25, **regions, "landmark_distance": landmark}
    if landmark is None:
        block["reasons"] = {"landmark_distance": "no landmark model is installed"}
    return block


REPORT = {
    "test": _block(32.156, 0.05),
    "driven": _block(30.0),
    "baselines": {name: _block(25.0) for name in tables.BASELINES},
}


def test_table_has_a_row_for_each_method_and_says_why_cells_are_empty():
    lines = tables.report_table(REPORT).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + 5
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "| 32.16 |" in rows[1] and "0.0500" in rows[1]
    assert "no landmark model is installed" in lines[-2]
    assert "25 held-out frames" in lines[-1]


def test_table_of_a_part_of_the_methods():
    table = tables.report_table({"test": _block(30.0)})
    assert "reconstruction" in table and "driven" not in table


def test_json_is_strict():
    assert json.loads(tables.report_json(REPORT)) == REPORT
    with pytest.raises(ValueError):
        tables.report_json({"test": float("nan")})
