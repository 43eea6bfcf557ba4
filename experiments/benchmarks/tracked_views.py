"""Novel views of a synthetic clip for a run whose cameras and meshes were tracked in its video."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxhead.captures.format import Capture
from jaxhead.captures.synthetic import Truth
from jaxhead.files.errors import InputError
from jaxhead.systems.avatar.requests import Requests


class Tracked(NamedTuple):
    """How a novel camera of the truth looks in a tracker's world.

    Attributes:
      head_to_camera: (4, 4); own, true: metres from the frame's own camera to the face, the
        tracker's and in truth; larger: how many times the tracked head is as large as the true one.
    """

    head_to_camera: np.ndarray
    own: float
    true: float
    larger: float


def tracked_camera(
    requests: Requests, truth: Truth, clip: Capture, view: int, face: np.ndarray, depth: np.ndarray
) -> Tracked:
    """The novel camera goes round the same place of the picture and of the head.

    Args:
      requests: of the run; truth, clip: of the synthetic capture.
      face, depth: (H, W) what the tracked mesh shows to the frame's own camera.
    """
    if requests.size != clip.size:
        raise InputError(
            f"the run's pictures are {requests.size[1]} x {requests.size[0]}, the truth's "
            f"{clip.size[1]} x {clip.size[0]}; expected the same"
        )
    frame = truth.view_ids[view]
    measured = truth.frame_depth[np.flatnonzero(truth.frame_ids == frame)[0]]
    known = face & (measured > 0)
    own, true = float(np.median(depth[known])), float(np.median(measured[known]))
    longer = float(requests.K[0, 0] / clip.K[0, 0])
    larger = own / true / longer
    pose = clip.head_to_camera[frame].astype(np.float64)
    turned = truth.head_to_camera[view].astype(np.float64)

    def tracked(point):
        """Where the tracker sees a point, whose pixel stays."""
        away = own + larger * (point[2] - true)
        return away * np.array([*(point[:2] / point[2] / longer), 1.0])

    move = np.eye(4)
    move[:3, :3] = (turned @ np.linalg.inv(pose))[:3, :3]
    move[:3, 3] = tracked(turned[:3, 3]) - move[:3, :3] @ tracked(pose[:3, 3])
    return Tracked(np.float32(move @ requests.own_poses[view]), own, true, larger)
