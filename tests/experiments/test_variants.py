"""The benchmark of variants: its settings are accepted, its table says what was measured."""

import json
from types import SimpleNamespace

import pytest

from experiments.benchmarks import variants
from jaxhead.app.flags import UsageError
from jaxhead.files.errors import InputError
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


def asked(out, **more):
    flags = {"out": str(out), "steps": 5, "set": ["steps=5"], "only": [], "jobs": 1} | more
    return SimpleNamespace(flags=SimpleNamespace(**flags), positionals=("encodings", "talk"))


def test_variants_side_by_side_are_processes_of_their_own(tmp_path, monkeypatch):
    commands, broken = [], []

    def start(command, **_):
        commands.append(command)
        return SimpleNamespace(returncode=int(command[-1] in broken))

    monkeypatch.setattr(variants.subprocess, "run", start)
    monkeypatch.setattr(variants, "scores_of", lambda *_: {})
    monkeypatch.setattr(variants, "step_milliseconds", lambda _: 1.0)
    monkeypatch.setattr(variants, "report", lambda rows: " ".join(rows))
    assert variants.run(asked(tmp_path, jobs=2, only=["dense", "hash"])) == 0
    assert sorted(command[-1] for command in commands) == ["dense", "hash"]
    given = ["encodings", "talk", "--out", str(tmp_path), "--steps", "5", "--set", "steps=5"]
    assert all(command[3:-2] == given and command[-2] == "--only" for command in commands)
    broken.append("triplane")
    with pytest.raises(InputError, match="failed: triplane"):
        variants.run(asked(tmp_path, jobs=2))


def test_an_unknown_variant_is_refused(tmp_path):
    with pytest.raises(UsageError, match="unknown variant octree, expected one of hash, dense"):
        variants.run(asked(tmp_path, only=["octree"]))
