"""The evaluation of a stream against a capture, without any particular system."""

import json
import types

import numpy as np
import pytest

from jaxhead.app import evaluate
from jaxhead.evaluation import landmarks
from jaxhead.evaluation.scores import REGIONS, SCORES
from jaxhead.files.atomic import host_digest
from jaxhead.files.errors import InputError
from jaxhead.files.images import read_image
from jaxhead.rendering.requests import RenderStream

SIZE, COUNT = (32, 40), 20


def _capture():
    rng = np.random.default_rng(0)
    base = rng.integers(20, 200, (*SIZE, 3))
    frames = np.stack([np.clip(base + 3 * i, 0, 255) for i in range(COUNT)]).astype(np.uint8)
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[4:30, 6:34] = 255
    pose = np.tile(np.eye(4, dtype=np.float32), (COUNT, 1, 1))
    pose[:, 0, 3] = np.linspace(0, 1, COUNT)
    angles = np.linspace(0, 6, 30)
    ring = np.stack([20 + 8 * np.cos(angles), 16 + 8 * np.sin(angles)], 1)
    return types.SimpleNamespace(
        frame=lambda i: frames[i],
        masks=lambda i: mask,
        size=SIZE,
        landmarks=np.tile(ring, (COUNT, 1, 1)).astype(np.float32),
        expression=rng.uniform(0, 1, (COUNT, 4)).astype(np.float32),
        head_to_camera=pose,
        train=np.arange(16, dtype=np.int32),
        test=np.arange(16, 20, dtype=np.int32),
    )


def _render(capture, asked):
    def render(options):
        asked.append(options)
        ids = capture.test

        def frames():
            for frame in ids:
                offset = 0.01 if options.torso == "measured" else 0.04
                rgb = np.clip(capture.frame(frame) / 255.0 + offset, 0, 1).astype(np.float32)
                solid = (capture.masks(frame)[..., 0] / 255.0).astype(np.float32)
                yield {"rgb": rgb, "alpha": solid, "depth": solid}

        return RenderStream(
            frames=frames(), frame_ids=ids, fps=25.0, size=SIZE, count=len(ids), capture=capture
        )

    return render


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    pytest.importorskip("jaxhead.metrics.images")
    nowhere = tmp_path_factory.mktemp("assets")
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JAXHEAD_ASSETS", "JAXHEAD_CACHE", "XDG_CACHE_HOME", "HOME"):
            patch.setenv(name, str(nowhere))
        report, sheet = evaluate.evaluate(_render(_capture(), asked), assets=str(nowhere))
    return report, sheet, asked


def test_both_modes_are_rendered(evaluated):
    assert [(options.split, options.torso) for options in evaluated[2]] == [
        ("test", "measured"),
        ("test", "predicted"),
    ]


def test_every_block_has_the_same_shape(evaluated):
    report = evaluated[0]
    assert set(report) == {"test", "driven", "baselines"}
    assert set(report["baselines"]) == {"mean_frame", "nearest_expression", "nearest_pixels"}
    for block in (report["test"], report["driven"], *report["baselines"].values()):
        assert set(block) == {"frames", *REGIONS, *landmarks.FIGURES, "reasons"}
        for region in REGIONS:
            assert set(block[region]) == set(SCORES)
        assert block["landmark_distance"] is None
        assert "face_landmarker" in block["reasons"]["landmark_distance"]


def test_scores_are_in_the_right_order(evaluated):
    report = evaluated[0]
    psnr = {name: block["image"]["psnr"] for name, block in report["baselines"].items()}
    assert report["test"]["image"]["l1"] == pytest.approx(0.01, abs=1e-3)
    assert report["test"]["image"]["psnr"] == pytest.approx(40.0, abs=0.5)
    assert report["driven"]["image"]["psnr"] == pytest.approx(27.96, abs=0.5)
    # Brightness rises with time: the last training frame is the nearest by pixels.
    assert psnr["nearest_pixels"] > psnr["mean_frame"]
    assert psnr["nearest_pixels"] >= psnr["nearest_expression"]


def test_report_is_written_whole_and_replaced(evaluated, tmp_path):
    report, sheet, _ = evaluated
    # What a killed evaluation left: no process has this number.
    (tmp_path / f".evaluation.{host_digest()}-999999999-01234567.partial").mkdir()
    out, file = tmp_path / "evaluation", tmp_path / "scores.json"
    for _ in range(2):
        table = evaluate.write_report(report, sheet, out, json_file=str(file), overwrite=True)
    assert table == (out / "scores.md").read_text()
    assert json.loads(file.read_text()) == json.loads((out / "scores.json").read_text()) == report
    assert read_image(out / "sheet.png").shape[1] == 4 * SIZE[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation", "scores.json"]


def test_without_its_capture_a_run_cannot_be_scored():
    def render(options):
        return RenderStream(frames=iter(()), frame_ids=(), fps=25.0, size=SIZE, count=0)

    with pytest.raises(InputError, match="--capture"):
        evaluate.evaluate(render)
