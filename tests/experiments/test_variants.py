"""The benchmark of variants: its settings are accepted, its table says what was measured."""

import json

import pytest

from experiments.benchmarks import variants
from jaxhead.systems.avatar.config import AvatarConfig
from jaxhead.training.configuration import override


@pytest.mark.parametrize("group", sorted(variants.GROUPS))
def test_every_variant_is_a_configuration_of_its_own(group):
    made = [override(AvatarConfig(), settings) for settings in variants.GROUPS[group].values()]
    assert made[0] == AvatarConfig() and len(set(made)) == len(made)


def test_the_table_holds_scores_and_the_median_time(tmp_path):
    rates = (10.0, 20.0, 40.0)
    lines = [json.dumps({"step": 8, "seconds": 1, "steps_per_second": rate}) for rate in rates]
    (tmp_path / "times.jsonl").write_text("\n".join(lines))
    scores = {"psnr": 30.123, "ssim": 0.91234}
    split = {"image": scores, "face": scores}
    report = {"test": split, "driven": split}
    table = variants.report({"hash": (report, variants.step_milliseconds(tmp_path))})
    assert table.splitlines()[-1] == "| hash | 30.12 | 30.12 | 0.912 | 30.12 | 30.12 | 50.0 |"
