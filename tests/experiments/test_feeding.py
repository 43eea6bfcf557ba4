import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The repository's root on the path, as `python -m` has it."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_waiting_is_the_time_without_a_dispatch_under_way():
    from experiments.benchmarks.feeding import waited

    assert waited([0.0, 1.0, 3.0], [2.0, 2.5, 4.0]) == pytest.approx(0.5)
    assert waited([0.0, 1.0], [2.0, 3.0]) == 0.0


def test_a_feed_that_is_slow_is_seen_and_a_quick_one_is_not():
    import time

    import numpy as np

    from experiments.benchmarks.feeding import both, clip_stage, report
    from jaxhead.training.feeds import host_feed

    def read(pause):
        def rows(indices):
            time.sleep(pause)
            return {"frames": np.zeros((len(indices), 1, 16, 16, 3), np.uint8),
                    "landmarks": np.zeros((len(indices), 1, 2, 2), np.float32)}  # fmt: skip

        return rows

    found = {name: both(name, clip_stage(host_feed(read(pause), 10, 2, seed=0)), 40)
             for name, pause in (("quick", 0.0), ("slow", 0.02))}  # fmt: skip
    # Wide bounds: on a busy machine every step takes long, whoever it waits for.
    assert found["slow"]["fed"]["waited"] > 0.05 and found["slow"]["fed"]["rows_ms"] > 5.0
    assert found["slow"]["fed"]["ms"] > 10.0 and found["slow"]["still"]["rows_ms"] < 5.0
    assert "| slow |" in report(json.loads(json.dumps({"feeds": found})))
