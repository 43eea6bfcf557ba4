"""Small captures whose every number says which frame it belongs to."""

import numpy as np

from jaxhead.captures.format import CaptureWriter
from jaxhead.heads.model import HeadModel

VERTICES, SCORES, MARKS = 4, 2, 6


def small_head() -> HeadModel:
    """Two triangles."""
    return HeadModel(
        template=np.eye(VERTICES, 3, dtype=np.float32),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        identity_basis=np.zeros((0, VERTICES, 3), np.float32),
        expression_basis=np.zeros((SCORES, VERTICES, 3), np.float32),
        uv=np.zeros((VERTICES, 2), np.float32),
        regions=np.zeros(VERTICES, np.int32),
        landmark_faces=np.zeros(1, np.int32),
        landmark_weights=np.ones((1, 3), np.float32) / 3,
        expression_names=("a", "b"),
    )


def small_capture(path, *, frames=20, size=16, subject=0, dropped=(), sound=True, fps=25.0, sway=0):
    """Writes a capture: frame t of subject s has pixels t and s, landmarks t, sound t / 100;
    with `sway` nodes per side, sway t / 1000 in x and -s / 1000 in y."""
    count = np.arange(frames, dtype=np.float32)
    status = np.zeros(frames, np.uint8)
    status[list(dropped)] = 2
    per_frame = round(16000 / fps)
    swaying = {}
    if sway:
        shifts = np.zeros((frames, sway, sway, 2))
        shifts[..., 0], shifts[..., 1] = count[:, None, None] / 1000, -subject / 1000
        swaying = {"sway": shifts, "sway_box": (1 + subject) * np.array([[-1, -2], [1, 2]])}
    with CaptureWriter(path, size=(size, size), fps=fps) as writer:
        for index in range(frames):
            picture = np.full((size, size, 3), (index, subject, 0), np.uint8)
            writer.add(picture, 255 - picture)
        writer.finish(
            tracking={
                "K": (1 + subject) * np.eye(3),
                "head_to_camera": np.tile(np.eye(4), (frames, 1, 1)),
                "expression": np.tile(count[:, None] / 100, (1, SCORES)),
                "vertices": np.tile(count[:, None, None], (1, VERTICES, 3)),
                "landmarks": np.tile(count[:, None, None], (1, MARKS, 2)),
                "torso_motion": np.tile(np.eye(2, 3), (frames, 1, 1)),
                "torso_measured": np.ones(frames, bool),
                "status": status,
                **swaying,
            },
            head=small_head(),
            background=np.zeros((size, size, 3), np.uint8),
            audio=np.repeat(count / 100, per_frame).astype(np.float32) if sound else None,
        )
    return path
