"""A made-up clip of the small head, whose every number is known."""

import numpy as np
from captures.fitting.small_heads import small_body, small_head, small_marks
from scipy.spatial.transform import Rotation

from jaxhead.captures.fitting.config import FitConfig
from jaxhead.captures.fitting.marks import marked_part
from jaxhead.captures.fitting.problem import State, frame_length, make_problem
from jaxhead.captures.fitting.residuals import projected

FOCAL, HEIGHT = 700.0, 512.0
# Noise that tests add is each frame's own, unlike a landmark network's.
CONFIG = FitConfig(
    fields_of_view=(30.0, 45.0), iterations=25, block=24, overlap=8, independent_frames=1.0
)


def truth(count=24, *, joints=True, seed=0) -> State:
    """Smooth poses, faces and jaws; the focal length is FOCAL."""
    rng = np.random.default_rng(seed)
    body = small_body(joints=joints)
    time = np.arange(count)[:, None] / 24
    wave = np.sin(2 * np.pi * (time + rng.uniform(size=(1, frame_length(body)))))
    frames = wave * rng.uniform(0.5, 1.0, size=(1, frame_length(body)))
    frames[:, :3] = 0
    frames[:, 3:5] *= 0.05
    frames[:, 5] = np.log(0.7) + 0.1 * frames[:, 5]
    frames[:, 11:13] = 0.5 + 0.4 * frames[:, 11:13]
    frames[:, 13:] *= 0.15
    turn = np.concatenate([0.15 * wave[:, :1], 0.4 * wave[:, 1:2], 0.1 * wave[:, 2:3]], 1)
    rotation = np.diag([1.0, -1, -1]) @ Rotation.from_rotvec(turn).as_matrix()
    shared = np.concatenate([[np.log(FOCAL)], rng.normal(size=4)])
    return State(*(np.float32(part) for part in (shared, rotation, frames)))


def seen(state: State, *, joints=True) -> np.ndarray:
    """(N, 478, 2) exact landmarks around the principal point; those beyond the marks are zero."""
    body, marks = marked_part(small_body(joints=joints), small_marks(small_head(joints=joints)))
    pixels = [
        projected(body, marks, state.shared, rotation, frame)
        for rotation, frame in zip(state.rotation, state.frames)
    ]
    landmarks = np.zeros((len(pixels), 478, 2), np.float32)
    landmarks[:, : len(marks.observed)] = np.stack(pixels)
    return landmarks


def problem_of(state: State, *, joints=True, scale=2.0, config=CONFIG):
    """The problem that the exact landmarks of a state pose."""
    body, marks = marked_part(small_body(joints=joints), small_marks(small_head(joints=joints)))
    pixels = seen(state, joints=joints)[:, marks.observed]
    ids = np.arange(len(pixels))
    return make_problem(body, marks, pixels, np.ones(pixels.shape[:2]), ids, scale, config)
