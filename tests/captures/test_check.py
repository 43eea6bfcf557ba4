"""The report on a video: grades, advice, sound, and a real clip."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jaxhead.captures.check import (
    Finding,
    Report,
    detail_ratio,
    face_findings,
    picture_findings,
    sharpness_finding,
)
from jaxhead.captures.following import FaceTrack
from jaxhead.captures.sound_check import sound_findings
from jaxhead.files.video import VideoInfo


def by_name(findings):
    return {
        finding[0] if isinstance(finding, tuple) else finding.name: finding for finding in findings
    }


def test_small_slow_and_short():
    info = VideoInfo(
        width=320,
        height=200,
        fps=10.0,
        duration=2.0,
        frames=20,
        rotation=0,
        has_audio=False,
        codec="h264",
    )
    findings = by_name(picture_findings(info, 50, 25.0))
    assert all(findings[name].level == "poor" for name in ("size", "fps", "length"))
    assert all(findings[name].advice for name in findings)


def test_missing_and_several_faces():
    found = np.ones(100, bool)
    found[10:13] = found[50:60] = False
    landmarks = np.full((100, 478, 3), 0.5, np.float32)
    landmarks[:, 0], landmarks[:, 1] = 0.25, 0.75
    track = FaceTrack(
        landmarks=landmarks,
        scores=np.zeros((100, 52)),
        found=found,
        faces=np.where(np.arange(100) < 20, 2, 1),
        names=(),
        size=(400, 800),
    )
    findings = by_name(face_findings(track))
    assert findings["frames without a face"].text.startswith("13 of 100 (3 can")
    assert findings["frames without a face"].level == "poor"
    assert findings["several faces"].value == 0.2
    late = dataclasses.replace(track, found=np.arange(100) >= 80)
    assert "no capture" in by_name(face_findings(late))["frames without a face"].advice
    assert np.isclose(findings["face share"].value, 0.5)


def test_detail_falls_with_blur():
    picture = np.random.default_rng(0).uniform(0, 255, (64, 64))
    ratios = [detail_ratio(gaussian_filter(picture, s)) for s in (0.3, 0.8, 2.0, 6.0)]
    assert ratios == sorted(ratios, reverse=True) and ratios[-1] < 0.262
    assert sharpness_finding(ratios[0]).level == "good"
    assert sharpness_finding(ratios[-1]).level == "poor"
    assert np.isfinite(detail_ratio(np.zeros((20, 20))))


def test_sound_levels():
    time = np.arange(32000) / 16000
    speech = (0.2 * np.sin(900 * time) * (time > 0.5)).astype(np.float32)
    findings = by_name(sound_findings(speech, 2.0, 16000))
    assert findings["sound level"][3] == "good" and -18 < findings["sound level"][1] < -15
    assert np.isclose(findings["silence"][1], 0.25, atol=0.03)
    assert findings["sound length"][3] == "good"
    quiet = by_name(sound_findings(speech * 0.02, 3.0, 16000))
    assert quiet["sound level"][3] == "fair" and quiet["sound length"][3] == "fair"
    loud = by_name(sound_findings(np.clip(speech * 9, -1, 1), 2.0, 16000))
    assert "clipped" in loud["sound level"][2] and loud["sound level"][3] == "fair"


@pytest.mark.parametrize("samples", [None, np.zeros(0, np.float32)])
def test_no_sound(samples):
    assert sound_findings(samples, 2.0, 16000)[0][2] == "none"


@pytest.mark.parametrize("count", [1, 100, 16000])
def test_silence_is_finite(count):
    for finding in sound_findings(np.zeros(count, np.float32), 1.0, 16000):
        assert np.isfinite(finding[1])


def test_the_report_takes_the_worst_level_and_is_json():
    report = Report("a.mp4", (Finding("x", 1.0, "one"), Finding("y", None, "two", "poor", "do z")))
    assert report.level == "poor"
    assert "do z" in report.text() and "x" in report.text()
    assert json.loads(json.dumps(report.as_json(), allow_nan=False))["level"] == "poor"
