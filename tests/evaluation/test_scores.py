"""Scores per frame and their means."""

import math

import numpy as np
import pytest

from jaxhead.evaluation import scores


def _frame(seed=0, size=(32, 40)):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 255, (*size, 3)).astype(np.uint8)
    render = np.clip(truth / 255.0 + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32)
    person = np.zeros(size, bool)
    person[8:30, 5:35] = True
    face = np.zeros(size, bool)
    face[12:20, 10:30] = True
    return render, truth, person, face


def test_frame_scores_match_a_plain_computation():
    pytest.importorskip("jaxhead.metrics.images")
    render, truth, person, face = _frame()
    result = scores.frame_scores(render, truth, person, face)
    difference = render.astype(np.float64) - truth / 255.0
    for region, mask in (("image", np.ones_like(person)), ("person", person), ("face", face)):
        mse = np.square(difference[mask]).mean()
        assert result[region]["psnr"] == pytest.approx(-10 * math.log10(mse), abs=1e-3)
        assert result[region]["l1"] == pytest.approx(np.abs(difference[mask]).mean(), abs=1e-5)
        assert 0 < result[region]["ssim"] < 1


def test_perfect_and_empty_regions():
    pytest.importorskip("jaxhead.metrics.images")
    _, truth, person, face = _frame()
    result = scores.frame_scores(
        truth.astype(np.float32) / np.float32(255), truth, person, np.zeros_like(face)
    )
    assert result["image"] == {"psnr": scores.BEST_PSNR, "ssim": pytest.approx(1.0), "l1": 0.0}
    assert all(math.isnan(value) for value in result["face"].values())
    means = scores.mean_scores([result, result])
    assert means["face"] == {"psnr": None, "ssim": None, "l1": None}
    assert means["person"]["psnr"] == scores.BEST_PSNR


def test_psnr_is_the_mean_of_the_frames_decibels():
    block = {region: {"psnr": 0.0, "ssim": 0.5, "l1": 0.1} for region in scores.REGIONS}
    other = {region: {"psnr": 40.0, "ssim": 0.7, "l1": 0.3} for region in scores.REGIONS}
    means = scores.mean_scores([block, other])
    assert means["image"] == pytest.approx({"psnr": 20.0, "ssim": 0.6, "l1": 0.2})


def test_face_mask_is_the_filled_hull():
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([50 + 20 * np.cos(angles), 40 + 20 * np.sin(angles)], 1)
    mask = scores.face_mask(circle, (80, 100), dilation=0.0)
    assert mask.shape == (80, 100) and mask.dtype == bool
    assert mask.sum() == pytest.approx(np.pi * 400, rel=0.08)
    rows, columns = np.nonzero(mask)
    assert abs(columns.mean() + 0.5 - 50) < 0.3 and abs(rows.mean() + 0.5 - 40) < 0.3
    wider = scores.face_mask(circle, (80, 100), dilation=0.05)
    assert (wider & mask).sum() == mask.sum() and wider.sum() > mask.sum()
    inner = np.concatenate([circle, np.array([[50.0, 40.0]])])
    np.testing.assert_array_equal(scores.face_mask(inner, (80, 100), dilation=0.0), mask)


@pytest.mark.parametrize(
    "points",
    [np.zeros((0, 2)), np.full((468, 2), np.nan), np.ones((468, 2)), np.arange(936).reshape(-1, 2)],
)
def test_face_mask_of_a_degenerate_face_is_empty(points):
    assert not scores.face_mask(points, (20, 20)).any()


def test_face_mask_outside_the_picture_is_clipped():
    corner = np.array([[-50.0, -50.0], [10.0, -50.0], [10.0, 10.0], [-50.0, 10.0]])
    mask = scores.face_mask(corner, (30, 30), dilation=0.0)
    assert mask[:9, :9].all() and not mask[12:, 12:].any()
