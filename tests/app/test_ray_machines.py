"""A folder of videos on several machines of a Ray cluster, stood in for by as many Ray nodes."""

import os
import pathlib
import threading
import time

import pytest
from app import capture_stand_ins as stand_ins

from jaxhead.app import folder as verb
from jaxhead.app.main import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytest.importorskip("ray", reason="needs ray: pip install 'jaxhead[cluster]'")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A head without processors and two machines of one each; {node id: node} of the latter."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    monkeypatch.setattr(verb, "WORK", stand_ins.WORK)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        nodes = [made.add_node(num_cpus=1) for _ in range(2)]
        made.wait_for_nodes()
        yield made, {node.node_id: node for node in nodes}
    finally:
        made.shutdown()


def _write(**does):
    for name, what in does.items():
        pathlib.Path("v", f"{name}.mp4").write_text(what)


def _node(name):
    return pathlib.Path("v", f"{name}.node").read_text()


def test_videos_are_spread_over_the_machines(cluster, capfd):
    made, nodes = cluster
    _write(a="node", b="node", c="node", d="node", e="bad")
    assert main(["capture", "v", "--out", "c", "--size", "64", f"--ray={made.address}"]) == 1
    out = capfd.readouterr().out
    assert out.endswith("4 done, 0 skipped, 1 failed\n") and "v/e.mp4: no face" in out
    assert {_node(name) for name in "abcd"} == set(nodes)


def test_a_machine_that_is_lost_fails_its_video_alone_and_again_does_it(cluster, capfd):
    made, nodes = cluster
    _write(a="node", b="node wait", c="node", d="node")
    told = pathlib.Path("v", "b.node")

    def lose():
        deadline = time.monotonic() + 100
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        made.remove_node(nodes[told.read_text()], allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    assert main(["capture", "v", "--out", "c", "--size", "64", f"--ray={made.address}"]) == 1
    thread.join()
    out = capfd.readouterr().out
    assert out.endswith("3 done, 0 skipped, 1 failed\n"), out
    assert "v/b.mp4: the task that captured it failed" in out
    lost = _node("b")
    assert lost != _node("d")

    _write(b="node")
    assert main(["capture", "v", "--out", "c", "--size", "64", f"--ray={made.address}"]) == 0
    assert capfd.readouterr().out.endswith("1 done, 3 skipped, 0 failed\n")
    assert _node("b") != lost
    assert sorted(path.name for path in pathlib.Path("c").iterdir()) == ["a", "b", "c", "d"]
