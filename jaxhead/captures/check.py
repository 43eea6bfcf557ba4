"""Is this video fit for an avatar? Findings with advice, before anything is trained."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from jaxhead.captures.following import FaceTrack, follow_face
from jaxhead.captures.format import split_frames
from jaxhead.captures.lifting import align, lift, screen_points
from jaxhead.captures.smoothing import frame_status
from jaxhead.captures.sound_check import sound_findings
from jaxhead.captures.validate import DROPPED, INTERPOLATED
from jaxhead.files.assets import find_asset
from jaxhead.files.errors import about
from jaxhead.files.rows import BLOCK
from jaxhead.files.sound import read_audio
from jaxhead.files.video import VideoInfo, decode, probe
from jaxhead.heads.mediapipe import canonical_face

LEVELS = ("good", "fair", "poor")
_SHARPNESS_FRAMES = 24


@dataclasses.dataclass(frozen=True)
class Finding:
    """One property of the video.

    Attributes:
      name: what was looked at, e.g. "sharpness".
      value: number, list of numbers or None where it could not be measured.
      text: the value in words, with its unit.
      level: "good", "fair" or "poor".
      advice: what to do about it, empty when it is good.
    """

    name: str
    value: Any
    text: str
    level: str = "good"
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """All findings on one video."""

    video: str
    findings: tuple[Finding, ...]

    @property
    def level(self) -> str:
        """The worst level of all findings."""
        return max((finding.level for finding in self.findings), key=LEVELS.index)

    def text(self) -> str:
        """A table of one line per finding, with advice under what is not good."""
        lines = [f"{self.video}: {self.level}"]
        for finding in self.findings:
            lines.append(f"  {finding.level:5} {finding.name:22} {finding.text}")
            if finding.advice:
                lines.append(f"        {'':22} -> {finding.advice}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"video": self.video, "level": self.level, "findings": findings}


def check(
    video: str | os.PathLike,
    assets: str | os.PathLike | None = None,
    *,
    fps: float = 25.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """The report on a video: size, rate, face, sharpness, motion, sound.

    Args:
      video: a local video file.
      assets: folder of third-party models.
      fps: the rate a capture of it would have.
      progress: called as progress(stage, frames done, frames in all).

    Raises:
      InputError: bad video, no face in any frame, a missing model.
    """
    info = probe(video)
    expected = max(1, round(info.duration * fps))
    tell = progress or (lambda stage, done, total: None)
    canonical = canonical_face(find_asset("face_landmarker", assets))
    with about(video):
        face = follow_face(
            decode(video, fps=fps), assets, progress=lambda n: tell("check", n, expected)
        )
    rigid = np.zeros(len(canonical.vertices))
    rigid[canonical.procrustes_index] = canonical.procrustes_weights
    samples = read_audio(video, rate=16000) if info.has_audio else None
    seconds = len(face.found) / fps
    findings = [
        *picture_findings(info, len(face.found), fps),
        *face_findings(face),
        sharpness_finding(face_sharpness(video, face, fps)),
        *motion_findings(face, canonical.vertices.astype(np.float64), rigid),
        *(Finding(*finding) for finding in sound_findings(samples, seconds, 16000)),
    ]
    return Report(video=str(video), findings=tuple(findings))


def picture_findings(info: VideoInfo, frames: int, fps: float) -> list[Finding]:
    """Size, rate and length of the clip."""
    side, seconds = min(info.width, info.height), frames / fps
    size_level = _grade(side, 480, 256)
    rate_level = _grade(info.fps, 23.9, 15)
    length_level = _grade(seconds, 60, 4)
    return [
        Finding(
            "size",
            [info.width, info.height],
            f"{info.width} x {info.height}",
            size_level,
            "" if size_level == "good" else "record at 512 x 512 or more",
        ),
        Finding(
            "fps",
            info.fps,
            f"{info.fps:.2f} frames per second (a capture has {fps:g})",
            rate_level,
            "" if rate_level == "good" else "record at 25 frames per second or more",
        ),
        Finding(
            "length",
            seconds,
            f"{seconds:.1f} s, {frames} frame{'s' * (frames != 1)}",
            length_level,
            ""
            if length_level == "good"
            else "record one to five minutes: more is seen, less is guessed",
        ),
    ]


def found_landmarks(face: FaceTrack) -> Iterator[np.ndarray]:
    """The landmarks (k, 478, 3) of the frames with a face, some hundred at a time."""
    found = np.flatnonzero(face.found)
    for start in range(0, len(found), BLOCK):
        yield face.landmarks[found[start : start + BLOCK]]


def face_findings(face: FaceTrack) -> list[Finding]:
    """How large the face is, where it is missing, and whether it is alone."""
    height, width = face.size
    extents = [np.ptp(points[:, :468, :2], axis=1) for points in found_landmarks(face)]
    area = np.concatenate(extents).prod(-1) * width * height / min(width, height) ** 2
    share = float(np.median(area))
    share_level = _grade(share, 0.12, 0.04)
    status = frame_status(face.found)
    gaps, lost = int((status == INTERPOLATED).sum()), int((status == DROPPED).sum())
    missing = float(1 - face.found.mean())
    missing_level = "good" if missing == 0 else "fair" if missing < 0.1 else "poor"
    advice = "" if missing == 0 else "cut these parts out, or keep the face visible"
    if not face.found[split_frames(status)[0]].any():
        advice = "no capture can be made: the first 80 % of the frames, which train, show no face"
    several = float((face.faces > 1).mean())
    return [
        Finding(
            "face share",
            share,
            f"{100 * share:.0f} % of the stored square",
            share_level,
            "" if share_level == "good" else "crop the video around the head, or film nearer",
        ),
        Finding(
            "frames without a face",
            missing,
            f"{gaps + lost} of {len(status)} ({gaps} can be interpolated, {lost} are left out)",
            missing_level,
            advice,
        ),
        Finding(
            "several faces",
            several,
            f"in {100 * several:.0f} % of the frames",
            "good" if several == 0 else "fair",
            ""
            if several == 0
            else "the largest face of the beginning is followed; crop the others",
        ),
    ]


def motion_findings(face: FaceTrack, canonical: np.ndarray, rigid: np.ndarray) -> list[Finding]:
    """Ranges of the head's turn and of the mouth's opening, 2nd to 98th percentile."""
    focal = face.size[0] / 2 / np.tan(np.radians(20) / 2)
    rotations = []
    for points in found_landmarks(face):
        screen = screen_points(points, face.size)[:, :468]
        rotations.append(align(canonical * [1, -1, -1], lift(screen, focal), rigid)[1])
    # Positive: towards the right of the picture, up, clockwise.
    turns = Rotation.from_matrix(np.concatenate(rotations))
    angles = turns.as_euler("YXZ", degrees=True) * [-1, -1, 1]
    low, high = np.percentile(angles, [2, 98], axis=0)
    spread = high - low
    words = ", ".join(
        f"{name} {a:+.0f} to {b:+.0f}" for name, a, b in zip(("yaw", "pitch", "roll"), low, high)
    )
    pose_level = _grade(float(spread[0]), 20, 5)
    mouth = face.scores[face.found][:, list(face.names).index("jawOpen")]
    closed, opened = (float(x) for x in np.percentile(mouth, [2, 98]))
    mouth_level = _grade(opened - closed, 0.25, 0.08)
    return [
        Finding(
            "head turn",
            [[float(a), float(b)] for a, b in zip(low, high)],
            f"{words} degrees",
            pose_level,
            ""
            if pose_level == "good"
            else "turn the head to both sides, up and down: views that "
            "were never seen stay guesses",
        ),
        Finding(
            "mouth opening",
            [closed, opened],
            f"jawOpen score {closed:.2f} to {opened:.2f}",
            mouth_level,
            "" if mouth_level == "good" else "speak with an open mouth, and show the teeth",
        ),
    ]


def face_sharpness(video: str | os.PathLike, face: FaceTrack, fps: float) -> float:
    """Median over some frames of how much detail the face has near its finest scale.

    The energy of the finest differences relative to that of differences at twice the distance: 0.25
    for a smooth picture (also one that was enlarged), towards 1 for detail in every pixel.
    """
    found = np.flatnonzero(face.found)
    wanted = set(found[:: max(1, len(found) // _SHARPNESS_FRAMES)].tolist())
    height, width = face.size
    values = []
    for index, frame in enumerate(decode(video, fps=fps)):
        if index not in wanted:
            continue
        points = face.landmarks[index][:468, :2] * (width, height)
        left, top = np.floor(points.min(0)).astype(int).clip(0)
        right, bottom = np.ceil(points.max(0)).astype(int)
        grey = frame[top:bottom, left:right].astype(np.float32).mean(-1)
        if min(grey.shape, default=0) < 16:
            continue
        values.append(detail_ratio(grey))
        if index >= max(wanted):
            break
    return float(np.median(values)) if values else 0.0


def detail_ratio(grey: np.ndarray) -> float:
    """Energy of differences between neighbours over that between next but one, (H, W) picture."""
    fine = np.diff(grey, axis=0)[:, :-1] ** 2 + np.diff(grey, axis=1)[:-1] ** 2
    wide = (grey[2:, :] - grey[:-2, :])[:, :-2] ** 2 + (grey[:, 2:] - grey[:, :-2])[:-2] ** 2
    return float(fine.mean() / max(float(wide.mean()), 1e-6))


def sharpness_finding(value: float) -> Finding:
    """The finding on `face_sharpness`."""
    level = _grade(value, 0.29, 0.265)
    advice = (
        "" if level == "good" else "the face is blurred or enlarged: focus, light, less compression"
    )
    return Finding("sharpness", value, f"{value:.2f} (0.25 is a blur)", level, advice)


def _grade(value: float, good: float, fair: float) -> str:
    return "good" if value >= good else "fair" if value >= fair else "poor"
